package iceberg

import (
	"fmt"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/batch"
)

// merge returns the table's schema with what row has beyond it, and whether that is a change: new fields (optional, at the
// end of their struct), wider types, and optional where row says so. A table may be wider than row: it may have other
// optional columns, wider types, and be optional where row is required. Anything else is an error.
func merge(meta icetable.Metadata, row *batch.Type) (*icebergo.Schema, bool, error) {
	sc := meta.CurrentSchema()
	m := &merger{ids: counter{last: meta.LastColumnID()}}
	fields, err := m.structure("", sc.Fields(), row)
	if err != nil || !m.changed {
		return sc, false, err
	}
	spec := meta.PartitionSpec()
	for _, f := range fields[sc.NumFields():] {
		for _, p := range spec.Fields() {
			if p.Name == f.Name {
				return nil, false, fmt.Errorf("column %s cannot be added: the table's partition field has that name; rename the column", f.Name)
			}
		}
	}
	id := 0
	for _, s := range meta.Schemas() {
		id = max(id, s.ID+1)
	}
	return icebergo.NewSchemaWithIdentifiers(id, sc.IdentifierFieldIDs, fields...), true, nil
}

type merger struct {
	ids     counter
	changed bool
}

func (m *merger) structure(path string, have []icebergo.NestedField, want *batch.Type) ([]icebergo.NestedField, error) {
	out := make([]icebergo.NestedField, 0, len(want.Fields))
	known := map[string]bool{}
	for _, f := range have {
		known[f.Name] = true
		i := want.Index(f.Name)
		if i < 0 {
			if f.Required {
				return nil, fmt.Errorf("column %s is required in the table but the pipeline does not write it: write it, or make it optional in the table", join(path, f.Name))
			}
			out = append(out, f)
			continue
		}
		w := want.Fields[i]
		t, err := m.typ(join(path, f.Name), f.Type, w.Type)
		if err != nil {
			return nil, err
		}
		f.Type = t
		f.Required = m.required(f.Required, w.Required)
		out = append(out, f)
	}
	for _, w := range want.Fields {
		if known[w.Name] {
			continue
		}
		w.Required = false // rows from before have no value
		added, err := m.ids.fields(path, []batch.Field{w})
		if err != nil {
			return nil, err
		}
		m.changed = true
		out = append(out, added...)
	}
	return out, nil
}

func (m *merger) required(have, want bool) bool {
	if have && !want {
		m.changed = true
		return false
	}
	return have
}

func (m *merger) typ(path string, have icebergo.Type, want *batch.Type) (icebergo.Type, error) {
	differ := func() error {
		return fmt.Errorf("column %s is %s in the table and %s in the pipeline: cast it in a cleanse step, or write to another column", path, have, want)
	}
	switch h := have.(type) {
	case *icebergo.StructType:
		if want.Kind != batch.Struct {
			return nil, differ()
		}
		fields, err := m.structure(path, h.FieldList, want)
		return &icebergo.StructType{FieldList: fields}, err
	case *icebergo.ListType:
		if want.Kind != batch.List {
			return nil, differ()
		}
		e, err := m.typ(path+".element", h.Element, want.Fields[0].Type)
		return &icebergo.ListType{ElementID: h.ElementID, Element: e, ElementRequired: m.required(h.ElementRequired, want.Fields[0].Required)}, err
	case *icebergo.MapType:
		if want.Kind != batch.Map {
			return nil, differ()
		}
		k, err := m.typ(path+".key", h.KeyType, want.Fields[0].Type)
		if err != nil {
			return nil, err
		}
		v, err := m.typ(path+".value", h.ValueType, want.Fields[1].Type)
		return &icebergo.MapType{KeyID: h.KeyID, KeyType: k, ValueID: h.ValueID, ValueType: v, ValueRequired: m.required(h.ValueRequired, want.Fields[1].Required)}, err
	}
	if want.Nested() {
		return nil, differ()
	}
	w, err := primitive(path, want)
	if err != nil {
		return nil, err
	}
	switch {
	case w.Equals(have) || promotes(w, have):
		return have, nil
	case promotes(have, w):
		m.changed = true
		return w, nil
	}
	return nil, differ()
}

// promotes reports whether Iceberg (format version 2) lets a column of one type become another.
func promotes(from, to icebergo.Type) bool {
	switch f := from.(type) {
	case icebergo.Int32Type:
		return to.Equals(icebergo.PrimitiveTypes.Int64)
	case icebergo.Float32Type:
		return to.Equals(icebergo.PrimitiveTypes.Float64)
	case icebergo.DecimalType:
		t, ok := to.(icebergo.DecimalType)
		return ok && t.Scale() == f.Scale() && t.Precision() > f.Precision()
	}
	return false
}
