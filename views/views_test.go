package views

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var rowType = batch.StructOf(
	batch.Field{Name: "channel", Type: batch.Prim(batch.String)},
	batch.Field{Name: "stars", Type: batch.Prim(batch.Int)},
	batch.Field{Name: "price", Type: batch.DecimalOf(9, 2)},
	batch.Field{Name: "user", Type: batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)})},
	batch.Field{Name: "weight", Type: batch.Prim(batch.Double)},
)

// record is a row; an empty channel is null.
type record struct {
	channel string
	stars   int32
	cents   int64
	user    int64
	weight  float64
	at      time.Time
	fate    batch.Fate
}

// fetch makes a batch of records of one partition from an offset on.
func fetch(first int64, rows ...record) (*batch.Batch, []Partition) {
	r := &batch.Records{Topics: []string{"ratings"}}
	b := batch.New(r, rowType)
	for i, x := range rows {
		r.Topic, r.Partition, r.Offset, r.Timestamp = append(r.Topic, 0), append(r.Partition, 3), append(r.Offset, first+int64(i)), append(r.Timestamp, x.at.UnixMilli())
		c := b.Root.Children
		if x.channel == "" {
			c[0].AppendNull()
		} else {
			c[0].AppendView(r.AppendString(x.channel))
		}
		c[1].AppendInt32(x.stars)
		c[2].AppendInt64(x.cents)
		c[3].Children[0].AppendInt64(x.user)
		c[3].AppendStruct()
		c[4].AppendFloat64(x.weight)
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
		b.Fate[i] = x.fate
	}
	return b, []Partition{{Topic: "ratings", Partition: 3, Epoch: 1, From: 0, To: len(rows)}}
}

func set(t *testing.T, v configs.View) *Set {
	t.Helper()
	if v.Window == 0 {
		v.Window = configs.Duration(5 * time.Minute)
	}
	if v.Groups == 0 {
		v.Groups = 200
	}
	v.Name = "live"
	s, err := New([]configs.View{v})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(rowType); err != nil {
		t.Fatal(err)
	}
	return s
}

func measures(of ...string) (out []configs.ViewMeasure) {
	for _, m := range of {
		out = append(out, configs.ViewMeasure{Name: m, Measure: m})
	}
	return out
}

func observe(s *Set, now time.Time, first int64, rows ...record) {
	b, ps := fetch(first, rows...)
	s.Observe(b, ps, now)
}

func TestMeasuresByGroup(t *testing.T) {
	s := set(t, configs.View{GroupBy: []string{"channel"},
		Measures: measures("count(*)", "median(stars)", "sum(price)", "avg(stars)", "min(stars)", "max(price)", "approx_distinct(user.id)", "top(user.id, 2)", "percentile(stars, 0.9)")})
	observe(s, noon, 0,
		record{"web", 1, 150, 7, 0, noon, batch.Keep}, record{"web", 2, 25, 7, 0, noon, batch.Keep}, record{"web", 5, 5, 8, 0, noon, batch.Keep},
		record{"ios", 4, 100, 9, 0, noon, batch.Keep}, record{"", 3, 1, 1, 0, noon, batch.Keep},
		record{"web", 5, 5, 8, 0, noon, batch.Filtered}, record{"web", 5, 5, 8, 0, noon, batch.Dead})
	got := s.Read(noon)[0]
	want := [][]any{
		{"web", int64(3), 2.0, 1.8, 8.0 / 3, 1.0, 1.5, int64(2), []TopValue{{int64(7), 2, 0}, {int64(8), 1, 0}}, 5.0},
		{nil, int64(1), 3.0, 0.01, 3.0, 3.0, 0.01, int64(1), []TopValue{{int64(1), 1, 0}}, 3.0},
		{"ios", int64(1), 4.0, 1.0, 4.0, 4.0, 1.0, int64(1), []TopValue{{int64(9), 1, 0}}, 4.0},
	}
	if len(got.Rows) != len(want) || got.Keys != 1 || got.Columns[0] != "channel" || got.Columns[2] != "median(stars)" {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		for j, w := range want[i] {
			f, ok := w.(float64)
			if have, is := got.Rows[i][j].(float64); ok && is && math.Abs(have-f) < 1e-9 {
				continue
			}
			if !reflect.DeepEqual(got.Rows[i][j], w) {
				t.Errorf("group %v, %s: %v, want %v", want[i][0], got.Columns[j], got.Rows[i][j], w)
			}
		}
	}
}

// Rows leave when Kafka's timestamp is older than the window, whenever they were read.
func TestWindowMoves(t *testing.T) {
	s := set(t, configs.View{Measures: measures("count(*)")})
	rows := func(now time.Time) int64 {
		if r := s.Read(now)[0].Rows; len(r) == 1 {
			return r[0][0].(int64)
		}
		return 0
	}
	old := record{stars: 1, at: noon.Add(-6 * time.Minute)}
	late := record{stars: 1, at: noon.Add(-2 * time.Minute)}
	fresh, ahead := record{stars: 1, at: noon}, record{stars: 1, at: noon.Add(time.Hour)}
	observe(s, noon, 0, old, late, fresh, ahead)
	for _, c := range []struct {
		after time.Duration
		want  int64
	}{{0, 3}, {2 * time.Minute, 3}, {3*time.Minute + 20*time.Second, 2}, {5 * time.Minute, 2}, {5*time.Minute + 20*time.Second, 0}, {24 * time.Hour, 0}} {
		if got := rows(noon.Add(c.after)); got != c.want {
			t.Errorf("after %v: %d rows, want %d", c.after, got, c.want)
		}
	}
	// A slot is used again for a later time, and what was in it is gone.
	again := noon.Add(2 * time.Hour)
	observe(s, again, 4, record{stars: 1, at: again})
	if got := rows(again); got != 1 {
		t.Errorf("%d rows two hours later", got)
	}
}

// A round that was dropped is read again; its rows are not counted twice. After the topic was created again its offsets begin anew.
func TestReadAgain(t *testing.T) {
	s := set(t, configs.View{Measures: measures("count(*)")})
	x := record{stars: 1, at: noon}
	observe(s, noon, 10, x, x, x)
	observe(s, noon, 11, x, x, x)
	if got := s.Read(noon)[0].Rows[0][0]; got != int64(4) {
		t.Fatalf("%d rows, want 4", got)
	}
	b, ps := fetch(0, x)
	ps[0].Epoch = 2
	s.Observe(b, ps, noon)
	if got := s.Read(noon)[0].Rows[0][0]; got != int64(5) {
		t.Fatalf("%d rows, want 5", got)
	}
}

// Nothing is dropped silently beyond the limit of groups, and groups that have gone make room.
func TestMoreGroupsThanAreKept(t *testing.T) {
	s := set(t, configs.View{GroupBy: []string{"user.id"}, Measures: measures("count(*)"), Groups: 2})
	observe(s, noon, 0, record{user: 1, at: noon}, record{user: 2, at: noon}, record{user: 3, at: noon}, record{user: 4, at: noon}, record{user: 4, at: noon})
	if got, want := fmt.Sprint(s.Read(noon)[0].Rows), "[[(other) 3] [1 1] [2 1]]"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	later := noon.Add(10 * time.Minute)
	observe(s, later, 5, record{user: 5, at: later}, record{user: 6, at: later})
	if got, want := fmt.Sprint(s.Read(later)[0].Rows), "[[5 1] [6 1]]"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

// Beyond 64 different values percentiles come from a sketch, within one percent.
func TestPercentileOfManyValues(t *testing.T) {
	s := set(t, configs.View{Measures: measures("median(weight)", "percentile(weight, 0.99)", "approx_distinct(user.id)")})
	r := rand.New(rand.NewPCG(1, 2))
	var all []float64
	offset := int64(0)
	for slot := range 10 {
		var rows []record
		for i := range 500 {
			x := math.Exp(r.NormFloat64() * 3)
			all = append(all, x)
			rows = append(rows, record{weight: x, user: int64(slot*500 + i), at: noon.Add(-time.Duration(slot) * 25 * time.Second)})
		}
		observe(s, noon, offset, rows...)
		offset += 500
	}
	slices.Sort(all)
	got := s.Read(noon)[0].Rows[0]
	for i, rank := range []int{len(all) / 2, len(all) * 99 / 100} {
		if have, want := got[i].(float64), all[rank-1]; math.Abs(have-want) > 0.021*want {
			t.Errorf("percentile %d is %v, want %v", i, have, want)
		}
	}
	if d := got[2].(int64); d < 4800 || d > 5200 {
		t.Errorf("%d distinct users, want about 5000", d)
	}
}

// The most frequent values are found among many, and their counts are never too small.
func TestTopOfManyValues(t *testing.T) {
	s := set(t, configs.View{Measures: measures("top(user.id, 3)")})
	r := rand.New(rand.NewPCG(3, 4))
	truth := map[int64]int64{}
	for chunk := range 20 {
		var rows []record
		for range 1000 {
			u := int64(1000 + r.IntN(100000))
			if r.IntN(10) == 0 {
				u = int64(r.IntN(3))
			}
			truth[u]++
			rows = append(rows, record{user: u, at: noon.Add(-time.Duration(chunk) * 10 * time.Second)})
		}
		observe(s, noon, int64(chunk)*1000, rows...)
	}
	top := s.Read(noon)[0].Rows[0][0].([]TopValue)
	if len(top) != 3 {
		t.Fatalf("%v", top)
	}
	for _, v := range top {
		u := v.Value.(int64)
		if u > 2 || v.Count < truth[u] || v.Count-v.Over > truth[u] {
			t.Errorf("%+v, really %d", v, truth[u])
		}
	}
}

// What JSON cannot say is null: one bad number must not take the status away.
func TestNumbersThatJSONLacks(t *testing.T) {
	s := set(t, configs.View{Measures: measures("sum(weight)", "max(weight)", "median(weight)", "count(weight)")})
	observe(s, noon, 0, record{weight: math.Inf(1), at: noon}, record{weight: math.NaN(), at: noon})
	if got := fmt.Sprint(s.Read(noon)[0].Rows); got != "[[<nil> <nil> <nil> 2]]" {
		t.Fatal(got)
	}
}

func TestColumnsThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		view configs.View
		want string
	}{
		{configs.View{GroupBy: []string{"country"}, Measures: measures("count(*)")}, "there is no column country"},
		{configs.View{GroupBy: []string{"user"}, Measures: measures("count(*)")}, "user is a struct"},
		{configs.View{GroupBy: []string{"stars.x"}, Measures: measures("count(*)")}, "there is no column stars.x"},
		{configs.View{Measures: measures("median(channel)")}, "not a number"},
		{configs.View{Measures: measures("top(weight, 3)")}, "not a string"},
	} {
		s, err := New([]configs.View{c.view})
		if err == nil {
			err = s.Bind(rowType)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// BenchmarkObserve: nanoseconds and allocations a row of a view with three measures.
func BenchmarkObserve(b *testing.B) {
	s, err := New([]configs.View{{Name: "live", Window: configs.Duration(5 * time.Minute), Groups: 200, GroupBy: []string{"channel"}, Measures: measures("count(*)", "median(stars)", "top(user.id, 5)")}})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Bind(rowType); err != nil {
		b.Fatal(err)
	}
	var rows []record
	for i := range 4096 {
		rows = append(rows, record{channel: []string{"web", "ios", "android"}[i%3], stars: int32(i%5 + 1), user: int64(i % 1000), at: noon})
	}
	next := int64(0)
	batch, ps := fetch(0, rows...)
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch.Offset {
			batch.Offset[i] = next
			next++
		}
		s.Observe(batch, ps, noon)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(next), "ns/row")
}
