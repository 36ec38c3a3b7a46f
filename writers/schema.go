package writers

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// leaf is one primitive column of the table, at any depth.
type leaf struct {
	index int // of the Parquet column
	id    int // Iceberg field id
	typ   *batch.Type
	path  []string // in the Parquet schema: items.list.element.sku
	steps []step   // from the row to the column
	rep   uint8    // greatest repetition level
	def   uint8    // greatest definition level
}

// step goes from a column to one of its children.
type step struct {
	name     string
	child    int   // index in the table's type
	repeated uint8 // the repetition level of a list's or map's entries; 0: a struct's field
	optional bool
}

// name is the column path as configurations and messages write it: items[].sku.
func (l *leaf) name() string {
	var b strings.Builder
	for i, s := range l.steps {
		switch {
		case s.repeated == 0:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.name)
		case s.name == "element":
			b.WriteString("[]")
		case s.name == "key":
			b.WriteString("{key}")
		default:
			b.WriteString("{}")
		}
	}
	return b.String()
}

// leavesOf lists the leaves in the order of Parquet's columns, and checks that every field has an id.
func leavesOf(row *batch.Type) ([]*leaf, error) {
	var leaves []*leaf
	var walk func(f batch.Field, at leaf) error
	children := func(t *batch.Type, at leaf) error {
		for i, f := range t.Fields {
			next := at
			next.path, next.steps = at.path[:len(at.path):len(at.path)], at.steps[:len(at.steps):len(at.steps)]
			s := step{name: f.Name, child: i, optional: !f.Required}
			if t.Kind != batch.Struct {
				next.rep++
				next.def++
				s.repeated = next.rep
				next.path = append(next.path, map[batch.Kind]string{batch.List: "list", batch.Map: "key_value"}[t.Kind])
			}
			next.path, next.steps = append(next.path, f.Name), append(next.steps, s)
			if s.optional {
				next.def++
			}
			if err := walk(f, next); err != nil {
				return err
			}
		}
		return nil
	}
	walk = func(f batch.Field, at leaf) error {
		if f.ID <= 0 {
			return fmt.Errorf("column %s has no field id; the row type must come from the table", at.name())
		}
		if f.Type.Nested() {
			if len(f.Type.Fields) == 0 {
				return fmt.Errorf("column %s is a struct without fields, which Parquet cannot store", at.name())
			}
			return children(f.Type, at)
		}
		at.index, at.id, at.typ = len(leaves), f.ID, f.Type
		leaves = append(leaves, &at)
		return nil
	}
	if row == nil || row.Kind != batch.Struct {
		return nil, fmt.Errorf("the table's row type is %v, not a struct", row)
	}
	if err := children(row, leaf{}); err != nil {
		return nil, err
	}
	if len(leaves) == 0 {
		return nil, fmt.Errorf("the table has no columns")
	}
	return leaves, nil
}

// schemaOf builds the Parquet schema of one file, with an encoding and a feed per leaf.
func schemaOf(row *batch.Type, encodings []encoding.Encoding, feeds []feed) *parquet.Schema {
	next := 0
	var node func(f batch.Field) parquet.Node
	group := func(t *batch.Type) parquet.Node {
		g := &group{}
		for _, f := range t.Fields {
			g.fields = append(g.fields, &column{Node: node(f), name: f.Name})
		}
		return g
	}
	node = func(f batch.Field) parquet.Node {
		var n parquet.Node
		switch f.Type.Kind {
		case batch.Struct:
			n = group(f.Type)
		case batch.List:
			n = parquet.List(node(f.Type.Fields[0]))
		case batch.Map:
			n = parquet.Map(node(f.Type.Fields[0]), node(f.Type.Fields[1]))
		default:
			n = parquet.Encoded(parquet.Leaf(newLeafType(f.Type, &feeds[next])), encodings[next])
			next++
		}
		if n = parquet.FieldID(n, f.ID); !f.Required {
			n = parquet.Optional(n)
		}
		return n
	}
	return parquet.NewSchema("table", group(row))
}

// group is a parquet.Group that keeps its fields in order.
type group struct {
	parquet.Group
	fields []parquet.Field
}

func (g *group) Fields() []parquet.Field { return g.fields }

// column is a named node. Rows are written by column, so it never reads Go values.
type column struct {
	parquet.Node
	name string
}

func (c *column) Name() string                      { return c.name }
func (c *column) Value(reflect.Value) reflect.Value { return reflect.Value{} }
