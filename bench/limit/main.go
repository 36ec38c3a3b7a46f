// Limit is what a program can do that is written by hand for the clicks of package bench: one loop that consumes,
// decodes the one schema and hands values to Parquet column writers, with lakeloader's own consumption, codec and columns. It
// knows nothing of schemas, catalogs, commits or failures. What lakeloader takes beyond it is the price of those.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	cgozstd "github.com/DataDog/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/source"
)

const (
	columns = 15
	chunk   = 4096 // rows collected before they go to the column writers
	day     = int64(24 * time.Hour / time.Microsecond)
)

// codec is libzstd at level 1.
type codec struct {
	zstd.Codec
	ctx cgozstd.Ctx
}

func (c *codec) Encode(dst, src []byte) ([]byte, error) { return c.ctx.CompressLevel(dst, src, 1) }

// schema has the columns in the order of their names, which is that of their values.
func schema() *parquet.Schema {
	dict := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.RLEDictionary) }
	delta := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.DeltaBinaryPacked) }
	return parquet.NewSchema("clicks", parquet.Group{
		"a_uuid": parquet.String(), "b_campaignId": dict(parquet.Int(32)), "c_pubId": dict(parquet.Int(32)),
		"d_ts": delta(parquet.Timestamp(parquet.Microsecond)), "e_ip": parquet.String(), "f_city": dict(parquet.String()),
		"g_country": dict(parquet.String()), "h_browser": dict(parquet.String()), "i_platform": dict(parquet.String()),
		"j_platformVersion": dict(parquet.String()), "k_topic": dict(parquet.String()), "l_partition": dict(parquet.Int(32)),
		"m_offset": delta(parquet.Int(64)), "n_timestamp": parquet.Optional(delta(parquet.Timestamp(parquet.Microsecond))),
		"o_epoch": dict(parquet.Int(32)),
	})
}

type file struct {
	f       *os.File
	parquet *parquet.GenericWriter[any]
	writers []*parquet.ColumnWriter
	values  [columns][]parquet.Value
}

// sink is the open files, one per day.
type sink struct {
	dir    string
	schema *parquet.Schema
	codec  *codec
	named  int
	files  map[int64]*file
	last   *file
	day    int64
}

func (s *sink) file(ts int64) (*file, error) {
	d := ts / day
	if s.last != nil && s.day == d {
		return s.last, nil
	}
	o := s.files[d]
	if o == nil {
		f, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("%d-%d.parquet", d, s.named)))
		if err != nil {
			return nil, err
		}
		s.named++
		o = &file{f: f, parquet: parquet.NewGenericWriter[any](f, s.schema, parquet.Compression(s.codec), parquet.DataPageStatistics(false))}
		o.writers = o.parquet.ColumnWriters()
		s.files[d] = o
	}
	s.last, s.day = o, d
	return o, nil
}

func (o *file) flush() error {
	for c := range o.values {
		if _, err := o.writers[c].WriteRowValues(o.values[c]); err != nil {
			return err
		}
		o.values[c] = o.values[c][:0]
	}
	return nil
}

// flush hands over what was collected: views of a fetch are good until the next one.
func (s *sink) flush() error {
	for _, o := range s.files {
		if err := o.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) close() error {
	for _, o := range s.files {
		if err := errors.Join(o.flush(), o.parquet.Close(), o.f.Sync(), o.f.Close()); err != nil {
			return err
		}
	}
	s.files, s.last = map[int64]*file{}, nil
	return nil
}

var errBroken = errors.New("a record is not a click")

// add decodes one record behind the registry's header.
func (s *sink) add(r *batch.Records, i int, topic []byte) error {
	v := r.Value[i]
	m := r.Mem[v.Off+5 : v.Off+v.Len]
	number := func() int64 {
		n, k := binary.Varint(m)
		m = m[max(k, 0):]
		return n
	}
	bad := false
	text := func() []byte {
		n, k := binary.Varint(m)
		if k <= 0 || n < 0 || int(n) > len(m)-k {
			bad = true
			return nil
		}
		b := m[k : k+int(n)]
		m = m[k+int(n):]
		return b
	}
	uuid := text()
	campaign, pub, ts := number(), number(), number()
	o, err := s.file(ts)
	if err != nil {
		return err
	}
	c := &o.values
	c[0] = append(c[0], parquet.ByteArrayValue(uuid))
	c[1] = append(c[1], parquet.Int32Value(int32(campaign)))
	c[2] = append(c[2], parquet.Int32Value(int32(pub)))
	c[3] = append(c[3], parquet.Int64Value(ts))
	for k := 4; k < 10; k++ {
		c[k] = append(c[k], parquet.ByteArrayValue(text()))
	}
	c[10] = append(c[10], parquet.ByteArrayValue(topic))
	c[11] = append(c[11], parquet.Int32Value(r.Partition[i]))
	c[12] = append(c[12], parquet.Int64Value(r.Offset[i]))
	c[13] = append(c[13], parquet.Int64Value(r.Timestamp[i]*1000).Level(0, 1, 13))
	c[14] = append(c[14], parquet.Int32Value(0))
	if bad {
		return errBroken
	}
	if len(c[0]) == chunk {
		return o.flush()
	}
	return nil
}

// earliest starts every partition at its beginning.
type earliest struct{}

func (earliest) Assigned(_ context.Context, ps []source.Partition) (map[source.Partition]int64, error) {
	m := map[source.Partition]int64{}
	for _, p := range ps {
		m[p] = 0
	}
	return m, nil
}

func (earliest) Revoked(context.Context, []source.Partition, bool) {}

func run(brokers, topic, dir string, n int, interval time.Duration) (err error) {
	c, err := source.New(source.Options{Kafka: configs.Kafka{Brokers: []string{brokers}}, Pipeline: "limit",
		Source: configs.Source{Topics: []string{topic}, Group: fmt.Sprintf("limit-%d", os.Getpid()), Consume: "batch"}}, earliest{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	s := &sink{dir: dir, schema: schema(), codec: &codec{ctx: cgozstd.NewCtx()}, files: map[int64]*file{}}
	var r batch.Records
	name, ctx, began := []byte(topic), context.Background(), time.Time{}
	for got := 0; got < n; {
		r.Reset()
		if err := c.Poll(ctx, &r, time.Second); err != nil {
			return err
		}
		for i := range r.Len() {
			if err := s.add(&r, i, name); err != nil {
				return err
			}
		}
		if err := s.flush(); err != nil {
			return err
		}
		got += r.Len()
		if began.IsZero() && got > 0 {
			began = time.Now()
		}
		if !began.IsZero() && time.Since(began) >= interval {
			if err := s.close(); err != nil {
				return err
			}
			began = time.Now()
		}
	}
	return s.close()
}

func main() {
	brokers := flag.String("brokers", "", "host:port")
	topic := flag.String("topic", "", "topic with clicks")
	dir := flag.String("dir", "", "folder for Parquet files")
	n := flag.Int("n", 0, "records to load")
	interval := flag.Duration("interval", 10*time.Second, "after which new files are begun")
	gogc := flag.Int("gogc", 100, "as GOGC")
	flag.Parse()
	debug.SetGCPercent(*gogc)
	if err := run(*brokers, *topic, *dir, *n, *interval); err != nil {
		log.Fatal(err)
	}
}
