package jobs

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/table"
)

// script plays a file of cases: see testdata/complete.txt for its words.
type script struct {
	t        testing.TB
	line     string
	unit     table.Unit
	lateness time.Duration
	news     news
	ends     map[int32]End
	ledger   *table.Ledger
	state    *Complete
	rows     []int
}

func (s *script) time(text string) time.Time {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	s.t.Fatalf("%s: %q is no time", s.line, text)
	return time.Time{}
}

func (s *script) partition(text string) int {
	n, err := s.unit.Parse(text)
	if err != nil {
		s.t.Fatalf("%s: %v", s.line, err)
	}
	return n
}

func (s *script) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.t.Fatalf("%s: %v", s.line, err)
	}
	return n
}

func (s *script) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatalf("%s: %v", s.line, err)
	}
	return d
}

// do carries out a line and returns what it answers, if it does.
func (s *script) do(words []string) string {
	switch words[0] {
	case "case":
		*s = script{t: s.t, line: s.line, unit: table.Unit(words[1]), lateness: time.Hour, ends: map[int32]End{}, ledger: &table.Ledger{Records: map[table.Key]table.Record{}}}
		s.news = news{unit: s.unit, field: "ts_" + words[1], quiet: 600, retired: -1 << 40}
	case "receiver":
		s.news.receiver = words[1]
	case "lateness":
		s.lateness = s.duration(words[1])
	case "retention":
		s.news.retired = s.partition(words[1])
	case "kafka": // partition, low, high, topic id
		p := int32(s.number(words[1]))
		s.ends[p] = End{Key: table.Key{Topic: "t", Partition: p}, Low: s.number(words[2]), High: s.number(words[3]), TopicID: strings.Join(words[4:], "")}
	case "ledger": // partition, next, event, epoch, topic id
		r := table.Record{Next: s.number(words[2])}
		if words[3] != "-" {
			r.Event = s.time(words[3]).UnixMilli()
		}
		if len(words) > 4 {
			r.Epoch = int32(s.number(words[4]))
		}
		if len(words) > 5 {
			r.TopicID = words[5]
		}
		s.ledger.Records[table.Key{Topic: "t", Partition: int32(s.number(words[1]))}] = r
	case "changed":
		s.news.changes = append(s.news.changes, change{s.partition(words[1]), s.time(words[2]).Unix()})
	case "lost":
		s.news.lost, s.news.oldest = true, s.partition(words[1])
	case "rows":
		s.rows = nil
		for _, w := range words[1:] {
			s.rows = append(s.rows, s.partition(w))
		}
	case "run":
		return s.run(s.time(words[1]))
	case "told":
		return s.told()
	default:
		s.t.Fatalf("%s: there is no word %q", s.line, words[0])
	}
	return ""
}

func (s *script) run(now time.Time) string {
	var ends []End
	for _, p := range slices.Sorted(maps.Keys(s.ends)) {
		ends = append(ends, s.ends[p])
	}
	p := watermark(ends, s.ledger, now)
	n := s.news
	n.now, n.asked, n.through, n.known, n.epochs = now, now, p.at.Add(-s.lateness), p.known, p.epochs
	next, changed := s.state.advance(n)
	if !changed {
		return "the same; " + p.held
	}
	s.state, s.news.changes, s.news.lost = next, nil, false
	out := fmt.Sprintf("%d: through %s", next.Revision, next.Unit.Label(next.through()))
	for _, d := range next.Dirty {
		out += " dirty " + d.First
		if d.Last != d.First {
			out += ".." + d.Last
		}
	}
	for _, a := range next.Again {
		if a.Revision == next.Revision {
			out += " again " + a.First
		}
	}
	return out
}

func (s *script) told() string {
	list, err := s.state.notices(s.news.receiver, func() ([]int, error) { return s.rows, nil })
	if err != nil {
		s.t.Fatal(err)
	}
	s.state.Told = s.state.told(s.news.receiver)
	var out []string
	for _, n := range list {
		word := "dirty"
		if n.Complete {
			word = "complete"
		}
		out = append(out, fmt.Sprintf("%s %s %d", word, n.Partition, n.Revision))
	}
	return strings.Join(out, ", ")
}

func TestWhatIsComplete(t *testing.T) {
	f, err := os.Open("testdata/complete.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &script{t: t}
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		text, _, _ := strings.Cut(in.Text(), "#")
		text, want, asked := strings.Cut(text, "->")
		if strings.TrimSpace(text) == "" {
			continue
		}
		s.line = fmt.Sprintf("line %d: %s", n, in.Text())
		if got := s.do(strings.Fields(text)); asked && strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s:\n got %s", s.line, got)
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
}

// However many partitions become dirty, in whatever order, the property stays below what catalogs cut, can be read again, and
// names every one of them until it was quiet.
func TestTheStateStaysSmall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]table.Unit{table.Hour, table.Day, table.Month, table.Year}).Draw(t, "unit")
		now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		n := news{unit: unit, field: strings.Repeat("f", rapid.IntRange(1, 100).Draw(t, "field")), quiet: 600, retired: -1 << 40, receiver: "topic " + strings.Repeat("t", 249) + ", markers"}
		var c *Complete
		dirtied := map[int]int64{}
		for range rapid.IntRange(1, 60).Draw(t, "runs") {
			now = now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "minutes")) * time.Minute)
			n.now, n.asked, n.through, n.known, n.changes = now, now, now, true, nil
			for range rapid.IntRange(0, 30).Draw(t, "changes") {
				x := change{unit.Of(now) - rapid.IntRange(1, 40).Draw(t, "ago"), now.Unix()}
				if n.changes = append(n.changes, x); c != nil && x.n < c.through() {
					dirtied[x.n] = x.at
				}
			}
			next, changed := c.advance(n)
			if c = next; !changed {
				continue
			}
			props := c.property("p")
			if size := len(props[completeKey("p")]); size > 3400 {
				t.Fatalf("the property has %d bytes: %v", size, props)
			}
			got, err := ParseComplete("p", props)
			if err != nil || !got.Through.Equal(c.Through) || len(got.Dirty) != len(c.Dirty) {
				t.Fatalf("%+v is read as %+v, %v", c, got, err)
			}
			for p, at := range dirtied {
				if !c.dirty(c.Dirty).has(p) && p < c.through() && now.Unix()-at < n.quiet {
					t.Fatalf("%s changed %d seconds ago, and is said to be complete: %+v", unit.Label(p), now.Unix()-at, c)
				}
			}
			if rapid.Bool().Draw(t, "told") {
				c.Told = c.told(n.receiver)
			}
		}
	})
}

func TestADamagedStateIsSaid(t *testing.T) {
	for _, text := range []string{"", "x", `{"unit":"day","dirty":[{"first":"2026-13-01","last":"2026-13-01"}]}`, `{"unit":"day","told":{"dirty":[{"first":"x","last":"y"}]}}`} {
		_, err := ParseComplete("p", map[string]string{"lakeloader.complete.p.through": text})
		if err == nil || !strings.Contains(err.Error(), "lakeloader.complete.p.through") || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if c, err := ParseComplete("p", map[string]string{"lakeloader.complete.q.through": "x"}); c != nil || err != nil {
		t.Errorf("of another pipeline: %v, %v", c, err)
	}
}
