package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// expiring has a table with five snapshots, of one hour each, in which files took the place of others, and a move in the
// fourth.
func expiring(t *testing.T) (*lake, *Expirer, *[]string) {
	t.Helper()
	l := newLake()
	main := l.tables[primary]
	for n, files := range [][]string{{"a"}, {"a", "b"}, {"ab"}, {"ab", "c"}, {"abc"}} {
		main.commit(files, nil)
		main.at[main.main] = began.Add(time.Duration(n-10) * time.Hour)
	}
	led := table.Ledger{Number: 1, CommitID: "c", Records: map[table.Key]table.Record{{Topic: "t"}: {Next: 3}}, Move: 4}
	main.props, _ = led.Properties("p", nil)
	deleted := &[]string{}
	return l, &Expirer{Tables: l, Now: func() time.Time { return l.now }, Wait: noWait, Age: time.Hour, Last: 1,
		Delete: func(_ context.Context, uris []string) error {
			*deleted = append(*deleted, uris...)
			return l.call("delete")
		}}, deleted
}

func TestExpire(t *testing.T) {
	const all = "a b manifest1 manifest2 manifest3"
	for name, c := range map[string]struct {
		before  func(l *lake, call string) error
		want    error
		says    string
		deleted string
		left    int
	}{
		"lands": {func(*lake, string) error { return nil }, nil, "", all, 2},
		"a loader commits meanwhile": {once("swap t", func(l *lake) error {
			l.tables[primary].commit([]string{"abc", "a2"}, nil)
			return nil
		}), nil, "", all, 3},
		"the reply is lost": {once("swap t", func(*lake) error { return errLanded }), nil, "", all, 2},
		"it never lands": {func(_ *lake, call string) error {
			if call == "swap t" {
				return table.ErrRetry
			}
			return nil
		}, table.ErrRetry, "gave up", "", 5},
		"the table is rolled back meanwhile": {once("swap t", func(l *lake) error {
			l.tables[primary].main = 3
			return table.ErrConflict
		}), ErrRolledBack, "roll forward", "", 5},
		"the table cannot be read again": {func(l *lake, call string) error {
			if call == "released" {
				return errors.New("access denied")
			}
			return nil
		}, nil, "3 snapshots of lake.t are expired; files that only they had are left", "", 2},
		"files cannot be deleted": {func(_ *lake, call string) error {
			if call == "delete" {
				return errors.New("access denied")
			}
			return nil
		}, nil, "files that only they had are left", all, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l, e, deleted := expiring(t)
			l.before = func(call string) error { return c.before(l, call) }
			done, err := e.Run(t.Context(), primary)
			if (err == nil) != (c.want == nil && c.says == "") || c.want != nil && !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %v saying %q", err, c.want, c.says)
			}
			if got := strings.Join(*deleted, " "); got != c.deleted {
				t.Errorf("deleted %q, want %q", got, c.deleted)
			}
			if n := len(l.tables[primary].parents); n != c.left {
				t.Errorf("%d snapshots are left, want %d", n, c.left)
			}
			if err == nil && (done.Snapshots != 5 || !slices.Equal(done.Expired, []int64{1, 2, 3}) || done.Deleted != 5) {
				t.Errorf("%+v", done)
			}
		})
	}
}

func TestNothingToExpire(t *testing.T) {
	l, e, deleted := expiring(t)
	e.Age = 24 * time.Hour
	done, err := e.Run(t.Context(), primary)
	if err != nil || len(done.Expired) != 0 || len(*deleted) != 0 || fmt.Sprint(l.calls) != "[load t]" {
		t.Errorf("%+v, %v, deleted %v, calls %v", done, err, *deleted, l.calls)
	}
	if _, err := e.Run(t.Context(), table.Ident{Name: "none"}); !errors.Is(err, table.ErrNoTable) {
		t.Errorf("no table: %v", err)
	}
}
