package jobs

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/table"
)

// told is a lake whose history is known.
type told struct {
	*lake
	changes *table.Changes
}

func (l told) Changed(context.Context, table.Ident, int64, int64) (*table.Changes, error) {
	return l.changes, nil
}

func TestHandover(t *testing.T) {
	merges := func(n int) func(context.Context, table.Ident) (*Compaction, error) {
		return func(context.Context, table.Ident) (*Compaction, error) { return &Compaction{Merges: n, Files: 3}, nil }
	}
	start := func() told {
		l := newLake()
		l.tables[primary].commit([]string{"a", "b", "c", "d"}, nil)
		l.described = map[string]table.File{"a": {Size: 1}, "b": {Size: 2}, "c": {Size: 4}, "d": {Size: 8}}
		return told{l, &table.Changes{}}
	}
	t.Run("what came of it, beside a loader and a purge", func(t *testing.T) {
		l := start()
		h := &Handover{Tables: l, Plan: merges(1), Optimize: func(context.Context, table.Ident) error {
			l.tables[primary].commit([]string{"d", "ab", "loaded"}, nil)
			l.changes.Files = []table.FileChange{{File: table.File{Path: "loaded"}}, {File: table.File{Path: "c"}, Removed: true}}
			return nil
		}}
		x, err := h.Run(t.Context(), primary)
		if err != nil || x.Replaced != 2 || x.Bytes != 3 || x.Output != 1 || x.Files != 3 {
			t.Errorf("%+v, %v", x, err)
		}
	})
	t.Run("nothing to do", func(t *testing.T) {
		h := &Handover{Tables: start(), Plan: merges(0), Optimize: func(context.Context, table.Ident) error { return errors.New("it was asked") }}
		if x, err := h.Run(t.Context(), primary); err != nil || x.Replaced != 0 || x.Planned.Merges != 0 {
			t.Errorf("%+v, %v", x, err)
		}
	})
	t.Run("a part was done", func(t *testing.T) {
		l := start()
		h := &Handover{Tables: l, Plan: merges(2), Optimize: func(context.Context, table.Ident) error {
			l.tables[primary].commit([]string{"c", "d", "ab"}, nil)
			return errors.New("it ran out of memory")
		}}
		x, err := h.Run(t.Context(), primary)
		if err == nil || !strings.Contains(err.Error(), "ran out of memory") || x.Replaced != 2 || x.Output != 1 {
			t.Errorf("%+v, %v", x, err)
		}
	})
	t.Run("the engine left it", func(t *testing.T) {
		h := &Handover{Tables: start(), Plan: merges(2), Optimize: func(context.Context, table.Ident) error { return nil }}
		if x, err := h.Run(t.Context(), primary); err != nil || x.Replaced != 0 || x.Output != 0 || x.Files != 4 {
			t.Errorf("%+v, %v", x, err)
		}
	})
}
