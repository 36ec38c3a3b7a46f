package schemas

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// Each payload is read by its own schema, whatever the others are; what cannot be read is told apart.
func TestReader(t *testing.T) {
	t.Parallel()
	reg, client := newFakeRegistry(t)
	avro := func(id int, fields string) {
		reg.add("t-value", fakeSchema{ID: id, Schema: `{"type":"record","name":"R","fields":[` + fields + `]}`})
	}
	avro(1, fieldA)
	avro(2, fieldAS) // no decoder takes both
	reg.add("t-value", fakeSchema{ID: 3, SchemaType: "PROTOBUF", Schema: `syntax = "proto3"; message A { int64 n = 1; } message B { string s = 1; }`})
	reg.add("t-value", fakeSchema{ID: 4, SchemaType: "JSON", Schema: `{"type":"object"}`})
	avro(5, `{"name":"a","type":{"type":"fixed","name":"F","size":"x"}}`)
	r := NewReader(client, false)
	for i, c := range []struct {
		payload []byte
		want    any // what is read, or how it fails
	}{
		{wire(1, "\x02"), map[string]any{"a": int32(1)}},
		{wire(2, "\x02x"), map[string]any{"a": "x"}},
		{wire(1, "\x04"), map[string]any{"a": int32(2)}},
		{wire(3, "\x00\x08\x07"), map[string]any{"n": int64(7)}},
		{wire(3, "\x02\x02\x0a\x01y"), map[string]any{"s": "y"}},
		{wire(3, "\x02\x09\x0a\x01y"), ErrUnreadable},
		{wire(1, ""), ErrUnreadable},
		{wire(1, "\x02\x02"), ErrUnreadable}, // more than the schema has
		{wire(2, "\x04y"), ErrUnreadable},
		{wire(1, "\x06"), map[string]any{"a": int32(3)}}, // also after one that broke off
		{wire(4, "{}"), ErrUnreadable},
		{wire(5, "x"), ErrUnreadable},
		{wire(6, "x"), ErrNotFound},
		{[]byte("plain"), ErrUnreadable},
		{nil, ErrUnreadable},
	} {
		b, err := r.Read(t.Context(), c.payload)
		if want, ok := c.want.(error); ok {
			if !errors.Is(err, want) {
				t.Errorf("case %d: %v, want %v", i, err, want)
			}
			continue
		}
		if err != nil || b.Rows != 1 || !reflect.DeepEqual(slot(b.Records, b.Root, 0), c.want) {
			t.Errorf("case %d: %v, want %v", i, err, c.want)
		}
	}
	if n := reg.requests(); n != 6 {
		t.Errorf("%d requests for six ids", n)
	}
}

// A registry that cannot be asked is asked once.
func TestReaderWithoutARegistry(t *testing.T) {
	t.Parallel()
	reg, client := newFakeRegistry(t)
	reg.setFault(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
	})
	for want, r := range map[string]*Reader{"503": NewReader(client, false), "registry.url is not set": NewReader(nil, false)} {
		for id := range uint32(3) {
			b, err := r.Read(t.Context(), wire(id+1, "x"))
			if b != nil || !errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
	if n := reg.requests(); n != 1 {
		t.Errorf("%d requests", n)
	}
}
