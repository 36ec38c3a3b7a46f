// Package schemas turns Kafka payloads into columns: it resolves schema ids through a registry, maps Avro,
// Protobuf, JSON Schema and declared columns to the lake's types, merges the versions of a schema into one row
// type, and compiles for each version a plan that appends to typed columns. It writes nothing.
package schemas

import "github.com/lakeloader/lakeloader/batch"

// Schema is one parsed version of a record's schema.
type Schema interface {
	// Row is the struct type that its records have by themselves.
	Row() *batch.Type
	// Compile makes a plan for a target row type, which has every field of Row (maybe wider, maybe optional) and may
	// have more; those get null. An error says which field cannot be brought to the target's type.
	Compile(target *batch.Type) (Plan, error)
}

// Plan decodes payloads of one schema version. It is not safe for concurrent use.
type Plan interface {
	// Append decodes the payload (after the wire format's header) and appends exactly one slot to each of root's
	// children, by position. Text and bytes may be views of the payload itself; decoded ones are appended to r.Mem.
	// After an error columns may be half written: the caller truncates them. It never panics, whatever the bytes.
	Append(r *batch.Records, payload batch.View, root *batch.Column) error
}

// Reference is a schema that another one imports, by the name that it is imported with.
type Reference struct {
	Name string
	Text string
	Refs []Reference
}
