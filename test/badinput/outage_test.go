//go:build stack

package badinput

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // to lock a catalog

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// S3 goes away in the middle of a run: what is read waits, and everything is there exactly once afterwards.
func TestS3GoesAway(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s3 := strings.TrimPrefix(stacktest.S3(t), "http://")
	p := stacktest.NewProxy(t, s3)
	s.inS3("http://"+p.Addr(), stacktest.NewBucket(t))
	s.produce(0, 50)
	d := s.start()
	d.until(func(p obs.PipelineStatus) bool { return p.Rows == 50 })
	p.SetCut(true)
	s.produce(50, 100)
	d.troubled(obs.Failing, "http://"+p.Addr(), "s3://")
	s.produce(100, 150)
	p.SetCut(false)
	d.loaded(150, 0)
}

func TestS3StopsWhileItIsAway(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	p := stacktest.NewProxy(t, strings.TrimPrefix(stacktest.S3(t), "http://"))
	s.inS3("http://"+p.Addr(), stacktest.NewBucket(t))
	s.more = "shutdown_timeout: 2s"
	s.produce(0, 50)
	d := s.start()
	d.until(func(p obs.PipelineStatus) bool { return p.Rows == 50 })
	p.SetCut(true)
	s.produce(50, 100)
	d.until(func(p obs.PipelineStatus) bool { return p.Records >= 100 })
	if code := d.Stop(); code != exitDeadline {
		t.Errorf("exit code %d, want %d", code, exitDeadline)
	}
	says(t, d.Log(), "the shutdown took longer than shutdown_timeout (2s)", "read again at the next start")
	p.SetCut(false)
	s.start().loaded(100, 0)
}

func TestPostgresGoesAway(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	u, err := url.Parse(stacktest.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	s.reader.Catalog, s.reader.URI = "postgres", u.String()
	p := stacktest.NewProxy(t, u.Host)
	u.Host = p.Addr()
	s.catalog = fmt.Sprintf("{type: postgres, uri: %q}", u)
	catalogGoesAway(s, p, "catalog postgres "+p.Addr())
}

func TestRESTCatalogGoesAway(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.inS3(stacktest.S3(t), stacktest.NewBucket(t))
	u, err := url.Parse(stacktest.REST(t))
	if err != nil {
		t.Fatal(err)
	}
	namespace := strings.ReplaceAll(stacktest.Name("ns"), "-", "_")
	s.reader.Catalog, s.reader.URI, s.reader.Table = "rest", u.String(), namespace+".events"
	p := stacktest.NewProxy(t, u.Host)
	u.Host = p.Addr()
	s.catalog = fmt.Sprintf("{type: rest, uri: %q, namespace: %s}", u, namespace)
	catalogGoesAway(s, p, "catalog rest http://"+p.Addr())
}

func catalogGoesAway(s *system, p *stacktest.Proxy, where string) {
	s.t.Helper()
	s.produce(0, 50)
	d := s.start()
	d.until(func(p obs.PipelineStatus) bool { return p.Rows == 50 })
	p.SetCut(true)
	s.produce(50, 100)
	d.troubled(obs.Waiting, "the catalog cannot be asked", where)
	d.WaitLog(`"level":"WARN"`, "the catalog cannot be asked", where)
	p.SetCut(false)
	s.produce(100, 150)
	d.loaded(150, 0)
}

// Another program holds the lock of the SQLite catalog for a while.
func TestLockedCatalog(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 50)
	d := s.start()
	d.until(func(p obs.PipelineStatus) bool { return p.Rows == 50 })
	unlock := lock(t, filepath.Join(s.dir, "lake", "catalog.db"))
	s.produce(50, 100)
	began := time.Now()
	d.until(func(p obs.PipelineStatus) bool {
		return p.Records >= 100 && p.UnpublishedRows == 50 && time.Since(began) > 5*time.Second
	})
	unlock()
	d.loaded(100, 0)
	if strings.Contains(d.Log(), `"level":"ERROR"`) {
		t.Errorf("a lock of some seconds is an error:\n%s", d.Log())
	}
}

func TestCatalogLockedAtStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	s.catalog = "{type: sqlite, uri: ./catalog.db}"
	s.reader.URI = filepath.Join(s.dir, "catalog.db")
	unlock := lock(t, s.reader.URI)
	s.refused(exitUnreachable, "catalog", s.reader.URI, "database is locked")
	unlock()
	s.start().loaded(10, 0)
}

// lock holds the write lock of a SQLite file until it is told not to.
func lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		_, err := conn.ExecContext(context.Background(), "ROLLBACK")
		if err := errors.Join(err, conn.Close(), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// The disk takes no more data in the middle of a run. The daemon's limit of file sizes stands for it: it can be lifted
// again, and holds for root too.
func TestDiskTakesNoMore(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 50)
	d := s.start()
	d.until(func(p obs.PipelineStatus) bool { return p.Rows == 50 })
	before := d.limitFiles(0)
	s.produce(50, 100)
	d.troubled(obs.Failing, "file too large", filepath.Join(s.dir, "lake"))
	d.limitFiles(before)
	d.loaded(100, 0)
}

// limitFiles sets how large the files may grow that the daemon writes, and returns what it was.
func (d *daemon) limitFiles(bytes uint64) uint64 {
	d.s.t.Helper()
	old := unix.Rlimit{}
	pid := d.PID()
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &old); err != nil {
		d.s.t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: old.Max}, nil); err != nil {
		d.s.t.Fatal(err)
	}
	return old.Cur
}
