package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/table"
)

// troubledStore answers with the next error of a list.
type troubledStore struct{ errs []error }

func (s *troubledStore) Open(context.Context, table.Ident) (table.Store, error) { return s, nil }

func (s *troubledStore) Load(context.Context) (*table.Base, error) { return &table.Base{}, nil }

func (s *troubledStore) Swap(context.Context, *table.Base, table.Change) error {
	err := s.errs[0]
	s.errs = s.errs[1:]
	return err
}

// A catalog that does not answer shows while the commit is retried, and in the log once in a while; a lost race does not.
func TestCatalogTroubleShows(t *testing.T) {
	now := time.Unix(0, 0)
	rec := obs.NewState("", nil).Pipeline("p", "t", time.Minute)
	rec.Running()
	var log bytes.Buffer
	away := fmt.Errorf("%w: nobody listens", table.ErrRetry)
	w := &watched{tables: &troubledStore{[]error{table.ErrConflict, away, away, nil}}, rec: rec, log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now }}
	s, err := w.Open(t.Context(), table.Ident{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []obs.Phase{obs.Running, obs.Waiting, obs.Waiting} {
		now = now.Add(quiet / 2)
		if err := s.Swap(t.Context(), nil, table.Change{}); err == nil {
			t.Fatal("the store's error is lost")
		}
		if st := rec.Status(); st.Phase != want || want == obs.Waiting && !strings.Contains(st.Reason, "nobody listens") {
			t.Errorf("attempt %d: %s: %s", i, st.Phase, st.Reason)
		}
	}
	if n := strings.Count(log.String(), "nobody listens"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
	if err := s.Swap(t.Context(), nil, table.Change{}); err != nil || errors.Is(err, table.ErrRetry) {
		t.Errorf("the swap that landed: %v", err)
	}
}
