package pipeline_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// farFuture gives the record at one offset a timestamp that no client would send, but a broker takes.
type farFuture struct {
	pipeline.Consumer
	offset int64
}

// Poll implements pipeline.Consumer.
func (f farFuture) Poll(ctx context.Context, r *batch.Records, wait time.Duration) error {
	err := f.Consumer.Poll(ctx, r, wait)
	if i := slices.Index(r.Offset, f.offset); i >= 0 {
		r.Timestamp[i] = math.MaxInt64/1000 + 1
	}
	return err
}

// Every stage may refuse a record. None of them stops the others, and each is told from the others.
func TestEveryStageMakesDeadLetters(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	r := newRegistry(t, e)
	e.Create(t, "a", 1)
	v1 := r.Register("a-value", userV1)
	most := "1000"
	cfg := avro(func(p *configs.Pipeline) {
		p.Commit.Records = 100
		p.Decode.Key = &configs.Format{Format: "avro"}
		p.Cleanse = []configs.Step{{Name: "ids", Validate: &configs.ValidateStep{Columns: []string{"id"}, Max: &most}}}
		p.Table.PartitionBy = []string{"truncate(10, id)"}
	})
	key := r.Register("a-key", `{"type":"record","name":"k","fields":[{"name":"k","type":"long"}]}`)
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		consumer := d.NewConsumer
		d.NewConsumer = func(h source.Handler) (pipeline.Consumer, error) {
			c, err := consumer(h)
			return farFuture{c, 5}, err
		}
		decoder := cfg.Pipelines[0].Decode
		d.NewDecoder = func(accept func(*batch.Type) error) (*schemas.Decoder, error) {
			reg, err := schemas.NewRegistryClient(configs.Registry{URL: e.Registry, Timeout: configs.Duration(5 * time.Second)})
			if err != nil {
				return nil, err
			}
			return schemas.NewDecoder(decoder, reg, schemas.Options{Accept: accept, UnknownIDAfter: time.Nanosecond})
		}
	})
	e.Produce(t, "a", 0, user(v1, 1, ""))
	l.Read(1)
	v3 := r.Register("a-value", userV3)
	header := func(id int32) []byte { return binary.BigEndian.AppendUint32([]byte{0}, uint32(id)) }
	e.Send(t, "a", 0,
		&kgo.Record{Value: []byte("no wire format")},
		&kgo.Record{Value: append(header(123_456), 2)},
		&kgo.Record{Value: []byte(user(v1, 1001, ""))},
		&kgo.Record{Value: []byte(user(v1, math.MinInt64, ""))},
		&kgo.Record{Value: []byte(user(v1, 2, ""))},
		&kgo.Record{Value: append(header(v3), 2, 'x')},
		&kgo.Record{Value: []byte(user(v1, 3, "")), Key: header(key)},
		&kgo.Record{Value: []byte(user(v1, 4, ""))})
	l.Read(9)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 9) 2 rows 7 dead")
	rules, err := cfg.Pipelines[0].Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range e.Rows(t, dead, "stage", "step", "schema_id", "key_schema_id", "pipeline_version", "error", "replayed_at", "replayed_round") {
		v := x.Values
		if v[4] != "dev "+rules || v[5] == "" || v[6] != nil || v[7] != nil {
			t.Errorf("%v", x)
		}
		got = append(got, fmt.Sprint(x.Offset, " ", v[0], ", ", v[1], ", ", v[2], ", ", v[3]))
	}
	want := []string{"1 decode, value, <nil>, <nil>", "2 resolve, value, 123456, <nil>", fmt.Sprintf("3 cleanse, ids, %d, <nil>", v1), fmt.Sprintf("4 partition, id_trunc, %d, <nil>", v1),
		fmt.Sprintf("5 encode, _kafka_timestamp, %d, <nil>", v1), fmt.Sprintf("6 evolve, value, %d, <nil>", v3), fmt.Sprintf("7 decode, key, %d, %d", v1, key)}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A dead-letter table of an earlier version gains the columns.
func TestDeadLetterTableGainsColumns(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	old := batch.StructOf(batch.Field{Name: "value", Type: batch.Prim(batch.Binary)}, batch.Field{Name: "stage", Type: batch.Prim(batch.String), Required: true},
		batch.Field{Name: pipeline.ColumnTimestamp, Type: batch.Prim(batch.TimestampTZ)})
	parts := []table.PartitionField{{Source: pipeline.ColumnTimestamp, Transform: "day", Name: pipeline.ColumnTimestamp + "_day"}}
	if _, err := e.Catalog.Ensure(t.Context(), table.Def{Ident: dead, Row: old, PartitionBy: parts}); err != nil {
		t.Fatal(err)
	}
	cfg := eager()
	e.Produce(t, "a", 0, "{{")
	load(t, e, cfg, 1)
	whole(t, e, cfg, "a-0 [0, 1) 0 rows 1 dead")
	rows := e.Rows(t, dead, "stage", "pipeline_version", "replayed_at")
	if len(rows) != 1 || rows[0].Values[0] != "decode" || !strings.HasPrefix(rows[0].Values[1].(string), "dev ") || rows[0].Values[2] != nil {
		t.Errorf("%v", rows)
	}
}
