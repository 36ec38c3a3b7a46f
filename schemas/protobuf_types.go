package schemas

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lakeloader/lakeloader/batch"
)

// pbKind is how a field's value is read.
type pbKind uint8

const (
	pbBool pbKind = iota + 1
	pbInt         // varint, fixed32 or fixed64 as a number of 32 or 64 bits
	pbZigzag32
	pbZigzag64
	pbInt32
	pbUint32
	pbUint64
	pbFloat
	pbDouble
	pbString
	pbBytes
	pbEnum
	pbMessage
	pbEmpty // a message without fields
	pbTimestamp
	pbDuration
	pbDate
	pbTimeOfDay
	pbDecimal
	pbJSON // a Struct, Value or ListValue
	pbWrapper
)

// pbNode is a value's type: how it is on the wire, and what it becomes.
type pbNode struct {
	kind   pbKind
	wire   protowire.Type
	typ    *batch.Type
	names  map[int32]string // of an enum
	inner  *pbNode          // what a wrapper wraps
	json   protoreflect.MessageDescriptor
	fields []pbField // of a message
}

// pbField is a member of a message; a map's entry is a message with the fields key and value.
type pbField struct {
	name     string
	number   protowire.Number
	node     *pbNode
	form     pbForm
	required bool // its column is
	must     bool // proto2's required: the message has it
	oneof    int  // the members of a oneof share a number; 0: none
	def      pbDefault
	doc      string
}

type pbForm uint8

const (
	pbSingle pbForm = iota
	pbList
	pbMap
)

// pbDefault is the value of a field that is not there.
type pbDefault struct {
	has  bool
	bits uint64
	text string
}

// column is the type of a field's column.
func (f *pbField) column() *batch.Type {
	switch f.form {
	case pbList:
		return batch.ListOf(f.node.typ, true)
	case pbMap:
		return batch.MapOf(f.node.typ.Fields[0].Type, f.node.typ.Fields[1].Type, true)
	}
	return f.node.typ
}

type protobufBuilder struct {
	open    map[protoreflect.FullName]bool
	columns int
}

func (b *protobufBuilder) message(d protoreflect.MessageDescriptor, path string, depth int) (*pbNode, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("field %s: nested more than %d deep", pathName(path), maxDepth)
	}
	if b.open[d.FullName()] {
		return nil, fmt.Errorf("field %s: message %s contains itself; a table cannot hold recursive types", pathName(path), d.FullName())
	}
	b.open[d.FullName()] = true
	defer delete(b.open, d.FullName())
	n := &pbNode{kind: pbMessage, wire: protowire.BytesType, typ: batch.StructOf()}
	for i := range d.Fields().Len() {
		f, err := b.field(d.Fields().Get(i), path, depth)
		if err != nil {
			return nil, err
		}
		n.fields = append(n.fields, f)
		n.typ.Fields = append(n.typ.Fields, batch.Field{Name: f.name, Type: f.column(), Required: f.required, Doc: f.doc})
	}
	if len(n.fields) == 0 {
		n.kind, n.typ = pbEmpty, batch.Prim(batch.Boolean)
	}
	return n, nil
}

func (b *protobufBuilder) field(d protoreflect.FieldDescriptor, path string, depth int) (pbField, error) {
	f := pbField{name: string(d.Name()), number: d.Number(), doc: docOf(d)}
	path = join(path, f.name)
	if b.columns++; b.columns > maxColumns {
		return f, fmt.Errorf("more than %d columns", maxColumns)
	}
	var err error
	if d.IsMap() {
		// An entry's key and value are never absent: without one it has the type's empty value.
		if f.node, err = b.message(d.Message(), path, depth+1); err != nil {
			return f, err
		}
		f.form, f.required = pbMap, true
		for i, member := range []protoreflect.FieldDescriptor{d.MapKey(), d.MapValue()} {
			f.node.fields[i].required, f.node.fields[i].def = true, defaultOf(member)
			f.node.typ.Fields[i].Required = true
		}
		return f, nil
	}
	if f.node, err = b.value(d, path, depth); err != nil {
		return f, err
	}
	switch {
	case d.IsList():
		f.form, f.required = pbList, true
		return f, nil
	case d.Cardinality() == protoreflect.Required:
		f.must, f.required = true, true
		return f, nil
	}
	if o := d.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.oneof = o.Index() + 1
	}
	if !d.HasPresence() || d.HasDefault() && f.oneof == 0 {
		f.required = true
		f.def = defaultOf(d)
	}
	return f, nil
}

func docOf(d protoreflect.Descriptor) string {
	return strings.Join(strings.Fields(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), " ")
}

func defaultOf(d protoreflect.FieldDescriptor) pbDefault {
	def := pbDefault{has: true}
	v := d.Default()
	switch d.Kind() {
	case protoreflect.BoolKind:
		def.bits = protowire.EncodeBool(v.Bool())
	case protoreflect.EnumKind:
		def.bits = uint64(int64(v.Enum()))
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		def.bits = protowire.EncodeZigZag(v.Int())
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind, protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		def.bits = uint64(v.Int())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		def.bits = v.Uint()
	case protoreflect.FloatKind:
		def.bits = uint64(math.Float32bits(float32(v.Float())))
	case protoreflect.DoubleKind:
		def.bits = math.Float64bits(v.Float())
	case protoreflect.StringKind:
		def.text = v.String()
	case protoreflect.BytesKind:
		def.text = string(v.Bytes())
	}
	return def
}

func (b *protobufBuilder) value(d protoreflect.FieldDescriptor, path string, depth int) (*pbNode, error) {
	node := func(kind pbKind, wire protowire.Type, t *batch.Type) (*pbNode, error) {
		return &pbNode{kind: kind, wire: wire, typ: t}, nil
	}
	switch d.Kind() {
	case protoreflect.BoolKind:
		return node(pbBool, protowire.VarintType, batch.Prim(batch.Boolean))
	case protoreflect.Int32Kind:
		return node(pbInt32, protowire.VarintType, batch.Prim(batch.Int))
	case protoreflect.Sint32Kind:
		return node(pbZigzag32, protowire.VarintType, batch.Prim(batch.Int))
	case protoreflect.Sfixed32Kind:
		return node(pbInt32, protowire.Fixed32Type, batch.Prim(batch.Int))
	case protoreflect.Int64Kind:
		return node(pbInt, protowire.VarintType, batch.Prim(batch.Long))
	case protoreflect.Sint64Kind:
		return node(pbZigzag64, protowire.VarintType, batch.Prim(batch.Long))
	case protoreflect.Sfixed64Kind:
		return node(pbInt, protowire.Fixed64Type, batch.Prim(batch.Long))
	case protoreflect.Uint32Kind:
		return node(pbUint32, protowire.VarintType, batch.Prim(batch.Long))
	case protoreflect.Fixed32Kind:
		return node(pbUint32, protowire.Fixed32Type, batch.Prim(batch.Long))
	case protoreflect.Uint64Kind:
		return node(pbUint64, protowire.VarintType, batch.DecimalOf(20, 0))
	case protoreflect.Fixed64Kind:
		return node(pbUint64, protowire.Fixed64Type, batch.DecimalOf(20, 0))
	case protoreflect.FloatKind:
		return node(pbFloat, protowire.Fixed32Type, batch.Prim(batch.Float))
	case protoreflect.DoubleKind:
		return node(pbDouble, protowire.Fixed64Type, batch.Prim(batch.Double))
	case protoreflect.StringKind:
		return node(pbString, protowire.BytesType, batch.Prim(batch.String))
	case protoreflect.BytesKind:
		return node(pbBytes, protowire.BytesType, batch.Prim(batch.Binary))
	case protoreflect.EnumKind:
		n, err := node(pbEnum, protowire.VarintType, batch.Prim(batch.String))
		n.names = enumNames(d.Enum())
		return n, err
	case protoreflect.MessageKind:
		return b.known(d, path, depth)
	}
	return nil, fmt.Errorf("field %s: groups are not supported; use a message", pathName(path))
}

// enumNames gives each number its first name.
func enumNames(d protoreflect.EnumDescriptor) map[int32]string {
	names := map[int32]string{}
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		if _, ok := names[int32(v.Number())]; !ok {
			names[int32(v.Number())] = string(v.Name())
		}
	}
	return names
}

// known maps the messages that stand for a value of their own, and all others as structs.
func (b *protobufBuilder) known(d protoreflect.FieldDescriptor, path string, depth int) (*pbNode, error) {
	node := func(kind pbKind, t *batch.Type) (*pbNode, error) {
		return &pbNode{kind: kind, wire: protowire.BytesType, typ: t}, nil
	}
	switch m := d.Message(); m.FullName() {
	case "google.protobuf.Timestamp":
		return node(pbTimestamp, batch.Prim(batch.TimestampTZ))
	case "google.protobuf.Duration":
		return node(pbDuration, batch.Prim(batch.Long))
	case "google.type.Date":
		return node(pbDate, batch.Prim(batch.Date))
	case "google.type.TimeOfDay":
		return node(pbTimeOfDay, batch.Prim(batch.Time))
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue":
		n, err := node(pbJSON, batch.Prim(batch.String))
		n.json = m
		return n, err
	case "google.protobuf.BoolValue", "google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value",
		"google.protobuf.FloatValue", "google.protobuf.DoubleValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		inner, err := b.value(m.Fields().ByNumber(1), path, depth+1)
		if err != nil {
			return nil, err
		}
		n, err := node(pbWrapper, inner.typ)
		n.inner = inner
		return n, err
	case "confluent.type.Decimal":
		t, err := decimalMeta(d)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", pathName(path), err)
		}
		if t != nil {
			return node(pbDecimal, t)
		}
	}
	return b.message(d.Message(), path, depth+1)
}

// decimalMeta finds precision and scale in the option (confluent.field_meta) = {params: [{key: "scale", value: "2"}]};
// nil: there is none.
func decimalMeta(d protoreflect.FieldDescriptor) (t *batch.Type, err error) {
	precision, scale := "38", ""
	d.Options().ProtoReflect().Range(func(ext protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if ext.FullName() != "confluent.field_meta" || ext.Message() == nil {
			return true
		}
		params := ext.Message().Fields().ByName("params")
		if params == nil || !params.IsMap() {
			return true
		}
		v.Message().Get(params).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			switch k.String() {
			case "precision":
				precision = v.String()
			case "scale":
				scale = v.String()
			}
			return true
		})
		return false
	})
	if scale == "" {
		return nil, nil
	}
	return batch.ParseType("decimal(" + precision + "," + scale + ")")
}
