package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/table"
)

// Handover leaves compaction to another engine: it plans from metadata as a Compactor does, asks the engine where there is something
// to do, and looks in the metadata for what came of it. The engine commits by itself, as one that knows nothing of lakeloader: it
// takes files out and puts their rows into others, so no offset moves, and loaders go on meanwhile.
type Handover struct {
	Tables Histories
	Plan   func(ctx context.Context, id table.Ident) (*Compaction, error)
	// Optimize has the engine put small files of a table into larger ones, and returns at its end.
	Optimize func(ctx context.Context, id table.Ident) error
}

// Histories are tables with what happened to their rows.
type Histories interface {
	Tables
	Changed(ctx context.Context, id table.Ident, since, until int64) (*table.Changes, error)
}

// Handed is what an engine did to a table.
type Handed struct {
	Table   table.Ident
	Planned *Compaction // what lakeloader itself would merge
	// Replaced are files that the engine took out, and Output those that it put in, as far as other changes meanwhile tell.
	Replaced, Output int
	Bytes            int64 // of those that were replaced
	Files            int   // that the table has now
}

// Run asks the engine, if there is something to do. What it did before an error stays done, and is told as well.
func (h *Handover) Run(ctx context.Context, id table.Ident) (*Handed, error) {
	done := &Handed{Table: id}
	var err error
	if done.Planned, err = h.Plan(ctx, id); err != nil || done.Planned.Merges == 0 {
		return done, err
	}
	since, before, err := h.files(ctx, id)
	if err != nil {
		return done, err
	}
	err = h.Optimize(ctx, id)
	return done, errors.Join(err, h.look(ctx, done, since, before))
}

// files are those of main, by path.
func (h *Handover) files(ctx context.Context, id table.Ident) (snapshot int64, files map[string]table.File, err error) {
	s, err := h.Tables.Open(ctx, id)
	if err != nil {
		return 0, nil, fmt.Errorf("opening table %s: %w", id, err)
	}
	base, err := s.Load(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("reading table %s: %w", id, err)
	}
	list, _, err := h.Tables.Files(ctx, id, base.Snapshot)
	if err != nil {
		return 0, nil, fmt.Errorf("listing the files of table %s: %w", id, err)
	}
	files = make(map[string]table.File, len(list))
	for _, f := range list {
		files[f.Path] = f
	}
	return base.Snapshot, files, nil
}

// look compares the table with what it was before. What Changed tells, which leaves rewrites out, others did.
func (h *Handover) look(ctx context.Context, done *Handed, since int64, before map[string]table.File) error {
	until, after, err := h.files(ctx, done.Table)
	if err != nil {
		return err
	}
	done.Files = len(after)
	if until == since {
		return nil
	}
	others, err := h.Tables.Changed(ctx, done.Table, since, until)
	if err != nil {
		return fmt.Errorf("asking what else happened to table %s: %w", done.Table, err)
	}
	theirs := map[string]bool{}
	for _, f := range others.Files {
		theirs[f.Path] = true
	}
	for path, f := range before {
		if _, there := after[path]; !there && !theirs[path] {
			done.Replaced, done.Bytes = done.Replaced+1, done.Bytes+f.Size
		}
	}
	for path := range after {
		if _, was := before[path]; !was && !theirs[path] {
			done.Output++
		}
	}
	return nil
}
