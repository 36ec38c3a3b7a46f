package aggregate_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// topic is a compacted one. What a producer has not flushed may be lost: here it never is, which is the harder case.
type topic struct {
	latest map[string]string
	sent   []string // since the last look
	fails  int      // the message that is refused, from 1; 0: none
	meet   func()   // is called before messages are flushed
	open   int
}

func (k *topic) Send(_ context.Context, key, value []byte) error {
	if k.fails > 0 && len(k.sent)+1 == k.fails {
		return errors.New("the broker is gone")
	}
	if value == nil {
		k.sent = append(k.sent, string(key)+" gone")
		delete(k.latest, string(key))
		return nil
	}
	k.sent = append(k.sent, string(key)+" "+string(value))
	k.latest[string(key)] = string(value)
	return nil
}

func (k *topic) Flush(context.Context) error {
	if k.meet != nil {
		meet := k.meet
		k.meet = nil
		meet()
	}
	return nil
}

func (w *world) publisher(k *topic, form aggregate.Form) *aggregate.Publisher {
	if k.latest == nil {
		k.latest = map[string]string{}
	}
	return &aggregate.Publisher{Name: "daily", Target: target, Catalog: w.env.Catalog, Form: fmt.Sprint(form.Key, form.Value), DayInKey: slices.Contains(form.Key, "day"), Wait: table.Backoff(time.Millisecond),
		Rows: func(ctx context.Context) (aggregate.TargetRows, error) {
			return aggregate.NewLakeRows(ctx, w.env.Catalog, w.env.Objects, target, form)
		},
		Sink: func(context.Context) (aggregate.Sink, func(), error) {
			k.open++
			return k, func() { k.open-- }, nil
		}}
}

// sends runs a publisher and compares what it sent, in any order of keys.
func (w *world) sends(p *aggregate.Publisher, k *topic, want ...string) *aggregate.Published {
	w.t.Helper()
	k.sent = nil
	done, err := p.Run(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	got := slices.Sorted(slices.Values(k.sent))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("sent\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if int(done.Sent+done.Gone) != len(k.sent) || k.open != 0 {
		w.t.Errorf("%+v, %d messages, %d producers open", done, len(k.sent), k.open)
	}
	return done
}

// holds compares what the topic has with all rows of the target.
func (w *world) holds(k *topic) {
	w.t.Helper()
	var got []string
	for _, key := range slices.Sorted(maps.Keys(k.latest)) {
		got = append(got, k.latest[key])
	}
	slices.Sort(got)
	want := w.ask(`SELECT day, country, sales, CAST(total AS VARCHAR) AS total, first_id FROM daily`)
	lines := strings.Fields(strings.ReplaceAll(want, "} {", "}\n{"))
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		w.t.Errorf("the topic has\n%s\nthe table\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

// Only what changed is sent: values of keys, and keys that have gone.
func TestPublish(t *testing.T) {
	t.Parallel()
	w, k := newWorld(t, "day(ts)"), &topic{}
	p := w.publisher(k, aggregate.Form{Key: []string{"day", "country"}})
	if _, err := p.Run(t.Context()); !errors.Is(err, table.ErrNoTable) {
		t.Error(err)
	}
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-01T10:00:00Z FR 2.20", "2026-11-02T10:00:00Z DE 0.05")
	w.run("11-01 11-02")
	if done := w.sends(p, k, `{"day":"2026-11-01","country":"DE"} {"day":"2026-11-01","country":"DE","sales":1,"total":"1.10","first_id":1}`,
		`{"day":"2026-11-01","country":"FR"} {"day":"2026-11-01","country":"FR","sales":1,"total":"2.20","first_id":2}`,
		`{"day":"2026-11-02","country":"DE"} {"day":"2026-11-02","country":"DE","sales":1,"total":"0.05","first_id":3}`); !done.All || done.Days != 2 {
		t.Errorf("%+v", done)
	}
	w.holds(k)
	w.sends(p, k)
	w.load("2026-11-01T11:00:00Z FR -3.00") // DE of that day is calculated anew, and is what it was
	w.run("11-01")
	w.sends(p, k, `{"day":"2026-11-01","country":"FR"} {"day":"2026-11-01","country":"FR","sales":2,"total":"-0.80","first_id":2}`)
	w.holds(k)
	w.remove(func(f table.File) bool { return strings.Contains(f.Path, "2026-11-02") })
	w.run("-11-02")
	w.sends(p, k, `{"day":"2026-11-02","country":"DE"} gone`)
	w.holds(k)
	w.compact()
	w.run("")
	w.sends(p, k)
	// a day is deleted by others, and calculated anew: nothing has changed
	w.env.Swap(t, target, table.Change{Remove: w.files()["day=2026-11-01"], Snapshot: true})
	w.run("11-01")
	w.sends(p, k)
	// another form is another topic, as far as is known
	other := &topic{}
	w.sends(w.publisher(other, aggregate.Form{Key: []string{"country", "day"}, Value: "total"}), other, `{"country":"DE","day":"2026-11-01"} 1.10`, `{"country":"FR","day":"2026-11-01"} -0.80`)
}

// A run that is killed anywhere sends again; what is refused is not taken for sent.
func TestPublishIsKilled(t *testing.T) {
	t.Parallel()
	w, k := newWorld(t, "day(ts)"), &topic{}
	p := w.publisher(k, aggregate.Form{Key: []string{"day", "country"}})
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-01T10:00:00Z FR 2.20", "2026-11-02T10:00:00Z DE 0.05")
	w.run("11-01 11-02")
	k.fails = 2
	if _, err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "publishing aggregate daily, table lake.daily: day 2026-11-01: the broker is gone") || k.open != 0 {
		t.Error(err, k.open)
	}
	k.fails = 0
	ctx, kill := context.WithCancel(t.Context())
	k.meet = kill // all were sent, and the property is not moved
	if _, err := p.Run(ctx); err == nil {
		t.Error("it was killed")
	}
	w.load("2026-11-02T11:00:00Z DE 1.00")
	w.run("11-02")
	k.sent = nil
	if done, err := p.Run(t.Context()); err != nil || done.Sent != 3 {
		t.Errorf("%+v, %v", done, err)
	}
	w.holds(k)
	w.sends(p, k)
}

// Of two publishers the one that sends what is older repairs it.
func TestPublishersAtOnce(t *testing.T) {
	t.Parallel()
	w, k := newWorld(t, "day(ts)"), &topic{}
	form := aggregate.Form{Key: []string{"day", "country"}}
	p, q := w.publisher(k, form), w.publisher(k, form)
	w.load("2026-11-01T00:00:00Z DE 1.10")
	w.run("11-01")
	w.sends(p, k, `{"day":"2026-11-01","country":"DE"} {"day":"2026-11-01","country":"DE","sales":1,"total":"1.10","first_id":1}`)
	w.load("2026-11-01T01:00:00Z DE 1.10")
	w.run("11-01")
	k.meet = func() {
		held := maps.Clone(k.latest) // what p has sent arrives after all that q sends
		w.load("2026-11-01T02:00:00Z DE 1.10", "2026-11-01T02:00:00Z FR 5.00")
		w.run("11-01")
		if _, err := q.Run(t.Context()); err != nil {
			t.Error(err)
		}
		maps.Copy(k.latest, held)
	}
	if _, err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.holds(k)
	w.sends(p, k)
}

// Where the published snapshot has expired, the days with newer files are sent as a whole.
func TestPublishAfterExpiry(t *testing.T) {
	t.Parallel()
	w, k := newWorld(t, "day(ts)"), &topic{}
	p := w.publisher(k, aggregate.Form{Key: []string{"day", "country"}})
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T10:00:00Z DE 0.05", "2026-11-02T10:00:00Z FR 1.00")
	w.run("11-01 11-02")
	if _, err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.load("2026-11-02T11:00:00Z DE 1.00")
	w.run("11-02")
	w.env.Expire(t, target)
	if done := w.sends(p, k, `{"day":"2026-11-02","country":"DE"} {"day":"2026-11-02","country":"DE","sales":2,"total":"1.05","first_id":2}`,
		`{"day":"2026-11-02","country":"FR"} {"day":"2026-11-02","country":"FR","sales":1,"total":"1.00","first_id":3}`); !done.Unknown || done.Days != 1 {
		t.Errorf("%+v", done)
	}
	w.holds(k)
	w.sends(p, k)
	w.env.Drop(t, target) // and is made anew
	w.run("11-01 11-02")
	k.sent = nil
	if done, err := p.Run(t.Context()); err != nil || !done.All || done.Sent != 3 {
		t.Errorf("%+v, %v", done, err)
	}
}

// A key without the day stands for its newest day.
func TestPublishTheNewestDay(t *testing.T) {
	t.Parallel()
	w, k := newWorld(t, "day(ts)"), &topic{}
	p := w.publisher(k, aggregate.Form{Key: []string{"country"}, Value: "total"})
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-01T10:00:00Z FR 2.20", "2026-11-02T10:00:00Z DE 0.05", "2026-11-03T10:00:00Z PL 7.00")
	w.run("11-01 11-02 11-03")
	w.sends(p, k, "DE 0.05", "FR 2.20", "PL 7.00")
	w.load("2026-11-01T11:00:00Z DE 9.00", "2026-11-01T11:00:00Z FR 0.80", "2026-11-01T11:00:00Z IT 3.00")
	w.run("11-01")
	w.sends(p, k, "FR 3.00", "IT 3.00") // DE has a newer day
	w.remove(func(f table.File) bool {
		return strings.Contains(f.Path, "2026-11-02") || strings.Contains(f.Path, "2026-11-03")
	})
	w.run("-11-02 -11-03")
	w.sends(p, k, "DE 10.10", "PL gone")
	w.sends(p, k)
}

func TestPublishTrouble(t *testing.T) {
	t.Parallel()
	w, k := newWorld(t, "day(ts)"), &topic{}
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-01T10:00:00Z FR 2.20")
	w.run("11-01")
	for name, x := range map[string]struct {
		form aggregate.Form
		want string
	}{
		"rows with one key": {aggregate.Form{Key: []string{"day"}}, "day 2026-11-01: two rows have the key 2026-11-01: name columns in publish.key"},
		"no such key":       {aggregate.Form{Key: []string{"city"}}, "publish.key: there is no column city"},
		"no such value":     {aggregate.Form{Key: []string{"day", "country"}, Value: "city"}, "publish.value: there is no column city"},
	} {
		if _, err := w.publisher(k, x.form).Run(t.Context()); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(k.latest) > 0 && k.open != 0 {
		t.Errorf("%v", k)
	}
	w.env.Swap(t, target, table.Change{Props: func(int64) map[string]string {
		return map[string]string{aggregate.PublishedProperty("daily"): "{"}
	}})
	if _, err := w.publisher(k, aggregate.Form{Key: []string{"day", "country"}}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "lakeloader.aggregate.daily.published cannot be read") {
		t.Error(err)
	}
}

// Messages hold every type in a form that loses nothing.
func TestMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	p := batch.Prim
	def := table.Def{Ident: table.Ident{Namespace: "lake", Name: "forms"}, PartitionBy: []table.PartitionField{{Source: "day", Transform: "identity", Name: "day"}}, Row: batch.StructOf()}
	for _, f := range []struct {
		name string
		t    *batch.Type
	}{{"day", p(batch.Date)}, {"truth", p(batch.Boolean)}, {"small", p(batch.Int)}, {"big", p(batch.Long)}, {"single", p(batch.Float)}, {"none", p(batch.Double)}, {"tiny", batch.DecimalOf(38, 36)},
		{"whole", batch.DecimalOf(3, 0)}, {"born", p(batch.Date)}, {"noon", p(batch.Time)}, {"at", p(batch.TimestampTZ)}, {"local", p(batch.Timestamp)}, {"words", p(batch.String)}, {"raw", p(batch.Binary)},
		{"id", p(batch.UUID)}, {"nothing", p(batch.String)}, {"_source_snapshot", p(batch.Long)}} {
		def.Row.Fields = append(def.Row.Fields, batch.Field{Name: f.name, Type: f.t})
	}
	info, err := w.env.Catalog.Ensure(t.Context(), def)
	if err != nil {
		t.Fatal(err)
	}
	const day, at = 20758, 20758*86400e6 + 36672000120 // 2026-11-01T10:11:12.000120
	b := batch.New(&batch.Records{}, info.Row)
	minus := bytes.Repeat([]byte{255}, 16)
	c := b.Root.Children
	c[0].AppendInt32(day)
	c[1].AppendBool(true)
	c[2].AppendInt32(-7)
	c[3].AppendInt64(math.MaxInt64)
	c[4].AppendFloat32(0.1)
	c[5].AppendFloat64(math.NaN())
	c[6].AppendView(b.Append(minus))
	c[7].AppendInt64(-5)
	c[8].AppendInt32(-1)
	c[9].AppendInt64(43200e6)
	c[10].AppendInt64(at)
	c[11].AppendInt64(at)
	c[12].AppendView(b.AppendString("<\"é\\>"))
	c[13].AppendView(b.AppendString("ab"))
	c[14].AppendView(b.Append(append(make([]byte, 15), 255)))
	c[15].AppendNull()
	c[16].AppendInt64(1)
	b.Root.AppendStruct()
	b.AppendRow(0, 0)
	o, err := writers.New(writers.Options{Info: info, Store: w.env.Objects})
	if err == nil {
		err = o.Append(t.Context(), b, writers.Part{Tuple: [][]byte{binary.LittleEndian.AppendUint32(nil, day)}, Path: "day=2026-11-01", Key: "d", Rows: []int32{0}})
	}
	if err != nil {
		t.Fatal(err)
	}
	files, err := o.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.env.Swap(t, def.Ident, table.Change{Add: files})
	rows, err := aggregate.NewLakeRows(t.Context(), w.env.Catalog, w.env.Objects, def.Ident, aggregate.Form{Key: []string{"tiny"}, Without: func(c string) bool { return c == "small" }})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := w.env.Base(t, def.Ident).Snapshot
	if days, err := rows.Days(t.Context(), snapshot); err != nil || len(days) != 1 || len(days[day].Paths) != 1 || days[day].Sequence == 0 {
		t.Fatal(days, err)
	}
	var got string
	if err := rows.Messages(t.Context(), snapshot, day, func(key string, value []byte) error {
		got += key + " " + string(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := `-0.000000000000000000000000000000000001 {"day":"2026-11-01","truth":true,"big":9223372036854775807,"single":0.1,"none":"NaN","tiny":"-0.000000000000000000000000000000000001","whole":"-5",` +
		`"born":"1969-12-31","noon":"12:00:00","at":"2026-11-01T10:11:12.00012Z","local":"2026-11-01T10:11:12.00012","words":"<\"é\\>","raw":"YWI=","id":"00000000-0000-0000-0000-0000000000ff","nothing":null}`; got != want {
		t.Errorf("%s\n%s", got, want)
	}
}
