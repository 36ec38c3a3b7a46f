package scan

import (
	"fmt"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/lakeloader/lakeloader/batch"
)

// node is a column of the row type with the place of its values in the file.
type node struct {
	field batch.Field
	path  string
	// def is the definition level from which on the node has a value, above that of the node around it: only if the file
	// has it as optional. A slot of its column begins at each entry up to the repetition level rep, where the list around
	// it has an element, from the definition level slot on.
	def, above, slot, rep int
	// shape is the leaf whose levels say where structs and lists are; nil: the file has no such column.
	shape *leaf
	// value is the leaf that holds the values of a column that is not nested.
	value *leaf
	kids  []*node
}

// binder matches a row type with a file's schema.
type binder struct {
	byName bool // the file has no field ids
	leaves map[int]*leaf
	order  []*leaf
}

// fields binds the fields of a struct to the columns of a group.
func (b *binder) fields(n *node, group *column) error {
	for _, f := range n.field.Type.Fields {
		k := &node{field: f, path: n.path + f.Name, above: n.def, slot: n.slot, rep: n.rep}
		if err := b.bind(k, b.find(group, f)); err != nil {
			return err
		}
		n.kids = append(n.kids, k)
	}
	return nil
}

// find looks for a field by its id. Files that other programs wrote without ids, and row types without, go by names.
func (b *binder) find(group *column, f batch.Field) *column {
	for _, c := range group.kids {
		if f.ID != 0 && !b.byName {
			if c.id == f.ID {
				return c
			}
		} else if c.name == f.Name {
			return c
		}
	}
	return nil
}

func (b *binder) bind(n *node, c *column) error {
	if c == nil {
		if n.field.Required {
			return fmt.Errorf("the file has no column %s (field id %d), which the table requires", n.path, n.field.ID)
		}
		return nil
	}
	n.def = c.def
	t := n.field.Type
	if !t.Nested() {
		if c.leaf == nil || c.rep != n.rep {
			return n.unlike(c)
		}
		conv, err := conversionOf(t, c)
		if err != nil {
			return fmt.Errorf("column %s: %w", n.path, err)
		}
		n.value = b.leaf(c)
		n.value.conv, n.value.node = conv, n
		return nil
	}
	if c.leaf != nil || c.repeated && n.rep < c.rep {
		return n.unlike(c)
	}
	if t.Kind == batch.Struct {
		n.path += "."
		if err := b.fields(n, c); err != nil {
			return err
		}
	} else if err := b.entries(n, c); err != nil {
		return err
	}
	return b.shape(n, c)
}

func (n *node) unlike(c *column) error {
	return fmt.Errorf("column %s: the file has %s, which cannot be read as %s", n.path, c, n.field.Type)
}

// entries binds the elements of a list, or the keys and values of a map. The files of old programs have lists without the
// group around each element.
func (b *binder) entries(n *node, c *column) error {
	if len(c.kids) != 1 || !c.kids[0].repeated {
		return n.unlike(c)
	}
	repeated := c.kids[0]
	members := repeated.kids
	if n.field.Type.Kind == batch.List && (len(members) != 1 || repeated.name == "array" || repeated.name == c.name+"_tuple") {
		members = []*column{repeated}
	}
	if len(members) != len(n.field.Type.Fields) {
		return n.unlike(c)
	}
	for i, f := range n.field.Type.Fields {
		def := repeated.def
		k := &node{field: f, path: n.path + "." + f.Name, above: def, slot: def, rep: repeated.rep}
		if err := b.bind(k, members[i]); err != nil {
			return err
		}
		n.kids = append(n.kids, k)
	}
	return nil
}

// shape chooses the leaf whose levels tell of a struct or list: one that is read anyway, if there is one.
func (b *binder) shape(n *node, c *column) error {
	var all []*column
	var walk func(c *column)
	walk = func(c *column) {
		if c.leaf != nil {
			all = append(all, c)
		}
		for _, k := range c.kids {
			walk(k)
		}
	}
	walk(c)
	if len(all) == 0 {
		return n.unlike(c)
	}
	best := all[0]
	for _, l := range all {
		if b.leaves[l.index] != nil {
			best = l
			break
		}
	}
	n.shape = b.leaf(best)
	n.shape.keep = true
	return nil
}

func (b *binder) leaf(c *column) *leaf {
	l := b.leaves[c.index]
	if l == nil {
		l = &leaf{index: c.index, name: c.path, rep: c.rep, def: c.def}
		b.leaves[c.index], b.order = l, append(b.order, l)
	}
	return l
}

// conversion says how a leaf's values become those of a batch column.
type conversion uint8

const (
	toBool conversion = iota + 1
	toInt32
	toInt64
	millis // of a time or timestamp
	toFloat
	toDouble
	toBytes
	toFixed   // bytes of one length
	toDecimal // unscaled in an int64
	toWide    // unscaled in 16 bytes
)

// conversionOf allows what a column of the table may have been when the file was written, and what other programs write.
func conversionOf(t *batch.Type, c *column) (conversion, error) {
	kind := c.leaf.PhysicalType()
	integer := kind == parquet.Types.Int32 || kind == parquet.Types.Int64
	raw := kind == parquet.Types.ByteArray || kind == parquet.Types.FixedLenByteArray
	unit, scale := annotation(c.leaf)
	switch {
	case t.Kind == batch.Boolean && kind == parquet.Types.Boolean:
		return toBool, nil
	case (t.Kind == batch.Int || t.Kind == batch.Date) && kind == parquet.Types.Int32:
		return toInt32, nil
	case t.Kind == batch.Long && integer:
		return toInt64, nil
	case t.Kind == batch.Float && kind == parquet.Types.Float:
		return toFloat, nil
	case t.Kind == batch.Double && (kind == parquet.Types.Double || kind == parquet.Types.Float):
		return toDouble, nil
	case t.Kind == batch.Time && integer || (t.Kind == batch.Timestamp || t.Kind == batch.TimestampTZ) && kind == parquet.Types.Int64:
		switch unit {
		case schema.TimeUnitUnknown, schema.TimeUnitMicros:
			return toInt64, nil
		case schema.TimeUnitMillis:
			return millis, nil
		}
	case t.Kind == batch.Decimal && (integer || raw) && (scale < 0 || scale == t.Scale):
		if t.Store() == batch.StoreInt64 {
			return toDecimal, nil
		}
		return toWide, nil
	case (t.Kind == batch.String || t.Kind == batch.Binary) && raw:
		return toBytes, nil
	case (t.Kind == batch.UUID || t.Kind == batch.Fixed) && raw:
		return toFixed, nil
	}
	return 0, fmt.Errorf("the file has %s, which cannot be read as %s", c, t)
}

// annotation gives the unit of a time, and the scale of a decimal: unknown and -1 where the file does not say.
func annotation(n *schema.PrimitiveNode) (unit schema.TimeUnitType, scale int) {
	unit, scale = schema.TimeUnitUnknown, -1
	switch l := n.LogicalType().(type) {
	case interface{ Scale() int32 }:
		scale = int(l.Scale())
	case interface{ TimeUnit() schema.TimeUnitType }:
		unit = l.TimeUnit()
	}
	return unit, scale
}
