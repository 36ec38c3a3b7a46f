package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// LettersOf looks into the files of a pipeline's dead-letter table; nil: there is none. unread gives what could not be read so far; nil: all
// could.
func LettersOf(ctx context.Context, cfg *configs.Pipeline, d Deps, keys []forget.Key, rule LetterRule) (l *forget.Letters, unread func() *forget.Unread, err error) {
	r, err := newLetterReader(ctx, d)
	if errors.Is(err, table.ErrNoTable) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	search := newLetterSearch(cfg, d, keys)
	l = &forget.Letters{Persons: search.persons, Sure: rule == LettersIgnore}
	for _, f := range r.row.Fields {
		if f.Name == letterKey || f.Name == letterValue {
			l.Binary = append(l.Binary, f.ID)
		}
	}
	l.Read = func(ctx context.Context, store objects.Store, path string, size int64, each func(m forget.Mention, unread bool)) error {
		own, all := *r, AnyLetter()
		own.d.Objects = store
		return own.file(ctx, table.File{Path: path, Size: size}, nil, &all, func(c letterColumns, b *batch.Batch, rows []int32) error {
			for _, row := range rows {
				m, unread, err := search.mentioned(ctx, c, b, int(row))
				if err != nil {
					return err
				}
				each(m, unread)
			}
			return nil
		})
	}
	return l, func() *forget.Unread { return search.unread }, nil
}

// RoundsHolding are round objects that name files with bounds of columns that may be values of the persons. Rounds are folded when they are
// older than FoldAge, and their objects removed as much later.
func RoundsHolding(ctx context.Context, cfg *configs.Pipeline, d Deps, looks map[table.Ident]forget.Looks) (out []forget.Holder, err error) {
	o := &RoundObjects{Store: d.Objects, Root: d.Root, Pipeline: cfg.Name}
	byTable, err := o.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the rounds of pipeline %s: %w", cfg.Name, err)
	}
	for uuid, rounds := range byTable {
		for id, info := range rounds {
			r, err := o.Round(ctx, uuid, id)
			if errors.Is(err, objects.ErrNotFound) {
				continue // it has just been folded
			}
			if err != nil {
				return nil, fmt.Errorf("reading the object of round %s: %w", id, err)
			}
			if t, f := r.bounded(looks); f != nil {
				out = append(out, forget.Holder{Table: t.String(), URI: info.URI, Until: info.Modified.Add(2 * FoldAge),
					Why: fmt.Sprintf("this round's object names %s, with bounds of columns that may be the person's values; job fold removes it about two days after the round", path.Base(f.Path))})
			}
		}
	}
	return out, nil
}

// bounded finds a file of the round with bounds that may be values of persons.
func (r *Round) bounded(looks map[table.Ident]forget.Looks) (table.Ident, *table.File) {
	for _, t := range r.Tables {
		if l := looks[t.Table]; l != nil {
			for i := range t.Files {
				if l.Bounds(&t.Files[i]) {
					return t.Table, &t.Files[i]
				}
			}
		}
	}
	return table.Ident{}, nil
}
