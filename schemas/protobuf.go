package schemas

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lakeloader/lakeloader/batch"
)

// Selector is a Schema that describes several record types, told apart by the payload.
type Selector interface {
	Schema
	// Select returns the schema of the payload's own record type, always the same one for the same type; it may be the
	// receiver. An error says that the payload names none.
	Select(payload []byte) (Schema, error)
}

// ParseProtobuf maps a Protobuf file (proto2, proto3) to a row type. refs are the files that it imports, by the name
// in the import; google/protobuf/*, google/type/*, confluent/meta.proto and confluent/type/decimal.proto are there.
//
//	int32 sint32 sfixed32        int
//	int64 sint64 sfixed64        long
//	uint32 fixed32               long
//	uint64 fixed64               decimal(20,0)
//	float double bool            float, double, boolean
//	string bytes                 string, binary
//	enum                         string: the value's name, for an unknown value its number
//	message                      struct; boolean (true) if it has no fields; a message within itself is an error
//	repeated, map<K, V>          list, map
//	google.protobuf.Timestamp    timestamptz, nanoseconds rounded down
//	google.protobuf.Duration     long: microseconds, nanoseconds cut off
//	google.protobuf.*Value       an optional column of the wrapped type
//	google.protobuf.Struct, Value, ListValue   string: JSON text (each value allocates; the rest does not)
//	google.protobuf.Any          struct of type_url and the binary value, as it is
//	google.type.Date, TimeOfDay  date (a whole one), time
//	confluent.type.Decimal       decimal, where field_meta gives scale and maybe precision; else a struct
//
// Required are fields that always have a value: those of proto3 without "optional", of proto2 with a default, proto2's
// required ones, lists and maps. Messages and members of a oneof are optional. Groups are an error. A map that has a
// key twice is an error (other readers take the last), as is a field of another wire type than the schema's.
//
// Payloads begin with the index path of their message type. Row is of the file's first message that no other one of
// the file uses as a member, or the first one if there is none; Select gives the others, and a plan decodes them as well
// if the target has their fields.
func ParseProtobuf(text string, refs []Reference) (Schema, error) {
	file, err := compileProtobuf(text, refs)
	if err != nil {
		return nil, fmt.Errorf("protobuf schema: %w", err)
	}
	if file.Messages().Len() == 0 {
		return nil, fmt.Errorf("protobuf schema: it has no message")
	}
	f := &protobufFile{file: file, messages: map[string]*protobufSchema{}}
	return f.message(rootMessage(file))
}

func compileProtobuf(text string, refs []Reference) (protoreflect.FileDescriptor, error) {
	const main = "schema.proto"
	files := map[string]string{}
	var add func([]Reference)
	add = func(refs []Reference) {
		for _, r := range refs {
			if _, ok := files[r.Name]; !ok {
				files[r.Name] = r.Text
				add(r.Refs)
			}
		}
	}
	add(refs)
	resolve := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		source, ok := text, path == main
		if !ok {
			source, ok = files[path]
		}
		if !ok {
			source, ok = protobufImports[path]
		}
		if !ok {
			return protocompile.SearchResult{}, fmt.Errorf("%s is not among the schema's references", path)
		}
		return protocompile.SearchResult{Source: strings.NewReader(source)}, nil
	})
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(resolve), MaxParallelism: 1, SourceInfoMode: protocompile.SourceInfoStandard}
	compiled, err := c.Compile(context.Background(), main)
	if err != nil {
		return nil, err
	}
	return compiled[0], nil
}

// rootMessage guesses which of a file's messages the records are.
func rootMessage(file protoreflect.FileDescriptor) []int {
	used := map[protoreflect.FullName]bool{}
	var visit func(ms protoreflect.MessageDescriptors)
	visit = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			m := ms.Get(i)
			visit(m.Messages())
			for j := range m.Fields().Len() {
				if member := m.Fields().Get(j).Message(); member != nil && member.FullName() != m.FullName() {
					used[member.FullName()] = true
				}
			}
		}
	}
	visit(file.Messages())
	for i := range file.Messages().Len() {
		if !used[file.Messages().Get(i).FullName()] {
			return []int{i}
		}
	}
	return []int{0}
}

// protobufFile keeps the schemas of its messages.
type protobufFile struct {
	file     protoreflect.FileDescriptor
	mu       sync.Mutex
	messages map[string]*protobufSchema
}

// message returns the schema of the message with an index path: of a top-level message, of one nested in it, and so on.
func (f *protobufFile) message(path []int) (*protobufSchema, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := fmt.Sprint(path)
	if s := f.messages[key]; s != nil {
		return s, nil
	}
	var d protoreflect.MessageDescriptor
	for i, index := range path {
		ms := f.file.Messages()
		if i > 0 {
			ms = d.Messages()
		}
		if index >= ms.Len() {
			return nil, fmt.Errorf("the schema has no message with the index %s", key)
		}
		d = ms.Get(index)
	}
	b := protobufBuilder{open: map[protoreflect.FullName]bool{}}
	root, err := b.message(d, "", 0)
	if err != nil {
		return nil, fmt.Errorf("protobuf schema: message %s: %w", d.FullName(), err)
	}
	if root.kind != pbMessage {
		return nil, fmt.Errorf("protobuf schema: message %s has no fields that give columns", d.FullName())
	}
	s := &protobufSchema{file: f, path: slices.Clone(path), name: string(d.FullName()), root: root}
	f.messages[key] = s
	return s, nil
}

// protobufSchema is one message type of a file.
type protobufSchema struct {
	file *protobufFile
	path []int
	name string
	root *pbNode
}

func (s *protobufSchema) Row() *batch.Type { return s.root.typ }

// Select implements Selector.
func (s *protobufSchema) Select(payload []byte) (Schema, error) {
	var room [8]int
	path, _, err := messageIndex(payload, room[:0])
	if err != nil {
		return nil, err
	}
	if slices.Equal(path, s.path) {
		return s, nil
	}
	return s.file.message(path)
}

func (s *protobufSchema) Compile(target *batch.Type) (Plan, error) {
	root, err := compileFields(s.root, target, "")
	if err != nil {
		return nil, err
	}
	return &pbPlan{schema: s, target: target, root: root}, nil
}

// messageIndex reads the index path in front of a message and its length: a count and so many numbers, all in zigzag
// varints; a lone 0 stands for the first message.
func messageIndex(b []byte, path []int) ([]int, int, error) {
	count, pos := uvarint(b, 0)
	if pos < 0 {
		return nil, 0, failf("the payload ends within the message index that goes before the message")
	}
	n := unzigzag(count)
	if n == 0 {
		return append(path, 0), pos, nil
	}
	if n < 0 || n > maxDepth {
		return nil, 0, failf("the message index that goes before the message has %d parts", n)
	}
	for range n {
		var u uint64
		if u, pos = uvarint(b, pos); pos < 0 {
			return nil, 0, failf("the payload ends within the message index that goes before the message")
		}
		i := unzigzag(u)
		if i < 0 || i > 1<<20 {
			return nil, 0, failf("the message index that goes before the message holds %d", i)
		}
		path = append(path, int(i))
	}
	return path, pos, nil
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// uvarint reads a varint of at most ten bytes and returns where it ends; -1: it does not.
func uvarint(b []byte, pos int) (uint64, int) {
	if pos < len(b) && b[pos] < 0x80 {
		return uint64(b[pos]), pos + 1
	}
	var v uint64
	for shift := 0; shift < 70 && pos < len(b); shift += 7 {
		c := b[pos]
		pos++
		if shift == 63 && c > 1 {
			return 0, -1
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, pos
		}
	}
	return 0, -1
}
