//go:build stack

package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/partitioner"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
	"github.com/lakeloader/lakeloader/writers"
)

// BenchmarkConsume reads a topic and does nothing with it.
func BenchmarkConsume(b *testing.B) {
	t := produce(b, size(b))
	for _, mode := range []string{"batch", "poll"} {
		b.Run(mode, func(b *testing.B) {
			for b.Loop() {
				here(b, t.n, func() { consume(b, t, mode) }).report(b)
			}
		})
	}
}

type earliest struct{}

func (earliest) Assigned(_ context.Context, ps []source.Partition) (map[source.Partition]int64, error) {
	m := map[source.Partition]int64{}
	for _, p := range ps {
		m[p] = 0
	}
	return m, nil
}

func (earliest) Revoked(context.Context, []source.Partition, bool) {}

func consume(b *testing.B, t topic, mode string) {
	b.Helper()
	c, err := source.New(source.Options{Kafka: configs.Kafka{Brokers: []string{stacktest.Kafka(b)}}, Pipeline: "bench",
		Source: configs.Source{Topics: []string{t.name}, Group: stacktest.Name("bench"), Consume: mode}}, earliest{})
	if err != nil {
		b.Fatal(err)
	}
	var r batch.Records
	end := time.Now().Add(5 * time.Minute)
	for got := 0; got < t.n; got += r.Len() {
		r.Reset()
		if err := c.Poll(b.Context(), &r, time.Second); err != nil {
			b.Fatal(err)
		}
		if time.Now().After(end) {
			b.Fatalf("only %d of %d records came", got, t.n)
		}
	}
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
}

// oneSchema is a registry that knows the schema of clicks by any id.
type oneSchema struct{}

func (oneSchema) ByID(_ context.Context, id int) (schemas.Registered, error) {
	return schemas.Registered{ID: id, Type: "AVRO", Text: clickSchema, Version: 1}, nil
}
func (s oneSchema) Latest(ctx context.Context, _ string) (schemas.Registered, error) {
	return s.ByID(ctx, 1)
}
func (s oneSchema) Version(ctx context.Context, _ string, _ int) (schemas.Registered, error) {
	return s.ByID(ctx, 1)
}

// BenchmarkStages runs records from memory through stages: 64 fetches of 4096 records, over and over.
func BenchmarkStages(b *testing.B) {
	const rows, fetches = 4096, 64
	g := newGenerator(rows*fetches, 1)
	all := make([]*batch.Records, fetches)
	for i := range all {
		all[i] = &batch.Records{Topics: []string{"clicks"}}
		for j := range rows {
			r := all[i]
			r.Topic, r.Partition, r.Offset = append(r.Topic, 0), append(r.Partition, int32(j%partitions)), append(r.Offset, int64(i*rows+j))
			r.Timestamp, r.Key, r.Headers = append(r.Timestamp, 0), append(r.Key, batch.Null), append(r.Headers, batch.View{})
			at := len(r.Mem)
			r.Mem = g.append(r.Mem)
			r.Value = append(r.Value, batch.View{Off: uint32(at), Len: uint32(len(r.Mem) - at)})
		}
	}
	n := (size(b) + rows - 1) / rows * rows // whole fetches
	for i, name := range []string{"decode", "decode+cleanse", "decode+cleanse+encode"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s := newStages(b, i > 0, i > 1)
				f := here(b, n, func() { s.load(b, all, n) })
				f.rows, f.stored = s.stored()
				f.report(b)
			}
		})
	}
}

type stages struct {
	decoder *schemas.Decoder
	program *cleanse.Program      // nil: decode only
	split   *partitioner.Splitter // nil: do not encode
	w       *writers.Writer
	files   []table.File
}

func newStages(b *testing.B, cleansing, encoding bool) *stages {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	s := &stages{}
	var err error
	s.decoder, err = schemas.NewDecoder(configs.Decode{Value: configs.Format{Format: "avro"}}, oneSchema{}, schemas.Options{})
	must(err)
	must(s.decoder.Bootstrap(b.Context(), []string{"clicks"}))
	if !cleansing {
		return s
	}
	config, _, err := configs.Parse("bench", []byte("kafka: {brokers: [x:1]}\npipelines:\n- name: p\n  source: {topics: [t]}\n  decode: {value: {format: json}}\n"+
		"  table: {name: t}\n  cleanse:"+strings.ReplaceAll(cleanseSteps, "\n", "\n  ")))
	must(err)
	s.program, err = cleanse.Compile(s.decoder.Row(), config.Pipelines[0].Cleanse)
	must(err)
	if !encoding {
		return s
	}
	row := &batch.Type{Kind: batch.Struct}
	for i, f := range s.program.Row().Fields {
		f.ID = i + 1
		row.Fields = append(row.Fields, f)
	}
	fields, err := partitioner.Parse([]string{"day(ts)"}, row)
	must(err)
	s.split, err = partitioner.New(fields, row)
	must(err)
	s.w, err = writers.New(writers.Options{Store: objects.NewLocal(), Info: table.Info{Location: "file://" + b.TempDir(), Row: row, PartitionBy: fields}})
	must(err)
	return s
}

// load brings n records through the stages.
func (s *stages) load(b *testing.B, all []*batch.Records, n int) {
	b.Helper()
	work := batch.New(&batch.Records{}, s.decoder.Row())
	root := work.Root
	for done, i := 0, 0; done < n; i++ {
		r := all[i%len(all)]
		size := len(r.Mem)
		work.Root = root
		work.Reset(r)
		_, err := s.decoder.Prepare(b.Context(), r)
		if err = errors.Join(err, s.decoder.Decode(r, work)); err != nil || len(work.Rejects) > 0 {
			b.Fatal(err, work.Rejects)
		}
		if s.program != nil {
			if err := s.program.Apply(work); err != nil || len(work.Rejects) > 0 {
				b.Fatal(err, work.Rejects)
			}
		}
		if s.split != nil {
			parts, err := s.split.Split(work)
			if err != nil {
				b.Fatal(err)
			}
			for _, p := range parts {
				if err := s.w.Append(b.Context(), work, writers.Part(p)); err != nil {
					b.Fatal(err)
				}
			}
		}
		done += r.Len()
		r.Mem = r.Mem[:size] // without what the steps appended
	}
	if s.w != nil {
		var err error
		if s.files, err = s.w.Finish(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func (s *stages) stored() (rows int, bytes int64) {
	for _, f := range s.files {
		rows += int(f.Rows)
		bytes += f.Size
	}
	return rows, bytes
}
