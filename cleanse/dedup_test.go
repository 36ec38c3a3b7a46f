package cleanse_test

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
)

func dedupProgram(t tester, maxEntries int) (*cleanse.Program, *cleanse.Dedup) {
	t.Helper()
	row := batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}, batch.Field{Name: "s", Type: batch.Prim(batch.String)})
	p, err := cleanse.Compile(row, []configs.Step{
		{Rename: &configs.RenameStep{Columns: map[string]string{"s": "text"}}},
		{Deduplicate: &configs.DeduplicateStep{Key: []string{"id", "text"}, Window: configs.Duration(10 * time.Second), MaxEntries: maxEntries}},
		{Rename: &configs.RenameStep{Columns: map[string]string{"text": "name"}}},
	})
	if err != nil {
		t.Fatalf("%s", err)
	}
	d := p.Dedups()[0]
	if want := []string{"id", "name"}; !slices.Equal(d.Columns(), want) || d.Window() != 10*time.Second || d.Step() != "cleanse[1] deduplicate" {
		t.Fatalf("the keys are in %v, window %s, step %s", d.Columns(), d.Window(), d.Step())
	}
	return p, d
}

// fates applies one batch of rows with the key (id, "k") and says which are kept.
func fates(t tester, p *cleanse.Program, ids []int64, from []origin) string {
	t.Helper()
	var rows []any
	for _, id := range ids {
		rows = append(rows, fields{"id": id, "s": "k"})
	}
	b := newBatch(batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}, batch.Field{Name: "s", Type: batch.Prim(batch.String)}), rows, from)
	if err := p.Apply(b); err != nil {
		t.Fatalf("%s", err)
	}
	var out strings.Builder
	for _, f := range b.Fate {
		out.WriteByte("+-"[f])
	}
	return out.String()
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %s, not %s", what, got, want)
	}
}

// TestDedupRounds follows a pipeline through a dropped round, a revocation and a restart.
func TestDedupRounds(t *testing.T) {
	p, d := dedupProgram(t, 100)
	at := func(partition int32, offset int64) origin { return origin{partition, offset, offset * 1000} }
	expect(t, "first round", fates(t, p, []int64{1, 2, 1}, []origin{at(0, 0), at(0, 1), at(0, 2)}), "++-")
	d.Mark()
	expect(t, "second round", fates(t, p, []int64{3, 1, 3}, []origin{at(0, 3), at(0, 4), at(1, 4)}), "+--")
	d.Drop()
	expect(t, "second round again, other partition first", fates(t, p, []int64{3, 3, 1}, []origin{at(1, 4), at(0, 3), at(0, 4)}), "+--")
	expect(t, "the same records read again", fates(t, p, []int64{3, 3}, []origin{at(1, 4), at(0, 3)}), "+-")
	d.Mark()
	d.Forget("t", 1)
	expect(t, "after partition 1 is gone", fates(t, p, []int64{3, 1}, []origin{at(0, 5), at(0, 6)}), "+-")
	d.Forget("nothing", 7)

	p, d = dedupProgram(t, 100)
	for _, s := range []struct {
		id     int64
		offset int64
	}{{1, 0}, {2, 1}, {3, 5}} {
		if err := d.Seed([]any{s.id, "k"}, "t", 0, s.offset, s.offset*1000); err != nil {
			t.Fatal(err)
		}
	}
	d.Mark()
	d.Drop()
	expect(t, "after a restart", fates(t, p, []int64{1, 2, 3, 4, 3}, []origin{at(0, 6), at(0, 7), at(0, 5), at(0, 8), at(0, 9)}), "--++-")
	if d.Len() != 4 {
		t.Fatalf("%d keys are remembered, not 4", d.Len())
	}
}

func TestDedupSeedRefusesOtherTypes(t *testing.T) {
	_, d := dedupProgram(t, 10)
	for _, key := range [][]any{{int64(1)}, {true, "k"}, {int64(1), []byte("k"), 1}, {"1", "k"}, {int64(1), 1.5}} {
		if err := d.Seed(key, "t", 0, 0, 0); err == nil {
			t.Errorf("the key %v is taken", key)
		}
	}
	if err := d.Seed([]any{nil, "k"}, "t", 0, 0, 0); err != nil || d.Len() != 0 {
		t.Errorf("a key with null: %v, %d keys", err, d.Len())
	}
}

// TestDedupSeedsEveryType seeds a value of each type as the table may hold it, and finds it in a batch.
func TestDedupSeedsEveryType(t *testing.T) {
	ten := make([]byte, 16)
	ten[15] = 10
	for _, c := range []struct {
		typ   string
		value any
		seeds []any
	}{
		{"boolean", true, []any{true}},
		{"int", int64(10), []any{int32(10), int64(10)}},
		{"long", int64(10), []any{int32(10), int64(10)}},
		{"date", int64(10), []any{int32(10)}},
		{"timestamptz", int64(10), []any{int64(10)}},
		{"float", 0.5, []any{float32(0.5), 0.5}},
		{"double", 0.5, []any{float32(0.5), 0.5}},
		{"decimal(10,2)", big.NewInt(10), []any{int32(10), int64(10), ten}},
		{"decimal(30,2)", big.NewInt(10), []any{int64(10), ten}},
		{"string", "x", []any{"x", []byte("x")}},
		{"binary", []byte("x"), []any{[]byte("x")}},
		{"uuid", ten, []any{ten}},
	} {
		row, err := batch.ParseType("struct<k: " + c.typ + ">")
		if err != nil {
			t.Fatal(err)
		}
		for _, seed := range c.seeds {
			p, err := cleanse.Compile(row, []configs.Step{{Deduplicate: &configs.DeduplicateStep{Key: []string{"k"}}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Dedups()[0].Seed([]any{seed}, "t", 0, 100, 0); err != nil {
				t.Errorf("%s: %s", c.typ, err)
			}
			b := newBatch(row, []any{fields{"k": c.value}}, nil)
			if err := p.Apply(b); err != nil {
				t.Fatal(err)
			}
			if b.Fate[0] != batch.Filtered {
				t.Errorf("%s: a row is no duplicate of the seed %v (%T)", c.typ, seed, seed)
			}
		}
	}
}

func TestDedupBounds(t *testing.T) {
	p, d := dedupProgram(t, 2)
	ms := func(offset, ts int64) origin { return origin{0, offset, ts} }
	expect(t, "three keys, two remembered", fates(t, p, []int64{1, 2, 3, 1, 3}, []origin{ms(0, 0), ms(1, 0), ms(2, 0), ms(3, 0), ms(4, 0)}), "++++-")
	expect(t, "out of the window", fates(t, p, []int64{3, 3}, []origin{ms(5, 10_000), ms(6, 20_002)}), "-+")
	if d.Len() != 1 {
		t.Fatalf("%d keys are remembered, though all but one are too old", d.Len())
	}
	expect(t, "without a timestamp", fates(t, p, []int64{3, 9, 9}, []origin{ms(7, -1), ms(8, -1), ms(9, 50_000)}), "-+-")
}

// An exact memory knows every row of a key that is near, in whatever order of time, and has no bounds.
func TestDedupExact(t *testing.T) {
	p, d := dedupProgram(t, 2)
	d.Exact(func(ms int64) bool { return ms <= 60_000 })
	seed := func(id, offset, ts int64) {
		t.Helper()
		if err := d.Seed([]any{id, "k"}, "t", 0, offset, ts); err != nil {
			t.Fatal(err)
		}
	}
	for id := range int64(10) {
		seed(id, id, 0)
		seed(id, 100+id, 30_000)
	}
	seed(1, 200, 500_000)
	seed(2, 300, -1)
	at := func(offset, ts int64) origin { return origin{0, offset, ts} }
	expect(t, "near the first, near neither, near the second", fates(t, p, []int64{5, 5, 5}, []origin{at(400, 10_000), at(401, 15_000), at(402, 39_000)}), "-+-")
	expect(t, "near the one that was kept", fates(t, p, []int64{5, 5}, []origin{at(403, 16_000), at(401, 15_000)}), "-+")
	expect(t, "a row that is not near is not known", fates(t, p, []int64{1}, []origin{at(404, 500_000)}), "+")
	expect(t, "a row without a time is near to all", fates(t, p, []int64{2}, []origin{at(405, 900_000)}), "-")
	expect(t, "nothing is forgotten", fates(t, p, []int64{9}, []origin{at(406, 1_000)}), "-")
}

// model is deduplication with a map and copies of it.
type model struct {
	now, marked map[int64]origin
}

// TestDedupAgainstModel plays random rounds.
func TestDedupAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, d := dedupProgram(t, 1_000_000)
		m := model{map[int64]origin{}, map[int64]origin{}}
		ts := int64(0)
		next := map[int32]int64{}
		clone := func(from map[int64]origin) map[int64]origin {
			to := map[int64]origin{}
			for k, v := range from {
				to[k] = v
			}
			return to
		}
		for range rapid.IntRange(1, 20).Draw(t, "actions") {
			switch rapid.IntRange(0, 5).Draw(t, "action") {
			case 0:
				d.Mark()
				m.marked = clone(m.now)
			case 1:
				d.Drop()
				m.now = clone(m.marked)
			case 2:
				part := rapid.Int32Range(0, 2).Draw(t, "partition")
				// A partition is revoked between rounds.
				d.Mark()
				d.Forget("t", part)
				for k, v := range m.now {
					if v.partition == part {
						delete(m.now, k)
					}
				}
				m.marked = clone(m.now)
			default:
				var ids []int64
				var from []origin
				want := ""
				for range rapid.IntRange(1, 10).Draw(t, "rows") {
					id := rapid.Int64Range(0, 6).Draw(t, "id")
					part := rapid.Int32Range(0, 2).Draw(t, "partition")
					ts += rapid.Int64Range(0, 3000).Draw(t, "ts")
					o := origin{part, next[part], ts}
					next[part]++
					ids, from = append(ids, id), append(from, o)
					old, seen := m.now[id]
					if seen && o.ts-old.ts <= 10_000 {
						want += "-"
						continue
					}
					want += "+"
					m.now[id] = o
				}
				if got := fates(t, p, ids, from); got != want {
					t.Fatalf("keys %v at %v: %s, not %s", ids, from, got, want)
				}
			}
		}
	})
}

// TestDedupManyKeys grows and shrinks the memory.
func TestDedupManyKeys(t *testing.T) {
	const limit = 5000
	p, d := dedupProgram(t, limit)
	offset := int64(0)
	for round := range 6 {
		var ids []int64
		var from []origin
		for i := range int64(3000) {
			ids, from = append(ids, int64(round)*2000+i), append(from, origin{0, offset, int64(round)})
			offset++
		}
		// The first thousand keys of each round were the last of the one before.
		want := strings.Repeat("+", 3000)
		if round > 0 {
			want = strings.Repeat("-", 1000) + strings.Repeat("+", 2000)
		}
		if got := fates(t, p, ids, from); got != want {
			t.Fatalf("round %d: %d duplicates", round, strings.Count(got, "-"))
		}
		if n := min(limit, 3000+2000*round); d.Len() != n {
			t.Fatalf("round %d: %d keys are remembered, not %d", round, d.Len(), n)
		}
		if round == 3 {
			d.Mark()
		}
	}
	d.Drop()
	if d.Len() != limit-4000 {
		t.Fatalf("%d keys are left after the drop", d.Len())
	}
}

// TestReasonsKeepSecrets looks for secret values in every reason.
func TestReasonsKeepSecrets(t *testing.T) {
	row, err := batch.ParseType("struct<mail: string, card: string, born: string, n: long, list: list<struct<who: string>>>")
	if err != nil {
		t.Fatal(err)
	}
	short := 3
	steps := []configs.Step{
		{Derive: &configs.DeriveStep{Column: "copy", Expression: "mail + '!'"}},
		{Derive: &configs.DeriveStep{Column: "num", Expression: "card", Type: "long"}},
		{Derive: &configs.DeriveStep{Column: "looked", Expression: "{'a': 1}[mail] + n"}},
	}
	checks := []configs.Step{
		{Validate: &configs.ValidateStep{Columns: []string{"mail", "copy", "list[].who"}, Pattern: "x"}},
		{Validate: &configs.ValidateStep{Columns: []string{"mail"}, OneOf: []string{"x"}}},
		{Validate: &configs.ValidateStep{Columns: []string{"mail"}, MaxLength: &short}},
		{MapValues: &configs.MapStep{Columns: []string{"copy"}, Values: map[string]string{"x": "y"}, Otherwise: "dead_letter"}},
		{Cast: &configs.CastStep{Columns: []string{"born"}, To: "date"}},
		{ParseTimestamp: &configs.TimestampStep{Columns: []string{"born"}}},
		steps[1], steps[2],
		{Filter: &configs.FilterStep{Expression: "int(mail) > 3"}},
		{Validate: &configs.ValidateStep{Expression: "timestamp(mail) > timestamp('2000-01-01T00:00:00Z')"}},
	}
	secrets := configs.Step{Hash: &configs.HashStep{Columns: []string{"mail", "card", "list[].who"}, Key: "k"}}
	born := configs.Step{Mask: &configs.MaskStep{Columns: []string{"born"}, Style: "null"}}
	value := "private-7531"
	rows := []any{fields{"mail": value, "card": value, "born": value, "n": int64(1), "list": []any{nil, fields{"who": value}}}}
	for i, check := range checks {
		p, err := cleanse.Compile(row, []configs.Step{steps[0], check, secrets, born})
		if err != nil {
			t.Fatalf("check %d: %s", i, err)
		}
		b := newBatch(row, rows, nil)
		if err := p.Apply(b); err != nil {
			t.Fatal(err)
		}
		if len(b.Rejects) != 1 {
			t.Fatalf("check %d: fate %d, rejects %v", i, b.Fate[0], b.Rejects)
		}
		if strings.Contains(fmt.Sprint(b.Rejects), "private") {
			t.Errorf("the reason tells the value: %s", b.Rejects[0].Reason)
		}
	}
}
