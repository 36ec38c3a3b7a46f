//go:build stack

package sqlsink_test

import (
	"net/url"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

func TestPostgres(t *testing.T) {
	suite(t, func(t *testing.T) string { return stacktest.NewDatabase(t) })
}

// An answer to COMMIT that is lost is looked for: the round is in the database, and is not sent again.
func TestPostgresLosesTheAnswer(t *testing.T) {
	u, err := url.Parse(stacktest.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	direct := u.String()
	proxy := stacktest.NewProxy(t, u.Host)
	u.Host = proxy.Addr()
	b := newBench(t, direct)
	b.Create(t, "a", 2)
	cfg := b.config("id long required", func(p *configs.Pipeline) { p.SQL.URL = u.String() }, "a")
	b.Produce(t, "a", 0, ids(0, 5)...)
	b.load(cfg, 5)
	for round, produce := range []func(){
		func() { b.Produce(t, "a", 0, ids(5, 10)...) },  // a partition that is known
		func() { b.Produce(t, "a", 1, ids(10, 15)...) }, // one that is not
	} {
		produce()
		l := b.start(cfg, nil)
		l.Read(5)
		lost := make(chan struct{}, 1)
		proxy.LoseAnswer(func() { lost <- struct{}{} }, "COMMIT")
		if err := l.Stop(); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, l.Log())
		}
		select {
		case <-lost:
		default:
			t.Errorf("round %d: no answer was lost", round)
		}
		proxy.LoseAnswer(nil)
	}
	b.same("SELECT count(*), count(DISTINCT id), max(id) FROM clicks", "15|15|14")
	b.same("SELECT topic_partition, rounds FROM lakeloader_offsets ORDER BY 1", "0|2", "1|1")
	b.whole(cfg, "a-0.0 [0, 10) rows 10 filtered 0 dead 0 gaps 0", "a-1.0 [0, 5) rows 5 filtered 0 dead 0 gaps 0")
}
