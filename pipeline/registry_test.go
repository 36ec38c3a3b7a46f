package pipeline_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// registry is a schema registry that can be out of order.
type registry struct {
	*demo.Registry
	down  atomic.Bool
	asked chan struct{} // something was asked while it was down
}

func newRegistry(t *testing.T, e *pipelinetest.Env) *registry {
	t.Helper()
	inner := pipelinetest.StartRegistry(t)
	to, err := url.Parse(inner.URL())
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{Registry: inner, asked: make(chan struct{}, 1)}
	proxy := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if r.down.Load() {
			select {
			case r.asked <- struct{}{}:
			default:
			}
			http.Error(w, "out of order", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(s.Close)
	e.Registry = s.URL
	return r
}

const (
	userV1 = `{"type":"record","name":"user","fields":[{"name":"id","type":"long"}]}`
	userV2 = `{"type":"record","name":"user","fields":[{"name":"id","type":"long"},{"name":"name","type":["null","string"],"default":null}]}`
	userV3 = `{"type":"record","name":"user","fields":[{"name":"id","type":"string"}]}` // fits nothing before it
)

// user encodes a record; without a name it is of the first version.
func user(schema int32, id int64, name string) string {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(schema))
	b = binary.AppendVarint(b, id)
	if name != "" {
		b = append(binary.AppendVarint(append(b, 2), int64(len(name))), name...)
	}
	return string(b)
}

func avro(change func(*configs.Pipeline)) *configs.Config {
	return pipelinetest.Pipeline("x long", func(p *configs.Pipeline) {
		p.Decode.Value = configs.Format{Format: "avro"}
		p.Commit.Records = 2
		if change != nil {
			change(p)
		}
	}, "a")
}

// users are the rows as offset, id and name.
func users(t *testing.T, e *pipelinetest.Env) (list []string) {
	t.Helper()
	for _, r := range e.Rows(t, primary, "id", "name") {
		list = append(list, fmt.Sprint(r.Offset, " ", r.Values[0], " ", r.Values[1]))
	}
	return list
}

// While the registry is out of order, records with a schema that is not known yet wait. They become neither dead letters nor
// holes, and what was loaded before stays loaded.
func TestRegistryOutageHolds(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	r := newRegistry(t, e)
	e.Create(t, "a", 2)
	v1 := r.Register("a-value", userV1)
	cfg := avro(nil)
	l := e.Start(t, cfg, nil)
	e.Produce(t, "a", 0, user(v1, 1, ""), user(v1, 2, ""))
	l.Loaded("a", 0, 2)
	v2 := r.Register("a-value", userV2)
	r.down.Store(true)
	e.Produce(t, "a", 0, user(v1, 3, ""), user(v2, 4, "Ann"))
	<-r.asked
	l.Said("waiting for the schema registry")
	e.Produce(t, "a", 1, user(v2, 5, "Bob"), user(v2, 6, "Eve"))
	if next := e.Ledger(t, "p", primary).Records[key("a", 0)].Next; next > 3 {
		t.Fatalf("loaded up to %d without the schema", next)
	}
	if st := l.State.Status().Pipelines[0]; st.Ready || !strings.Contains(st.Reason, "503") {
		t.Errorf("the status says ready %t, reason %q", st.Ready, st.Reason)
	}
	r.down.Store(false)
	l.Loaded("a", 0, 4)
	l.Loaded("a", 1, 2)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 4) 4 rows", "a-1 [0, 2) 2 rows")
	if got, want := users(t, e), []string{"0 1 <nil>", "1 2 <nil>", "2 3 <nil>", "3 4 Ann", "0 5 Bob", "1 6 Eve"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Told to stop in the middle of an outage, the loader stops; what it held is read by the next one.
func TestStopsDuringARegistryOutage(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	r := newRegistry(t, e)
	e.Create(t, "a", 1)
	v1 := r.Register("a-value", userV1)
	cfg := avro(func(p *configs.Pipeline) { p.Commit.Records = 100 })
	l := e.Start(t, cfg, nil)
	e.Produce(t, "a", 0, user(v1, 1, ""))
	l.Read(1)
	v2 := r.Register("a-value", userV2)
	r.down.Store(true)
	e.Produce(t, "a", 0, user(v2, 2, "Ann"))
	<-r.asked
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 1) 1 rows")

	l = e.Start(t, cfg, nil) // now even what the columns are is not known
	l.Said("waiting for a schema")
	if err := l.Stop(); err != nil {
		t.Fatalf("stopped while waiting: %v", err)
	}
	r.down.Store(false)
	load(t, e, cfg, 1)
	whole(t, e, cfg, "a-0 [0, 2) 2 rows")
}

// A new version adds its column to the table; one that fits nothing makes dead letters and stops nobody.
func TestSchemaEvolves(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	r := newRegistry(t, e)
	e.Create(t, "a", 1)
	v1 := r.Register("a-value", userV1)
	cfg := avro(func(p *configs.Pipeline) { p.Commit.Records = 100 })
	l := e.Start(t, cfg, nil)
	e.Produce(t, "a", 0, user(v1, 1, ""))
	l.Read(1)
	v2, v3 := r.Register("a-value", userV2), r.Register("a-value", userV3)
	e.Produce(t, "a", 0, user(v2, 2, "Ann"), user(v1, 3, ""), string(binary.BigEndian.AppendUint32([]byte{0}, uint32(v3)))+"\x02x", user(v2, 4, "Bob"))
	l.Read(5)
	stop(t, l)
	if got, want := users(t, e), []string{"0 1 <nil>", "1 2 Ann", "2 3 <nil>", "4 4 Bob"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	whole(t, e, cfg, "a-0 [0, 5) 4 rows 1 dead")
	rows := e.Rows(t, dead, "stage", "error", "schema_id", "value", "pipeline")
	if len(rows) != 1 || rows[0].Offset != 3 || rows[0].Values[0] != "evolve" || rows[0].Values[2] != v3 || !strings.Contains(fmt.Sprint(rows[0].Values[1]), "id") || rows[0].Values[4] != "p" {
		t.Errorf("dead letters %v", rows)
	}
	e.Produce(t, "a", 0, user(v1, 5, ""), user(v2, 6, "Eve"))
	load(t, e, cfg, 2)
	whole(t, e, cfg, "a-0 [0, 7) 6 rows 1 dead")
}

// A dead letter has all there is to know, and to try again.
func TestDeadLettersKeepTheRecord(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		low := "10"
		p.Cleanse = []configs.Step{{Name: "ids", Validate: &configs.ValidateStep{Columns: []string{"id"}, Min: &low}}}
	}, "a")
	e.Send(t, "a", 0, &kgo.Record{Key: []byte("k"), Value: []byte(`{"id":3}`), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}},
		&kgo.Record{Value: []byte("\x00\xff")}, &kgo.Record{Key: []byte("gone")}, &kgo.Record{Value: []byte(`{"id":11}`)})
	load(t, e, cfg, 4)
	whole(t, e, cfg, "a-0 [0, 4) 1 rows 3 dead")
	rows := e.Rows(t, dead, "key", "value", "stage", "step", "error", pipeline.ColumnTimestamp)
	var got []string
	for _, r := range rows {
		if reason, ok := r.Values[4].(string); !ok || reason == "" || r.Values[5] == nil {
			t.Errorf("%v", r)
		}
		got = append(got, fmt.Sprintf("%d %q %q %v %v", r.Offset, r.Values[0], r.Values[1], r.Values[2], r.Values[3]))
	}
	if want := []string{`0 "k" "{\"id\":3}" cleanse ids`, `1 %!q(<nil>) "\x00\xff" decode value`, `2 "gone" %!q(<nil>) decode value`}; !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}
