package scan

import (
	"fmt"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

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
	file   *parquet.File
	byName bool // the file has no field ids
	leaves map[int]*leaf
	order  []*leaf
}

func newBinder(f *parquet.File) *binder {
	return &binder{file: f, byName: !hasIDs(f.Root()), leaves: map[int]*leaf{}}
}

func hasIDs(c *parquet.Column) bool {
	for _, k := range c.Columns() {
		if k.ID() != 0 || hasIDs(k) {
			return true
		}
	}
	return false
}

// fields binds the fields of a struct to the columns of a group.
func (b *binder) fields(n *node, group *parquet.Column) error {
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
func (b *binder) find(group *parquet.Column, f batch.Field) *parquet.Column {
	for _, c := range group.Columns() {
		if f.ID != 0 && !b.byName {
			if c.ID() == f.ID {
				return c
			}
		} else if c.Name() == f.Name {
			return c
		}
	}
	return nil
}

func (b *binder) bind(n *node, c *parquet.Column) error {
	if c == nil {
		if n.field.Required {
			return fmt.Errorf("the file has no column %s (field id %d), which the table requires", n.path, n.field.ID)
		}
		return nil
	}
	n.def = c.MaxDefinitionLevel()
	t := n.field.Type
	if !t.Nested() {
		if !c.Leaf() || c.MaxRepetitionLevel() != n.rep {
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
	if c.Leaf() || c.Repeated() && n.rep < c.MaxRepetitionLevel() {
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

func (n *node) unlike(c *parquet.Column) error {
	return fmt.Errorf("column %s: the file has %s, which cannot be read as %s", n.path, c, n.field.Type)
}

// entries binds the elements of a list, or the keys and values of a map. The files of old programs have lists without the
// group around each element.
func (b *binder) entries(n *node, c *parquet.Column) error {
	if len(c.Columns()) != 1 || !c.Columns()[0].Repeated() {
		return n.unlike(c)
	}
	repeated := c.Columns()[0]
	members := repeated.Columns()
	if n.field.Type.Kind == batch.List && (len(members) != 1 || repeated.Name() == "array" || repeated.Name() == c.Name()+"_tuple") {
		members = []*parquet.Column{repeated}
	}
	if len(members) != len(n.field.Type.Fields) {
		return n.unlike(c)
	}
	for i, f := range n.field.Type.Fields {
		def := repeated.MaxDefinitionLevel()
		k := &node{field: f, path: n.path + "." + f.Name, above: def, slot: def, rep: repeated.MaxRepetitionLevel()}
		if err := b.bind(k, members[i]); err != nil {
			return err
		}
		n.kids = append(n.kids, k)
	}
	return nil
}

// shape chooses the leaf whose levels tell of a struct or list: one that is read anyway, if there is one.
func (b *binder) shape(n *node, c *parquet.Column) error {
	var all []*parquet.Column
	var walk func(c *parquet.Column)
	walk = func(c *parquet.Column) {
		if c.Leaf() {
			all = append(all, c)
		}
		for _, k := range c.Columns() {
			walk(k)
		}
	}
	walk(c)
	if len(all) == 0 {
		return n.unlike(c)
	}
	best := all[0]
	for _, l := range all {
		if b.leaves[l.Index()] != nil {
			best = l
			break
		}
	}
	n.shape = b.leaf(best)
	n.shape.keep = true
	return nil
}

func (b *binder) leaf(c *parquet.Column) *leaf {
	l := b.leaves[c.Index()]
	if l == nil {
		l = &leaf{index: c.Index(), name: c.Path()[0], rep: c.MaxRepetitionLevel(), def: c.MaxDefinitionLevel()}
		for _, p := range c.Path()[1:] {
			l.name += "." + p
		}
		b.leaves[c.Index()], b.order = l, append(b.order, l)
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
func conversionOf(t *batch.Type, c *parquet.Column) (conversion, error) {
	kind := c.Type().Kind()
	integer := kind == parquet.Int32 || kind == parquet.Int64
	raw := kind == parquet.ByteArray || kind == parquet.FixedLenByteArray
	unit, scale := annotation(c.Type())
	switch {
	case t.Kind == batch.Boolean && kind == parquet.Boolean:
		return toBool, nil
	case (t.Kind == batch.Int || t.Kind == batch.Date) && kind == parquet.Int32:
		return toInt32, nil
	case t.Kind == batch.Long && integer:
		return toInt64, nil
	case t.Kind == batch.Float && kind == parquet.Float:
		return toFloat, nil
	case t.Kind == batch.Double && (kind == parquet.Double || kind == parquet.Float):
		return toDouble, nil
	case t.Kind == batch.Time && integer || (t.Kind == batch.Timestamp || t.Kind == batch.TimestampTZ) && kind == parquet.Int64:
		switch unit {
		case "", "MICROS":
			return toInt64, nil
		case "MILLIS":
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
	return 0, fmt.Errorf("the file has %s, which cannot be read as %s", c.Type(), t)
}

// annotation gives the unit of a time, and the scale of a decimal; "" and -1 where the file does not say.
func annotation(t parquet.Type) (unit string, scale int) {
	l := t.LogicalType()
	if l == nil {
		return "", -1
	}
	switch v := l.Value.(type) {
	case *format.DecimalType:
		return "", int(v.Scale)
	case *format.TimeType:
		return v.Unit.String(), -1
	case *format.TimestampType:
		return v.Unit.String(), -1
	}
	return "", -1
}
