//go:build stack

package badinput

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// inAvro reads Avro, with schemas from the registry at a URL. settings are further ones of the registry.
func (s *system) inAvro(registry, settings string) {
	s.registry = "{url: " + registry + ", " + settings + "}"
	s.decode = "{value: {format: avro}}"
}

// version is the n-th version of the records' schema: each has one more optional column, which stays null.
func version(n int) string {
	fields := `{"name": "id", "type": "long"}, {"name": "name", "type": "string"}`
	for i := range n {
		fields += fmt.Sprintf(`, {"name": "more%d", "type": ["null", "string"], "default": null}`, i)
	}
	return `{"type": "record", "name": "event", "fields": [` + fields + `]}`
}

// register registers a schema for the topic's values and returns its id.
func (s *system) register(schema string) int {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.Post(stacktest.Registry(s.t)+"/subjects/"+s.topic+"-value/versions", "application/vnd.schemaregistry.v1+json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	var answer struct{ ID int }
	if err := errors.Join(err, resp.Body.Close(), json.Unmarshal(text, &answer)); err != nil || answer.ID == 0 {
		s.t.Fatalf("registering %s: %s %s (%v)", schema, resp.Status, text, err)
	}
	return answer.ID
}

// encoded is a record in the Confluent wire format.
func (s *system) encoded(schemaID int, schema string, id int) *kgo.Record {
	s.t.Helper()
	parsed, err := avro.Parse(schema)
	if err != nil {
		s.t.Fatal(err)
	}
	value, err := avro.Marshal(parsed, map[string]any{"id": int64(id), "name": fmt.Sprint("n", id)})
	if err != nil {
		s.t.Fatal(err)
	}
	return &kgo.Record{Partition: int32(id % 2), Value: append(binary.BigEndian.AppendUint32([]byte{0}, uint32(schemaID)), value...)}
}

// produceAvro registers a version and sends the records from <= id < to in it.
func (s *system) produceAvro(n, from, to int) {
	s.t.Helper()
	schemaID := s.register(version(n))
	var rs []*kgo.Record
	for id := from; id < to; id++ {
		rs = append(rs, s.encoded(schemaID, version(n), id))
	}
	s.send(rs...)
}

// deadLetter is what a test wants to know of a row in the dead-letter table.
type deadLetter struct {
	partition, offset int
	stage, says       string // the stage, and a part of the reason
	value             []byte
}

// deadLetters checks that PyIceberg finds just these, in the order of partition and offset.
func (s *system) deadLetters(want ...deadLetter) {
	s.t.Helper()
	at := s.reader
	at.Table += "_dead_letters"
	r := stacktest.PyIceberg(s.t, at, stacktest.Read{Rows: true})
	if len(r.Data) != len(want) {
		s.t.Fatalf("PyIceberg finds %d dead letters, want %d: %v", len(r.Data), len(want), r.Data)
	}
	for i, w := range want {
		row := r.Data[i]
		for column, value := range map[string]string{
			"_kafka_topic": s.topic, "_kafka_partition": fmt.Sprint(w.partition), "_kafka_offset": fmt.Sprint(w.offset),
			"stage": w.stage, "value": base64.StdEncoding.EncodeToString(w.value), "pipeline": "events",
		} {
			if got := fmt.Sprint(row[column]); got != value {
				s.t.Errorf("dead letter %d: %s is %s, want %s", i, column, got, value)
			}
		}
		if reason := fmt.Sprint(row["error"]); !strings.Contains(reason, w.says) {
			s.t.Errorf("dead letter %d says %q, not %q", i, reason, w.says)
		}
	}
}

func TestUndecodableBytes(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.inAvro(stacktest.Registry(t), "")
	schemaID := s.register(version(0))
	good := func(id int) *kgo.Record { return s.encoded(schemaID, version(0), id) }
	header := binary.BigEndian.AppendUint32([]byte{0}, uint32(schemaID))
	short := good(1).Value[:8]
	bad := [][]byte{[]byte("no header"), header, short, append(header, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), {}}
	s.send(good(0), good(1), good(2),
		&kgo.Record{Partition: 0, Value: bad[0]}, &kgo.Record{Partition: 1, Value: bad[1]},
		good(3), good(4),
		&kgo.Record{Partition: 0, Value: bad[2]}, &kgo.Record{Partition: 1, Value: bad[3]}, &kgo.Record{Partition: 1, Value: bad[4]},
		good(5), good(6))
	s.start().loaded(7, 5)
	s.deadLetters(
		deadLetter{0, 2, "decode", "not in the Confluent wire format", bad[0]},
		deadLetter{0, 4, "decode", "name", bad[2]},
		deadLetter{1, 1, "decode", "id", bad[1]},
		deadLetter{1, 3, "decode", "id", bad[3]},
		deadLetter{1, 4, "decode", "0 bytes is too short", bad[4]})
}

func TestUndecodableJSON(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 3)
	bad := [][]byte{[]byte(`{"id": 1`), []byte("\xff\xfe"), []byte(`{"name": "no id"}`), []byte(`{"id": "x"}`)}
	for _, b := range bad {
		s.send(&kgo.Record{Partition: 0, Value: b})
	}
	s.produce(3, 6)
	s.start().loaded(6, 4)
	s.deadLetters(
		deadLetter{0, 2, "decode", "", bad[0]},
		deadLetter{0, 3, "decode", "", bad[1]},
		deadLetter{0, 4, "decode", "id", bad[2]},
		deadLetter{0, 5, "decode", "id", bad[3]})
}

// While the registry cannot be asked, the partitions wait, whatever is wrong with it; nothing becomes a dead letter.
func TestRegistryDown(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	p := stacktest.NewHTTPProxy(t, stacktest.Registry(t))
	s.inAvro(p.URL, "timeout: 500ms, unknown_id_after: 0s")
	p.Answer(stacktest.Dropped)
	s.produceAvro(0, 0, 10)
	d := s.start()
	d.troubled(obs.Waiting, "schema registry cannot be asked", "subject "+s.topic+"-value")
	p.Answer(nil)
	d.ready()

	n := 10
	for i, c := range []struct {
		bad  stacktest.Answer
		says []string
	}{
		{stacktest.Dropped, []string{p.URL}},
		{stacktest.Broken(500), []string{"HTTP status 500"}},
		{stacktest.Silent, []string{p.URL, "did not answer within registry.timeout (500ms)"}},
		{stacktest.Broken(401), []string{"HTTP status 401", "registry.username"}},
		{stacktest.Broken(404), []string{"HTTP status 404", "registry.url"}}, // of a proxy, or a wrong path: not the registry's word
	} {
		d.until(func(p obs.PipelineStatus) bool { return p.Rows == int64(n) })
		p.Answer(c.bad)
		s.produceAvro(i+1, n, n+10)
		n += 10
		d.troubled(obs.Waiting, append(c.says, "schema registry cannot be asked", "schema id")...)
		if st := d.status(); st.Rows != int64(n-10) || st.DeadLetters != 0 {
			t.Errorf("while the registry is down, %d rows and %d dead letters are committed", st.Rows, st.DeadLetters)
		}
		p.Answer(nil)
		d.ready()
	}
	d.loaded(n, 0)
}

// A schema id that the registry says it does not have may be on its way; after unknown_id_after it is not.
func TestUnknownSchemaID(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.inAvro(stacktest.Registry(t), "unknown_id_after: 2s")
	s.produceAvro(0, 0, 4)
	lost := s.encoded(1<<30, version(0), 4)
	d := s.start()
	d.until(func(p obs.PipelineStatus) bool { return p.Rows == 4 })
	s.send(lost)
	d.troubled(obs.Waiting, "schema id 1073741824", "not found", "dead letters if it is not registered until")
	d.until(func(p obs.PipelineStatus) bool { return p.DeadLetters == 1 })
	s.produceAvro(0, 4, 8)
	d.loaded(8, 1)
	s.deadLetters(deadLetter{0, 2, "resolve", "schema id 1073741824", lost.Value})
}

func TestSchemaIDThatComesLate(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	p := stacktest.NewHTTPProxy(t, stacktest.Registry(t))
	s.inAvro(p.URL, "unknown_id_after: 10m")
	s.produceAvro(0, 0, 4)
	d := s.start()
	d.until(func(p obs.PipelineStatus) bool { return p.Rows == 4 })
	p.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error_code": 40403, "message": "Schema not found"}`)
		return true
	})
	s.produceAvro(1, 4, 8)
	d.troubled(obs.Waiting, "not found", "dead letters if it is not registered until")
	p.Answer(nil)
	d.loaded(8, 0)
}

// Steps that do not fit the registry's schema are a problem of the configuration, which validate names; the daemon
// waits, since another version of the schema may fit.
func TestStepsAgainstTheRegistry(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.inAvro(stacktest.Registry(t), "")
	s.produceAvro(0, 0, 4)
	s.steps = "[{upper: [nam]}]"
	stdout, stderr, code := stacktest.Lakeloader(t, "validate", "-c", s.config())
	if code != exitUsage {
		t.Errorf("validate: exit code %d", code)
	}
	says(t, stdout+stderr, `lakeloader.yaml:10:22: there is no column "nam"`, `did you mean "name"?`)
	d := s.start()
	d.troubled(obs.Waiting, `cleanse[0].upper.columns[0]: there is no column "nam"`)
	if code := d.Stop(); code != 0 {
		t.Errorf("the daemon stops with exit code %d", code)
	}

	s.steps = "[{trim: [name]}]"
	s.start().loaded(4, 0)
}
