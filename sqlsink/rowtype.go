package sqlsink

import (
	"encoding/json"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// columnJSON is a column as lakeloader_tables keeps it: the types of databases are fewer than ours.
type columnJSON struct {
	Name     string       `json:"name"`
	Kind     string       `json:"type"`
	Required bool         `json:"required,omitempty"`
	Numbers  []int        `json:"numbers,omitempty"` // precision and scale, or length
	Fields   []columnJSON `json:"fields,omitempty"`
}

func encodeRow(row *batch.Type) (string, error) {
	b, err := json.Marshal(columnsOf(row))
	return string(b), err
}

func columnsOf(t *batch.Type) (out []columnJSON) {
	for _, f := range t.Fields {
		c := columnJSON{Name: f.Name, Kind: f.Type.Kind.String(), Required: f.Required, Fields: columnsOf(f.Type)}
		switch f.Type.Kind {
		case batch.Decimal:
			c.Numbers = []int{f.Type.Precision, f.Type.Scale}
		case batch.Fixed:
			c.Numbers = []int{f.Type.Length}
		}
		out = append(out, c)
	}
	return out
}

func decodeRow(text string) (*batch.Type, error) {
	var columns []columnJSON
	if err := json.Unmarshal([]byte(text), &columns); err != nil {
		return nil, err
	}
	fields, err := fieldsOf(columns)
	return batch.StructOf(fields...), err
}

func fieldsOf(columns []columnJSON) (fields []batch.Field, err error) {
	for _, c := range columns {
		t := &batch.Type{}
		for k := batch.Boolean; k <= batch.Map; k++ {
			if k.String() == c.Kind {
				t.Kind = k
			}
		}
		if t.Fields, err = fieldsOf(c.Fields); err != nil {
			return nil, err
		}
		switch {
		case t.Kind == batch.Decimal && len(c.Numbers) == 2:
			t.Precision, t.Scale = c.Numbers[0], c.Numbers[1]
		case t.Kind == batch.Fixed && len(c.Numbers) == 1:
			t.Length = c.Numbers[0]
		case t.Kind == 0, t.Kind == batch.Decimal, t.Kind == batch.Fixed:
			return nil, fmt.Errorf("column %s has the type %q, which is not known", c.Name, c.Kind)
		}
		fields = append(fields, batch.Field{Name: c.Name, Type: t, Required: c.Required})
	}
	return fields, nil
}

// bare is a row type without field ids.
func bare(t *batch.Type) *batch.Type { return withIDs(t, func() int { return 0 }) }

// numbered is a row type with field ids. They are for the writer alone.
func numbered(t *batch.Type) *batch.Type {
	n := 0
	return withIDs(t, func() int { n++; return n })
}

func withIDs(t *batch.Type, id func() int) *batch.Type {
	out := *t
	out.Fields = append([]batch.Field(nil), t.Fields...)
	for i := range out.Fields {
		out.Fields[i].ID = id()
		out.Fields[i].Type = withIDs(out.Fields[i].Type, id)
	}
	return &out
}
