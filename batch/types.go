// Package batch holds the unit of work of a pipeline: the Kafka records of one fetch and the typed
// columns decoded from them. It depends on nothing, so that every stage can depend on it.
package batch

import (
	"fmt"
	"strings"
)

// Kind is a column type. The set is Iceberg's (format version 2), so that every value a decoder can
// produce has exactly one place in the table.
type Kind uint8

// The kinds, with how Column stores a value of each.
const (
	Boolean     Kind = iota + 1 // Bools
	Int                         // Int32
	Long                        // Int64
	Float                       // Float32
	Double                      // Float64
	Decimal                     // Int64 unscaled up to precision 18, else Views of 16 big-endian two's-complement bytes
	Date                        // Int32: days since 1970-01-01
	Time                        // Int64: microseconds since midnight
	Timestamp                   // Int64: microseconds since 1970-01-01T00:00:00 of a local clock (no zone)
	TimestampTZ                 // Int64: microseconds since the Unix epoch, UTC
	String                      // Views: UTF-8
	UUID                        // Views: 16 bytes
	Fixed                       // Views: Type.Length bytes
	Binary                      // Views
	Struct                      // Children: one per field
	List                        // Starts, Children[0]: the elements
	Map                         // Starts, Children[0] keys, Children[1] values
)

// MaxInt64Precision is the greatest precision of a decimal that Column keeps in an int64.
const MaxInt64Precision = 18

// Type describes a column. Types are immutable once shared; a change makes a new one.
type Type struct {
	Kind      Kind
	Precision int // Decimal: 1 to 38
	Scale     int // Decimal
	Length    int // Fixed
	// Fields are a struct's fields in order; a list has one ("element"), a map two ("key", "value").
	Fields []Field
}

// Field is a named member of a struct, list or map type.
type Field struct {
	Name     string
	Type     *Type
	Required bool
	Doc      string
	ID       int // Iceberg field id; 0 until the table has assigned one
}

var names = [...]string{Boolean: "boolean", Int: "int", Long: "long", Float: "float", Double: "double",
	Decimal: "decimal", Date: "date", Time: "time", Timestamp: "timestamp", TimestampTZ: "timestamptz",
	String: "string", UUID: "uuid", Fixed: "fixed", Binary: "binary", Struct: "struct", List: "list", Map: "map"}

func (k Kind) String() string {
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return names[k]
}

// String gives the type as Iceberg writes it, nested types with their members.
func (t *Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case Fixed:
		return fmt.Sprintf("fixed[%d]", t.Length)
	case Struct, List, Map:
		var b strings.Builder
		b.WriteString(t.Kind.String())
		b.WriteByte('<')
		for i, f := range t.Fields {
			if i > 0 {
				b.WriteString(", ")
			}
			if t.Kind == Struct {
				b.WriteString(f.Name)
				b.WriteString(": ")
			}
			b.WriteString(f.Type.String())
			if f.Required {
				b.WriteString(" required")
			}
		}
		b.WriteByte('>')
		return b.String()
	}
	return t.Kind.String()
}

// Prim returns the type of a kind without parameters.
func Prim(k Kind) *Type { return &Type{Kind: k} }

// DecimalOf returns a decimal type.
func DecimalOf(precision, scale int) *Type {
	return &Type{Kind: Decimal, Precision: precision, Scale: scale}
}

// FixedOf returns a fixed type of n bytes.
func FixedOf(n int) *Type { return &Type{Kind: Fixed, Length: n} }

// StructOf returns a struct type.
func StructOf(fields ...Field) *Type { return &Type{Kind: Struct, Fields: fields} }

// ListOf returns a list type.
func ListOf(elem *Type, required bool) *Type {
	return &Type{Kind: List, Fields: []Field{{Name: "element", Type: elem, Required: required}}}
}

// MapOf returns a map type; keys are always required.
func MapOf(key, value *Type, required bool) *Type {
	return &Type{Kind: Map, Fields: []Field{{Name: "key", Type: key, Required: true}, {Name: "value", Type: value, Required: required}}}
}

// Equal reports whether two types are the same but for docs and field ids.
func (t *Type) Equal(o *Type) bool {
	if t == o {
		return true
	}
	if t == nil || o == nil || t.Kind != o.Kind || t.Precision != o.Precision || t.Scale != o.Scale ||
		t.Length != o.Length || len(t.Fields) != len(o.Fields) {
		return false
	}
	for i := range t.Fields {
		if t.Fields[i].Name != o.Fields[i].Name || t.Fields[i].Required != o.Fields[i].Required ||
			!t.Fields[i].Type.Equal(o.Fields[i].Type) {
			return false
		}
	}
	return true
}

// Index returns the position of a struct's field, or -1.
func (t *Type) Index(name string) int {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// Nested reports whether the type has children.
func (t *Type) Nested() bool { return t.Kind >= Struct }
