package iceberg

import (
	"fmt"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// layout turns a definition into what a new Iceberg table is made of. Field ids are placeholders: the catalog assigns its own.
func layout(def table.Def) (*icebergo.Schema, *icebergo.PartitionSpec, icetable.SortOrder, error) {
	ids := &counter{}
	fields, err := ids.fields("", def.Row.Fields)
	if err != nil {
		return nil, nil, icetable.SortOrder{}, err
	}
	sc := icebergo.NewSchema(0, fields...)
	spec, err := partitionSpec(sc, def.PartitionBy)
	if err != nil {
		return nil, nil, icetable.SortOrder{}, err
	}
	order, err := sortOrder(sc, def.SortBy)
	return sc, spec, order, err
}

func partitionSpec(sc *icebergo.Schema, by []table.PartitionField) (*icebergo.PartitionSpec, error) {
	if len(by) == 0 {
		return icebergo.UnpartitionedSpec, nil
	}
	var opts []icebergo.PartitionOption
	var fixed string
	for _, p := range by {
		f, ok := sc.FindFieldByName(p.Source)
		if !ok {
			return nil, fmt.Errorf("partition field %s: there is no column %s", p.Name, p.Source)
		}
		tr, err := icebergo.ParseTransform(p.Transform)
		if err == nil {
			if _, unknown := tr.(icebergo.UnknownTransform); unknown {
				err = icebergo.ErrInvalidTransform
			}
		}
		if err != nil {
			return nil, fmt.Errorf("partition field %s: transform %q: %w", p.Name, p.Transform, err)
		}
		if !tr.CanTransform(f.Type) {
			return nil, fmt.Errorf("partition field %s: %s is not possible on column %s of type %s", p.Name, p.Transform, p.Source, f.Type)
		}
		switch t := tr.ResultType(f.Type).(type) {
		case icebergo.DecimalType, icebergo.FixedType:
			// iceberg-go gives all of them one name in the manifests' Avro schema, which takes a name once.
			if fixed != "" {
				return nil, fmt.Errorf("partition field %s: partitioning by the values of two decimal or fixed columns (%s and %s) is not supported: leave one out, or use bucket", p.Name, fixed, t)
			}
			fixed = t.String()
		}
		opts = append(opts, icebergo.AddPartitionFieldByName(p.Source, p.Name, tr, sc, nil))
	}
	spec, err := icebergo.NewPartitionSpecOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("partitioning: %w", err)
	}
	return &spec, nil
}

func sortOrder(sc *icebergo.Schema, by []table.SortField) (icetable.SortOrder, error) {
	if len(by) == 0 {
		return icetable.UnsortedSortOrder, nil
	}
	var fields []icetable.SortField
	for _, s := range by {
		f, ok := sc.FindFieldByName(s.Source)
		if !ok {
			return icetable.SortOrder{}, fmt.Errorf("sort order: there is no column %s", s.Source)
		}
		if _, ok := f.Type.(icebergo.PrimitiveType); !ok {
			return icetable.SortOrder{}, fmt.Errorf("sort order: column %s is a %s, which has no order", s.Source, f.Type)
		}
		sf := icetable.SortField{SourceIDs: []int{f.ID}, Transform: icebergo.IdentityTransform{}, Direction: icetable.SortASC, NullOrder: icetable.NullsFirst}
		if s.Desc {
			sf.Direction, sf.NullOrder = icetable.SortDESC, icetable.NullsLast
		}
		fields = append(fields, sf)
	}
	o, err := icetable.NewSortOrder(1, fields)
	if err != nil {
		return o, fmt.Errorf("sort order: %w", err)
	}
	return o, nil
}

// counter assigns field ids in order.
type counter struct{ last int }

func (c *counter) next() int { c.last++; return c.last }

// fields converts the fields of a struct. path is for messages.
func (c *counter) fields(path string, in []batch.Field) ([]icebergo.NestedField, error) {
	out := make([]icebergo.NestedField, len(in))
	for i, f := range in {
		out[i] = icebergo.NestedField{ID: c.next(), Name: f.Name, Required: f.Required, Doc: f.Doc}
	}
	for i, f := range in {
		t, err := c.typ(join(path, f.Name), f.Type)
		if err != nil {
			return nil, err
		}
		out[i].Type = t
	}
	return out, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (c *counter) typ(path string, t *batch.Type) (icebergo.Type, error) {
	switch t.Kind {
	case batch.Struct:
		fields, err := c.fields(path, t.Fields)
		return &icebergo.StructType{FieldList: fields}, err
	case batch.List:
		l := &icebergo.ListType{ElementID: c.next(), ElementRequired: t.Fields[0].Required}
		var err error
		l.Element, err = c.typ(path+".element", t.Fields[0].Type)
		return l, err
	case batch.Map:
		m := &icebergo.MapType{KeyID: c.next(), ValueID: c.next(), ValueRequired: t.Fields[1].Required}
		var err error
		if m.KeyType, err = c.typ(path+".key", t.Fields[0].Type); err != nil {
			return nil, err
		}
		m.ValueType, err = c.typ(path+".value", t.Fields[1].Type)
		return m, err
	}
	return primitive(path, t)
}

func primitive(path string, t *batch.Type) (icebergo.Type, error) {
	switch t.Kind {
	case batch.Boolean:
		return icebergo.PrimitiveTypes.Bool, nil
	case batch.Int:
		return icebergo.PrimitiveTypes.Int32, nil
	case batch.Long:
		return icebergo.PrimitiveTypes.Int64, nil
	case batch.Float:
		return icebergo.PrimitiveTypes.Float32, nil
	case batch.Double:
		return icebergo.PrimitiveTypes.Float64, nil
	case batch.Date:
		return icebergo.PrimitiveTypes.Date, nil
	case batch.Time:
		return icebergo.PrimitiveTypes.Time, nil
	case batch.Timestamp:
		return icebergo.PrimitiveTypes.Timestamp, nil
	case batch.TimestampTZ:
		return icebergo.PrimitiveTypes.TimestampTz, nil
	case batch.String:
		return icebergo.PrimitiveTypes.String, nil
	case batch.UUID:
		return icebergo.PrimitiveTypes.UUID, nil
	case batch.Binary:
		return icebergo.PrimitiveTypes.Binary, nil
	case batch.Decimal:
		if t.Precision < 1 || t.Precision > 38 || t.Scale < 0 || t.Scale > t.Precision {
			return nil, fmt.Errorf("column %s: %s is no Iceberg type: precision is 1 to 38, scale 0 to precision", path, t)
		}
		return icebergo.DecimalTypeOf(t.Precision, t.Scale), nil
	case batch.Fixed:
		if t.Length < 1 {
			return nil, fmt.Errorf("column %s: %s is no Iceberg type: the length must be positive", path, t)
		}
		return icebergo.FixedTypeOf(t.Length), nil
	}
	return nil, fmt.Errorf("column %s: Iceberg has no type for %s", path, t)
}

// rowType reads a schema back, with its ids.
func rowType(sc *icebergo.Schema) (*batch.Type, error) {
	fields, err := batchFields("", sc.Fields())
	if err != nil {
		return nil, err
	}
	return batch.StructOf(fields...), nil
}

func batchFields(path string, in []icebergo.NestedField) ([]batch.Field, error) {
	out := make([]batch.Field, len(in))
	for i, f := range in {
		t, err := batchType(join(path, f.Name), f.Type)
		if err != nil {
			return nil, err
		}
		out[i] = batch.Field{Name: f.Name, Type: t, Required: f.Required, Doc: f.Doc, ID: f.ID}
	}
	return out, nil
}

func batchType(path string, t icebergo.Type) (*batch.Type, error) {
	switch t := t.(type) {
	case *icebergo.StructType:
		fields, err := batchFields(path, t.FieldList)
		return batch.StructOf(fields...), err
	case *icebergo.ListType:
		e, err := batchType(path+".element", t.Element)
		l := batch.ListOf(e, t.ElementRequired)
		l.Fields[0].ID = t.ElementID
		return l, err
	case *icebergo.MapType:
		k, err := batchType(path+".key", t.KeyType)
		if err != nil {
			return nil, err
		}
		v, err := batchType(path+".value", t.ValueType)
		m := batch.MapOf(k, v, t.ValueRequired)
		m.Fields[0].ID, m.Fields[1].ID = t.KeyID, t.ValueID
		return m, err
	case icebergo.DecimalType:
		return batch.DecimalOf(t.Precision(), t.Scale()), nil
	case icebergo.FixedType:
		return batch.FixedOf(t.Len()), nil
	}
	for k := batch.Boolean; k <= batch.Binary; k++ {
		if k == batch.Decimal || k == batch.Fixed {
			continue
		}
		if p, err := primitive(path, batch.Prim(k)); err == nil && p.Equals(t) {
			return batch.Prim(k), nil
		}
	}
	return nil, fmt.Errorf("column %s has type %s, which lakeloader cannot write", path, t)
}
