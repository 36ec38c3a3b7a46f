package schemas

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// Merge returns the row type that holds the rows of both a and b: the fields of a in their order, then those that only
// b has. int widens to long, float to double, a decimal to the greater precision of the same scale. A field that one
// side lacks, or has as optional, is optional. Structs, lists and maps merge by their members. A nil type stands for
// one that is not known yet. An error names the field's path and both types; a and b stay as they are. The result is a
// itself when b adds nothing to it.
func Merge(a, b *batch.Type) (*batch.Type, error) {
	switch {
	case a == nil:
		return b, nil
	case b == nil:
		return a, nil
	}
	m, err := mergeType("", a, b)
	if err != nil {
		return nil, err
	}
	if m.Equal(a) {
		return a, nil
	}
	return m, nil
}

func mergeType(path string, a, b *batch.Type) (*batch.Type, error) {
	if a.Equal(b) {
		return a, nil
	}
	switch {
	case a.Kind == batch.Struct && b.Kind == batch.Struct:
		return mergeStruct(path, a, b)
	case a.Kind == batch.List && b.Kind == batch.List, a.Kind == batch.Map && b.Kind == batch.Map:
		return mergeMembers(path, a, b)
	case a.Kind == batch.Decimal && b.Kind == batch.Decimal && a.Scale == b.Scale:
		if a.Precision > b.Precision {
			return a, nil
		}
		return b, nil
	case widens(a.Kind, b.Kind):
		return b, nil
	case widens(b.Kind, a.Kind):
		return a, nil
	}
	return nil, fmt.Errorf("field %s: cannot merge %s with %s: only int to long, float to double and a wider decimal of the same scale are possible", pathName(path), a, b)
}

// widens reports whether every value of one kind is a value of the other.
func widens(from, to batch.Kind) bool {
	return from == batch.Int && to == batch.Long || from == batch.Float && to == batch.Double
}

func mergeStruct(path string, a, b *batch.Type) (*batch.Type, error) {
	m := &batch.Type{Kind: batch.Struct, Fields: make([]batch.Field, 0, max(len(a.Fields), len(b.Fields)))}
	for _, f := range a.Fields {
		i := b.Index(f.Name)
		if i < 0 {
			f.Required = false
			m.Fields = append(m.Fields, f)
			continue
		}
		g := b.Fields[i]
		t, err := mergeType(join(path, f.Name), f.Type, g.Type)
		if err != nil {
			return nil, err
		}
		f.Type, f.Required = t, f.Required && g.Required
		if f.Doc == "" {
			f.Doc = g.Doc
		}
		m.Fields = append(m.Fields, f)
	}
	for _, g := range b.Fields {
		if a.Index(g.Name) < 0 {
			g.Required = false
			m.Fields = append(m.Fields, g)
		}
	}
	return m, nil
}

// mergeMembers merges lists and maps, whose members correspond by position.
func mergeMembers(path string, a, b *batch.Type) (*batch.Type, error) {
	m := &batch.Type{Kind: a.Kind, Fields: append([]batch.Field(nil), a.Fields...)}
	for i := range m.Fields {
		f := &m.Fields[i]
		t, err := mergeType(join(path, f.Name), f.Type, b.Fields[i].Type)
		if err != nil {
			return nil, err
		}
		f.Type, f.Required = t, f.Required && b.Fields[i].Required
	}
	return m, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func pathName(path string) string {
	if path == "" {
		return "(the whole record)"
	}
	return path
}
