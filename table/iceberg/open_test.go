package iceberg

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	icebergo "github.com/apache/iceberg-go"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/text.db", []byte(strings.Repeat("this is no database ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	local := configs.Warehouse{Location: dir}
	for name, c := range map[string]struct {
		cfg   configs.Catalog
		wh    configs.Warehouse
		want  string
		retry bool
	}{
		"unknown type":      {configs.Catalog{Type: "hive2"}, local, "catalog.type", false},
		"unwritable folder": {configs.Catalog{URI: "/proc/nowhere/catalog.db"}, local, "/proc/nowhere/catalog.db", false},
		"a folder":          {configs.Catalog{URI: dir}, local, "cannot be written", false},
		"no database":       {configs.Catalog{URI: dir + "/text.db"}, local, "no SQLite database", false},
		"no path":           {configs.Catalog{URI: "mysql://x"}, local, "catalog.uri", false},
		"sqlite and s3":     {configs.Catalog{}, configs.Warehouse{Location: "s3://b/p"}, "catalog.uri", false},
		"bad warehouse":     {configs.Catalog{}, configs.Warehouse{Location: "gs://b"}, "warehouse.location", false},
		"postgres URL":      {configs.Catalog{Type: "postgres", URI: "postgres://u:secret-word@h:port/"}, local, "catalog.uri", false},
		"postgres down":     {configs.Catalog{Type: "postgres", URI: "postgres://u:secret-word@127.0.0.1:1/db"}, local, "127.0.0.1:1", true},
		"rest URL":          {configs.Catalog{Type: "rest", URI: "nothing"}, local, "catalog.uri", false},
		"rest down":         {configs.Catalog{Type: "rest", URI: "http://127.0.0.1:1"}, local, "127.0.0.1:1", true},
		"glue retries":      {configs.Catalog{Type: "glue", Properties: map[string]string{"glue.max-retries": "x"}}, local, "glue.max-retries", false},
		"glue down":         {configs.Catalog{Type: "glue", URI: "http://127.0.0.1:1", Properties: map[string]string{"glue.max-retries": "1", "glue.access-key-id": "a", "glue.secret-access-key": "b"}}, local, "127.0.0.1:1", true},
	} {
		l, err := Open(t.Context(), c.cfg, c.wh)
		if err == nil {
			t.Errorf("%s: opened %v", name, l)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || errors.Is(err, table.ErrRetry) != c.retry || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSQLitePaths(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{"": "/lake/catalog.db", "/a/c.db": "/a/c.db", "c.db": wd + "/c.db", "file:///a/c.db": "/a/c.db", "sqlite:////a/c.db": "/a/c.db", "sqlite:///c.db": wd + "/c.db"} {
		if got, err := sqlitePath(uri, "file:///lake"); err != nil || got != want {
			t.Errorf("%q: %q, %v", uri, got, err)
		}
	}
}

// A commit that finds the catalog locked did not land, and says so.
func TestSQLiteLocked(t *testing.T) {
	dir := t.TempDir()
	l := &lake{}
	if err := l.openSQLiteFile(t.Context(), "c", dir+"/my catalog#1.db", 20*time.Millisecond, icebergo.Properties{"warehouse": "file://" + dir}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	id := table.Ident{Namespace: "n", Name: "t"}
	if _, err := l.Ensure(t.Context(), table.Def{Ident: id, Row: smallRow()}); err != nil {
		t.Fatal(err)
	}
	s, err := l.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", "file:"+dir+"/my%20catalog%231.db?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ch := table.Change{Snapshot: true, Props: func(int64) map[string]string { return map[string]string{table.Prefix + "a": "1"} }}
	if err := s.Swap(t.Context(), base, ch); !errors.Is(err, table.ErrRetry) || errors.Is(err, table.ErrUnknown) {
		t.Fatalf("locked: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if now, err := s.Load(t.Context()); err != nil || now.Snapshot != 0 || now.Props[table.Prefix+"a"] != "" {
		t.Fatalf("it landed: %+v, %v", now, err)
	}
	if err := s.Swap(t.Context(), base, ch); err != nil {
		t.Fatalf("the same change, once the lock is gone: %v", err)
	}
}

// A full or read-only disk is not taken for a network error, which would be tried again for ever.
func TestDiskErrorsAreNotPassing(t *testing.T) {
	for _, e := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EACCES, syscall.ENOENT} {
		if err := passing(&fs.PathError{Op: "write", Path: "x.metadata.json", Err: e}); table.Passing(err) || !errors.Is(err, e) {
			t.Errorf("%v: %v", e, err)
		}
	}
	for _, e := range []error{syscall.ECONNRESET, syscall.ECONNREFUSED, os.ErrDeadlineExceeded, io.ErrUnexpectedEOF, &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, &net.DNSError{Err: "no such host"}} {
		if err := passing(fmt.Errorf("read: %w", e)); !errors.Is(err, table.ErrRetry) {
			t.Errorf("%v: %v", e, err)
		}
	}
}
