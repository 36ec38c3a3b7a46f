//go:build stack && engines

package sqlsink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestEnginesMariaDB has the name of tests whose servers are downloaded only for them.
func TestEnginesMariaDB(t *testing.T) {
	s := stacktest.StartMariaDB(t)
	suite(t, func(t *testing.T) string { return s.NewDatabase(t) })
	t.Run("splits what is too long", func(t *testing.T) { testLongRows(t, s.NewDatabase(t)) })
}

// BenchmarkEnginesMariaDB is BenchmarkLoad.
func BenchmarkEnginesMariaDB(b *testing.B) { speed(b, stacktest.StartMariaDB(b).NewDatabase(b)) }

// testLongRows: with a server that takes 256 KiB at once, batches are split, a row may be longer as a whole, a value that is too long makes a dead letter,
// and one whose record is too long as well stops the pipeline, which goes on when the server takes more.
func testLongRows(t *testing.T, url string) {
	b := newBench(t, url)
	limit := func(n int) { b.exec(fmt.Sprintf("SET GLOBAL max_allowed_packet = %d", n)) }
	limit(256 << 10)
	t.Cleanup(func() {
		if _, err := b.db.ExecContext(context.Background(), "SET GLOBAL max_allowed_packet = 16777216"); err != nil {
			t.Error(err)
		}
	})
	b.Create(t, "a", 1)
	cfg := b.config("id long required, s string, more string, by binary, li list<string>", nil, "a")
	var want []string
	for i := range 60 { // quotes take two bytes each in a statement
		b.Produce(t, "a", 0, fmt.Sprintf(`{"id":%d,"s":%q}`, i, strings.Repeat("'", 10_000)))
		want = append(want, fmt.Sprintf("%d|10000|NULL", i))
	}
	b.Produce(t, "a", 0, fmt.Sprintf(`{"id":60,"s":%q,"more":%q}`, strings.Repeat("x", 170_000), strings.Repeat("y", 170_000)))
	b.load(cfg, 61)
	want = append(want, "60|170000|170000")
	b.same("SELECT id, length(s), length(more) FROM clicks ORDER BY id", want...)

	// A value that a step makes longer than its record is.
	longer := b.config("id long required, s string, more string, by binary, li list<string>", func(p *configs.Pipeline) {
		p.Cleanse = []configs.Step{{Derive: &configs.DeriveStep{Column: "s", Expression: "s + s + s"}}}
	}, "a")
	b.Produce(t, "a", 0, fmt.Sprintf(`{"id":61,"s":%q}`, strings.Repeat("x", 100_000)), `{"id":62,"s":"x"}`)
	b.load(longer, 2)
	b.same("SELECT id, s FROM clicks WHERE id > 60", "62|xxx")
	b.same("SELECT stage, step, error LIKE '%300000 bytes%max_allowed_packet%', length(value) > 100000 FROM clicks_dead_letters", "encode|s|1|1")

	b.Produce(t, "a", 0, fmt.Sprintf(`{"id":63,"s":%q}`, strings.Repeat("x", 375_000)), `{"id":64}`)
	l := b.start(cfg, nil)
	l.Read(2)
	if err := l.Stop(); !errors.Is(err, pipeline.ErrStop) || !strings.Contains(err.Error(), "the row of a-0 offset 63") || !strings.Contains(err.Error(), "raise max_allowed_packet") {
		t.Fatalf("a record that is too long: %v", err)
	}
	limit(16 << 20)
	b.load(cfg, 2)
	b.same("SELECT id, length(s) FROM clicks WHERE id > 62", "63|375000", "64|NULL")
	b.whole(cfg, "a-0.0 [0, 65) rows 64 filtered 0 dead 1 gaps 0")
}
