package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/table"
)

// watched are tables whose trouble is told while commits are still being retried: from outside, a catalog that does not
// answer would look like a loader that does nothing.
type watched struct {
	tables Tables
	rec    *obs.Recorder
	log    *slog.Logger
	now    func() time.Time
	told   time.Time
	// database: it is a database that is asked, and not a catalog.
	database bool
	// trouble is what the last question ended with, "" when it was answered. Reading goes on meanwhile, so it is kept: the
	// next fetch must not call the pipeline well again.
	trouble string
}

// quiet is the time between two log lines about the same outage.
const quiet = 10 * time.Second

// Open implements Tables.
func (w *watched) Open(ctx context.Context, id table.Ident) (table.Store, error) {
	s, err := w.tables.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &watchedStore{s, w}, nil
}

type watchedStore struct {
	table.Store
	w *watched
}

// Load implements table.Store.
func (s *watchedStore) Load(ctx context.Context) (*table.Base, error) {
	b, err := s.Store.Load(ctx)
	s.w.tell(err)
	return b, err
}

// Swap implements table.Store.
func (s *watchedStore) Swap(ctx context.Context, base *table.Base, ch table.Change) error {
	err := s.Store.Swap(ctx, base, ch)
	s.w.tell(err)
	return err
}

// tell reports what is retried. That another writer was faster is no trouble, and what is not retried ends the loader.
func (w *watched) tell(err error) {
	if err == nil || !table.Passing(err) || errors.Is(err, table.ErrConflict) {
		w.trouble = ""
		return
	}
	w.trouble = "the " + w.what() + " cannot be asked: " + err.Error()
	w.rec.Waiting(w.trouble)
	if now := w.now(); now.Sub(w.told) >= quiet {
		w.told = now
		w.log.Warn("the "+w.what()+" cannot be asked; it is tried again", "error", err)
	}
}

func (w *watched) what() string {
	if w.database {
		return "database"
	}
	return "catalog"
}
