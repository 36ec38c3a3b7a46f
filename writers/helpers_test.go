package writers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// memory is an object store that holds only what writers use. fail, when set, may break a step.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	aborted int
	open    int
	discard bool
	fail    func(step, uri string) error
}

func newMemory() *memory { return &memory{objects: map[string][]byte{}} }

type upload struct {
	store *memory
	uri   string
	buf   bytes.Buffer
	done  bool
}

func (m *memory) check(step, uri string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(step, uri)
}

func (m *memory) Create(_ context.Context, uri string) (objects.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("create", uri); err != nil {
		return nil, err
	}
	m.open++
	return &upload{store: m, uri: uri}, nil
}

func (u *upload) Write(p []byte) (int, error) {
	if err := u.store.check("write", u.uri); err != nil {
		return 0, err
	}
	if u.store.discard {
		return len(p), nil
	}
	return u.buf.Write(p)
}

func (u *upload) Commit(ctx context.Context) error {
	if err := u.store.check("commit", u.uri); err != nil {
		return err
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	if _, ok := u.store.objects[u.uri]; ok {
		return fmt.Errorf("%s: %w", u.uri, objects.ErrExists)
	}
	u.store.objects[u.uri] = u.buf.Bytes()
	u.store.open--
	u.done = true
	return ctx.Err()
}

func (u *upload) Abort() {
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	if !u.done {
		u.done = true
		u.store.open--
		u.store.aborted++
	}
}

var errNotUsed = errors.New("writers do not use this")

func (m *memory) Put(context.Context, string, []byte) error            { return errNotUsed }
func (m *memory) Open(context.Context, string) (objects.Reader, error) { return nil, errNotUsed }
func (m *memory) List(context.Context, string) ([]objects.Info, error) { return nil, errNotUsed }
func (m *memory) Delete(context.Context, string) error                 { return errNotUsed }

// number gives every field an id, depth first from 1, as a table does.
func number(t *batch.Type) *batch.Type {
	next := 0
	var walk func(t *batch.Type) *batch.Type
	walk = func(t *batch.Type) *batch.Type {
		out := *t
		out.Fields = append([]batch.Field(nil), t.Fields...)
		for i := range out.Fields {
			next++
			out.Fields[i].ID = next
			out.Fields[i].Type = walk(out.Fields[i].Type)
		}
		return &out
	}
	return walk(t)
}

func info(row *batch.Type) table.Info {
	return table.Info{Ident: table.Ident{Namespace: "lake", Name: "t"}, Location: "mem://lake/t", Row: row, SpecID: 3, SortOrderID: 5}
}

func fixedClock() time.Time { return time.UnixMilli(1767225600123) }

func newWriter(t testing.TB, opts Options) *Writer {
	t.Helper()
	if opts.Now == nil {
		opts.Now = fixedClock
	}
	w, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func all(n int) Part {
	p := Part{}
	for i := range n {
		p.Rows = append(p.Rows, int32(i))
	}
	return p
}

func appendAll(t testing.TB, w *Writer, b *batch.Batch) {
	t.Helper()
	if err := w.Append(t.Context(), b, all(b.Rows)); err != nil {
		t.Fatal(err)
	}
}

func finish(t testing.TB, w *Writer) []table.File {
	t.Helper()
	files, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func required(name string, k batch.Kind) batch.Field {
	return batch.Field{Name: name, Type: batch.Prim(k), Required: true}
}

// clicksRow is the click schema of the benchmarks with the five columns that every table has.
func clicksRow(optional bool) *batch.Type {
	row := batch.StructOf(required("uuid", batch.String), required("campaignId", batch.Int), required("pubId", batch.Int),
		required("ts", batch.TimestampTZ), required("ip", batch.String), required("city", batch.String),
		required("country", batch.String), required("browser", batch.String), required("platform", batch.String),
		required("platformVersion", batch.String), required("_kafka_topic", batch.String), required("_kafka_partition", batch.Int),
		required("_kafka_offset", batch.Long), required("_kafka_timestamp", batch.TimestampTZ), required("_kafka_epoch", batch.Int))
	for i := range row.Fields {
		row.Fields[i].Required = row.Fields[i].Required && !optional
	}
	return number(row)
}

// clicks makes n clicks from the record number first on, out of total over three days, as a loader would read them
// from four partitions in runs of 500.
func clicks(row *batch.Type, r *rand.Rand, first, n, total int) *batch.Batch {
	rec := &batch.Records{}
	b := batch.New(rec, row)
	c := b.Root.Children
	text := func(i int, s string) { c[i].AppendView(rec.AppendString(s)) }
	topic := rec.AppendString("clicks-avro")
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	const span = 3 * 86400e6
	for k := range n {
		i := first + k
		ts := base + int64(span*float64(i)/float64(total)) + r.Int64N(10e6)
		text(0, fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(65536), r.IntN(65536), r.IntN(65536), r.Int64N(1<<48)))
		c[1].AppendInt32(1 + r.Int32N(10))
		c[2].AppendInt32(1 + r.Int32N(5))
		c[3].AppendInt64(ts)
		text(4, fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)))
		city := r.IntN(8)
		text(5, []string{"Brussels", "Paris", "London", "New York", "Berlin", "Madrid", "Rome", "Oslo"}[city])
		text(6, []string{"BE", "FR", "GB", "US", "DE", "ES", "IT", "NO"}[city])
		text(7, []string{"Chrome", "Firefox", "Safari", "Edge"}[r.IntN(4)])
		text(8, []string{"iOS", "Android", "Windows", "Linux", "macOS"}[r.IntN(5)])
		text(9, []string{"1.2", "10.0", "11", "17.4.1", "14"}[r.IntN(5)])
		c[10].AppendView(topic)
		c[11].AppendInt32(int32(i / 500 % 4))
		c[12].AppendInt64(int64(i/2000*500 + i%500))
		c[13].AppendInt64(base + span + int64(i)*5/1000*1000)
		c[14].AppendInt32(0)
		b.Root.AppendStruct()
		b.AppendRow(k, 1)
	}
	return b
}
