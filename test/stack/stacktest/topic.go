//go:build stack

package stacktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// Delivered is a message that Confluent's Python client read.
type Delivered struct {
	Partition int32
	Row       string  // the header lakeloader-row
	Key       *string // nil: null
	Value     json.RawMessage
}

// ReadTopic reads what is committed of a topic with Confluent's Python client and libraries that are not ours. format is json, avro or protobuf.
func ReadTopic(t testing.TB, topic, format string) (all []Delivered) {
	t.Helper()
	python, err := run(t.Context(), nil, filepath.Join(Root(t), "test", "stack", "readers.sh"), "topics")
	if err != nil {
		t.Fatal(err)
	}
	out := script(t, strings.TrimSpace(string(python)), "topic_read.py", "--brokers", Kafka(t), "--registry", Registry(t), "--topic", topic, "--format", format)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var m Delivered
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("topic_read.py printed something else: %v\n%s", err, out)
		}
		all = append(all, m)
	}
}
