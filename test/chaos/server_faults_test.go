//go:build stack

package chaos

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to lock catalogs
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// serverFaults break what loaders rest on, but for S3: the broker, the registry, the catalog, the disk, the clock.
func serverFaults() []fault {
	rest := func(r *round) bool { return r.lake.kind == "rest" }
	postgres := func(r *round) bool { return r.lake.kind == "postgres" }
	folder := func(r *round) bool { return r.lake.kind == "sqlite" }
	brief := func(r *round) time.Duration { return between(r.rnd, 100*time.Millisecond, 4*time.Second) }
	// swap is the request of a commit to the REST catalog.
	swap := request{"POST of a commit", func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/tables/")
	}}
	return []fault{
		// not in every round: other rounds wait meanwhile
		{name: "broker killed and restarted", fits: func(r *round) bool { return r.broker != nil && r.seed%3 == 0 }, strike: func(r *round, l *loader) (strike, bool) {
			r.broker.mu.Lock()
			defer r.broker.mu.Unlock()
			return l.whileHeld(r, func() { r.broker.For(r.t).Kill() }, func() { lasting(brief(r)); r.broker.For(r.t).Start() })
		}},
		{name: "registry is down", strike: func(r *round, l *loader) (strike, bool) {
			return l.registryBroken(r, stacktest.Dropped, brief(r))
		}},
		{name: "registry is slow", strike: func(r *round, l *loader) (strike, bool) {
			return l.registryBroken(r, stacktest.Slow(between(r.rnd, time.Second, 4*time.Second)), brief(r))
		}},
		{name: "registry answers 500", strike: func(r *round, l *loader) (strike, bool) {
			return l.registryBroken(r, stacktest.Broken(http.StatusInternalServerError), brief(r))
		}},
		{name: "REST catalog is gone", fits: rest, strike: func(r *round, l *loader) (strike, bool) {
			return l.broken(l.catalog, anything, always, stacktest.Dropped, brief(r))
		}},
		{name: "REST catalog answers 503", fits: rest, strike: func(r *round, l *loader) (strike, bool) {
			return l.broken(l.catalog, anything, always, stacktest.Broken(http.StatusServiceUnavailable), brief(r))
		}},
		{name: "REST catalog answers 500 to commits", fits: rest, strike: func(r *round, l *loader) (strike, bool) {
			return l.broken(l.catalog, swap, always, stacktest.Broken(http.StatusInternalServerError), brief(r))
		}},
		{name: "swap succeeds, its answer is lost (REST)", fits: rest, strike: func(r *round, l *loader) (strike, bool) {
			return l.broken(l.catalog, swap, pick(r.rnd, 1, 2, 3), l.catalog.Lost, brief(r))
		}},
		{name: "swap succeeds, its answer is lost (PostgreSQL)", fits: postgres, strike: func(_ *round, l *loader) (strike, bool) {
			p, struck := l.process, make(chan time.Time, 1)
			l.postgres.LoseAnswer(func() { struck <- time.Now() }, ".metadata.json", "commit")
			at, ok := hit(struck)
			if !ok {
				l.postgres.LoseAnswer(nil)
			}
			return strike{l, p, at, time.Now()}, ok
		}},
		{name: "PostgreSQL is gone", fits: postgres, strike: func(r *round, l *loader) (strike, bool) {
			return l.whileHeld(r, func() { l.postgres.SetCut(true) }, func() { lasting(brief(r)); l.postgres.SetCut(false) })
		}},
		{name: "PostgreSQL catalog is locked", fits: postgres, strike: func(r *round, l *loader) (strike, bool) {
			return l.lockedOut(r, "pgx", r.lake.table.URI, "BEGIN", "LOCK TABLE iceberg_tables IN ACCESS EXCLUSIVE MODE")
		}},
		{name: "SQLite catalog is locked", fits: folder, strike: func(r *round, l *loader) (strike, bool) {
			return l.lockedOut(r, "sqlite", "file:"+r.lake.table.URI+"?_pragma=busy_timeout(20000)", "BEGIN EXCLUSIVE")
		}},
		{name: "disk is full", fits: folder, strike: func(r *round, l *loader) (strike, bool) { return l.diskFull(brief(r)) }},
		{name: "files cannot grow, the catalog's neither", fits: folder, strike: func(r *round, l *loader) (strike, bool) {
			var before uint64
			return l.whileHeld(r, func() { before = l.limitFiles(0) }, func() { lasting(brief(r)); l.limitFiles(before) })
		}},
		{name: "clock jumps ahead and back", strike: func(r *round, l *loader) (strike, bool) {
			return l.clockJumps(r, pick(r.rnd, 5*time.Minute, 2*time.Hour, 100*time.Hour))
		}},
		{name: "clock jumps back and ahead", strike: func(r *round, l *loader) (strike, bool) {
			return l.clockJumps(r, -pick(r.rnd, 5*time.Minute, 2*time.Hour, 100*time.Hour))
		}},
	}
}

// whileHeld breaks something while the process waits at a step, and lets it go on into what is broken.
func (l *loader) whileHeld(r *round, breaks, mends func()) (strike, bool) {
	p := l.process
	if _, ok := p.arm(pick(r.rnd, everyRound...), "hold"); !ok {
		return strike{}, false
	}
	breaks()
	struck := time.Now()
	p.order("release")
	mends()
	return strike{l, p, struck, time.Now()}, true
}

// registryBroken has the writers use a new schema in the middle of a round, which the loader must ask a broken registry for.
func (l *loader) registryBroken(r *round, bad stacktest.Answer, last time.Duration) (strike, bool) {
	p := l.process
	if _, ok := p.arm(point.FirstRecord, "hold"); !ok {
		return strike{}, false
	}
	struck := through(l.registry, anything, always, bad)
	r.writers.newSchema(r.t)
	lasting(300 * time.Millisecond) // there are records of it before the round is due
	p.order("release")
	at, ok := hit(struck)
	if ok {
		lasting(last)
	}
	l.registry.Answer(nil)
	return strike{l, p, at, time.Now()}, ok
}

// lockedOut holds a lock of the catalog's database for a while.
func (l *loader) lockedOut(r *round, driver, dsn string, statements ...string) (strike, bool) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	return l.whileHeld(r, func() {
		for _, s := range statements {
			if _, err := conn.ExecContext(r.t.Context(), s); err != nil {
				r.t.Fatalf("locking the catalog: %s: %v", s, err)
			}
		}
	}, func() {
		lasting(between(r.rnd, 500*time.Millisecond, 7*time.Second))
		if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
			r.t.Fatalf("unlocking the catalog: %v", err)
		}
	})
}

// diskFull fails the writes of the process to files, but for the catalog's.
func (l *loader) diskFull(last time.Duration) (strike, bool) {
	ctx, cancel := within(soon)
	defer cancel()
	p, began := l.process, time.Now()
	p.order("disk full")
	s, ok := p.wait(ctx, func(s step) bool { return s.what == "full" && s.at.After(began) })
	if ok {
		lasting(last)
	}
	p.order("disk free")
	return strike{l, p, s.at, time.Now()}, ok
}

// limitFiles sets how large the files may grow that the process writes, and returns what it was. It holds for root too.
func (l *loader) limitFiles(bytes uint64) uint64 {
	var old unix.Rlimit
	pid := l.process.PID()
	err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &old)
	if err == nil {
		err = unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: old.Max}, nil)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) { // gone already: the limit went with it
		l.t.Fatal(err)
	}
	return old.Cur
}

// clockJumps sets the wall clock of the process, and after a while sets it right again.
func (l *loader) clockJumps(r *round, by time.Duration) (strike, bool) {
	p := l.process
	return l.whileHeld(r, func() { p.order("clock %v", by) }, func() {
		lasting(between(r.rnd, time.Second, 4*time.Second))
		p.order("clock 0s")
	})
}
