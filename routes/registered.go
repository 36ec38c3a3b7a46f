package routes

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// register puts a schema into the registry.
type register func(ctx context.Context, subject, kind, text string) (id int, err error)

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// named makes sure that schemas can have the names of columns.
func named(t *batch.Type) error {
	for _, f := range t.Fields {
		if t.Kind == batch.Struct && !plainName.MatchString(f.Name) {
			return fmt.Errorf("column %q cannot be named so in the schema: rename it in a cleanse step to letters, digits and _", f.Name)
		}
		if err := named(f.Type); err != nil {
			return err
		}
	}
	return nil
}

// typeName makes a type's name of a topic's: unhappy-platinum.v2 gives unhappy_platinum_v2.
func typeName(topic string) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, topic)
	if name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}

// header begins a message in the form of Confluent's registry: a zero, and the schema's id.
func header(id int) []byte { return binary.BigEndian.AppendUint32([]byte{0}, uint32(id)) }

// part is the row type of some columns.
func part(row *batch.Type, columns []int) *batch.Type {
	t := batch.StructOf()
	for _, i := range columns {
		t.Fields = append(t.Fields, row.Fields[i])
	}
	return t
}
