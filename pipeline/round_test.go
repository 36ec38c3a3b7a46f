package pipeline

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

func someRound(r *rand.Rand) *Round {
	set := func() *Offsets {
		o := &Offsets{}
		for range 1 + r.Intn(5) {
			first := r.Uint64() >> (1 + r.Intn(62))
			o.AddRange(first, first+uint64(r.Intn(100000))+1)
		}
		return o
	}
	rd := &Round{ID: fmt.Sprint("r", r.Int()), Pipeline: "p", Version: "v", OldestMS: r.Int63(), Tables: []RoundFile{{Table: table.Ident{Namespace: "n", Name: "t"}}}}
	for i := range 1 + r.Intn(3) {
		m := Move{Key: table.Key{Topic: "t", Partition: int32(i)}, Known: r.Intn(2) == 0, To: table.Record{Next: r.Int63()}}
		if r.Intn(2) == 0 {
			m.Filtered = map[string]*Offsets{"cleanse[0] filter": set(), "x": set()}
		}
		if r.Intn(2) == 0 {
			m.Dead = map[string]*Offsets{"decode": set()}
		}
		if r.Intn(2) == 0 {
			m.Gaps = set()
		}
		rd.Moves = append(rd.Moves, m)
	}
	return rd
}

func TestRoundObjectSaysWhatTheRoundSaid(t *testing.T) {
	store := &RoundObjects{Store: objects.NewLocal(), Root: "file://" + t.TempDir(), Pipeline: "p"}
	r := rand.New(rand.NewSource(1))
	for range 30 {
		want := someRound(r)
		for range 2 { // the same content may be put again
			if err := store.PutRound(t.Context(), "u", want); err != nil {
				t.Fatal(err)
			}
		}
		got, err := store.Round(t.Context(), "u", want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Moves) != len(want.Moves) || !reflect.DeepEqual(got.Tables, want.Tables) {
			t.Fatalf("%+v, want %+v", got, want)
		}
		for i, m := range got.Moves {
			w := want.Moves[i]
			for by, o := range w.Filtered {
				if !m.Filtered[by].Equals(&o.Bitmap) {
					t.Fatalf("filtered by %s: %v, want %v", by, m.Filtered[by], o)
				}
			}
			if len(m.Filtered) != len(w.Filtered) || len(m.Dead) != len(w.Dead) || (m.Gaps == nil) != (w.Gaps == nil) || w.Gaps != nil && !m.Gaps.Equals(&w.Gaps.Bitmap) {
				t.Fatalf("%+v, want %+v", m, w)
			}
		}
		want.Version += "x"
		if err := store.PutRound(t.Context(), "u", want); err == nil || !strings.Contains(err.Error(), "holds something else") {
			t.Fatalf("another round of the same name: %v", err)
		}
	}
}

// Whatever was done to a round object, reading it gives the round or an error, and never ends the process.
func TestBrokenRoundObjectIsAnError(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	read := func(n int, data []byte) (*Round, error) { return parseRound(fmt.Sprint("x", n), data) }
	for i, text := range []string{"", "{}", "null", "[]", "{\"id\":\"x3\"}", `{"id":"x5"`,
		`{"id":"x6","tables":[],"moves":[{}]}`, `{"id":"x7","tables":[{}],"moves":[{"filtered":{"a":null}}]}`,
		`{"id":"x8","tables":[{}],"moves":[{"gaps":"AAAA"}]}`, `{"id":"x9","tables":[{}],"moves":[{"gaps":"//////////8="}]}`,
		`{"id":"x10","tables":[{}],"moves":[{"from":{"Next":5},"to":{"Next":4}}]}`, `{"id":"y","tables":[{}],"moves":[{}]}`} {
		if rd, err := read(i, []byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, rd)
		}
	}
	for i := range 1000 {
		rd := someRound(r)
		rd.ID = fmt.Sprint("x", 100+i)
		data, err := json.Marshal(rd)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + r.Intn(4) {
			data[r.Intn(len(data))] = "AZaz09+/=\"{}:,"[r.Intn(14)]
		}
		got, err := read(100+i, data)
		if err != nil {
			continue
		}
		for _, m := range got.Moves { // what was read can be used
			for _, o := range m.Filtered {
				o.GetCardinality()
				o.Or(&o.Bitmap)
			}
			if m.Gaps != nil {
				for it := m.Gaps.Iterator(); it.HasNext() && it.Next() < 1<<20; {
					continue
				}
			}
		}
	}
}
