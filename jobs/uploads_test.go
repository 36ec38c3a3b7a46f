package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

type memUploads struct {
	mu    sync.Mutex
	list  map[string]time.Time
	ended []string
	fault error
}

func (m *memUploads) Unfinished(_ context.Context, prefix string) (all []objects.Unfinished, err error) {
	for uri, begun := range m.list {
		if strings.HasPrefix(uri, prefix) {
			all = append(all, objects.Unfinished{URI: uri, Begun: begun})
		}
	}
	return all, m.fault
}

func (m *memUploads) Abandon(_ context.Context, u objects.Unfinished) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = append(m.ended, u.URI)
	return m.fault
}

// Uploads that are old end, in the tables' folders only, and those of tables whose owner keeps everything do not.
func TestOldUploadsEnd(t *testing.T) {
	l, o := orphanLake(t)
	up := &memUploads{list: map[string]time.Time{
		"lake.t/data/old": began.Add(-73 * time.Hour), "lake.t/data/young": began.Add(-71 * time.Hour), "lake.t_dead/data/old": began.Add(-100 * time.Hour),
		"own/old": began.Add(-100 * time.Hour), "elsewhere/old": began.Add(-100 * time.Hour),
	}}
	o.Uploads, o.Delete = up, func(context.Context, []string) error { return nil }
	o.Folders = func(_ context.Context, tables []table.Ident) ([]string, error) {
		all := []string{"own/"}
		for _, id := range tables {
			all = append(all, id.String()+"/data/")
		}
		return all, nil
	}
	l.tables[dead].props["gc.enabled"] = "false"
	if plan, err := o.Plan(t.Context()); err != nil || len(plan.Uploads) != 2 || up.ended != nil {
		t.Fatalf("%+v, %v, ended %q", plan, err, up.ended)
	}
	plan, err := o.Run(t.Context())
	slices.Sort(up.ended)
	if want := []string{"lake.t/data/old", "own/old"}; err != nil || len(plan.Uploads) != 2 || !slices.Equal(up.ended, want) {
		t.Errorf("%+v, %v, ended %q", plan, err, up.ended)
	}
	up.fault = errors.New("access denied")
	if _, err := o.Run(t.Context()); !errors.Is(err, up.fault) {
		t.Errorf("%v", err)
	}
}
