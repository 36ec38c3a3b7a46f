package jobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// HistoryTables are where the history's table is. A table.Catalog is.
type HistoryTables interface {
	Info(ctx context.Context, id table.Ident) (table.Info, error)
	Ensure(ctx context.Context, def table.Def) (table.Info, error)
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
}

// History moves what is known of ended runs from an outbox, where Leases post it, into a table.
//
// Every ended run is one object in the outbox under a name that is never used again, before the run is noted in its lease's
// log. The swap that adds the rows of some objects writes their names into the table's properties. Invariant: an object in
// the outbox is in the table if and only if the properties name it. Hence
//
//   - an object is deleted only when the properties, as they were read, name it;
//   - a swap replaces the names by its own, and so must have seen the named objects deleted: an attempt reads the table first,
//     then lists, and deletes what is named before it goes on. Whatever it finds besides was not in the table when that was
//     read, and if it is by now, the swap finds other properties than those that were read.
//
// So a run is neither lost nor doubled wherever a process is killed, and however many of them do this at once.
type History struct {
	Tables HistoryTables
	Table  table.Ident
	Store  objects.Store
	Outbox string // as in Leases
	// Write makes durable data files of runs, for the table as it is.
	Write func(ctx context.Context, info table.Info, runs []Ended) ([]table.File, error)
	Now   func() time.Time
	Wait  table.Wait
	// Keep is how long runs stay in the table, by whole months; 0: for ever.
	Keep time.Duration
	// OrphanAge is the age at which a file that no table knows may be deleted.
	OrphanAge time.Duration
}

// Ended is a run as it lies in the outbox.
type Ended struct {
	Name string // of its object, without .json
	Record
}

// HistoryMove is what was moved, or would be.
type HistoryMove struct {
	Table   table.Ident
	Runs    int // into the table
	Dropped int // files of runs that are too old
}

const (
	// takenAtOnce is how many runs a commit takes; their names go into properties of takenInOne names each, since some catalogs
	// cut values of more than 4,000 bytes.
	takenAtOnce = 20 * takenInOne
	takenInOne  = 150
	takenKey    = table.Prefix + "history.taken."
	readAtOnce  = 16 // objects
)

var endedName = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{12}$`)

// post puts an ended run into the outbox.
func (l *Leases) post(ctx context.Context, rec Record) error {
	if l.Outbox == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.TTL)
	defer cancel()
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	var id [6]byte
	rand.Read(id[:])
	uri := fmt.Sprintf("%s/%08x-%s.json", l.Outbox, uint32(rec.Ended.Unix()), hex.EncodeToString(id[:]))
	if err := l.Store.Put(ctx, uri, data); err != nil {
		return fmt.Errorf("noting the end of job %s on %s for the table of runs: %w", rec.Job, rec.Target, err)
	}
	return nil
}

// Plan says what a run would do now.
func (h *History) Plan(ctx context.Context) (*HistoryMove, error) {
	m := &HistoryMove{Table: h.Table}
	base, err := h.load(ctx)
	if err != nil {
		return nil, err
	}
	names, err := h.list(ctx)
	if err != nil {
		return nil, err
	}
	if base == nil {
		m.Runs = len(names)
		return m, nil
	}
	taken := takenIn(base.Props)
	for _, n := range names {
		if !taken[n] {
			m.Runs++
		}
	}
	old, err := h.old(ctx, base)
	m.Dropped = len(old)
	return m, err
}

// load reads the table; nil: there is none yet.
func (h *History) load(ctx context.Context) (*table.Base, error) {
	s, err := h.Tables.Open(ctx, h.Table)
	if errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening table %s: %w", h.Table, err)
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", h.Table, err)
	}
	return base, nil
}

// Run moves all that there is, and drops what is too old. The table is made when the first run is to go there.
func (h *History) Run(ctx context.Context) (*HistoryMove, error) {
	m := &HistoryMove{Table: h.Table}
	names, err := h.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		if _, err := h.Tables.Ensure(ctx, historyDef(h.Table)); err != nil {
			return nil, fmt.Errorf("preparing table %s: %w", h.Table, err)
		}
	}
	for range len(names)/takenAtOnce + 1 { // what comes meanwhile is for the next run
		if len(names) == 0 {
			break
		}
		n, err := h.move(ctx)
		m.Runs += n
		if err != nil {
			return m, fmt.Errorf("moving ended runs into table %s: %w", h.Table, err)
		}
	}
	if m.Dropped, err = h.drop(ctx); err != nil {
		return m, fmt.Errorf("dropping old runs from table %s: %w", h.Table, err)
	}
	return m, nil
}

// list reads the names in the outbox, the oldest runs first.
func (h *History) list(ctx context.Context) ([]string, error) {
	list, err := h.Store.List(ctx, h.Outbox+"/")
	if err != nil {
		return nil, fmt.Errorf("listing the ended runs: %w", err)
	}
	names := make([]string, len(list))
	for i, o := range list {
		name, ok := strings.CutSuffix(path.Base(o.URI), ".json")
		if !ok || !endedName.MatchString(name) || o.URI != h.uri(name) {
			return nil, fmt.Errorf("among the ended runs is an object that is not lakeloader's; move it away: %s", o.URI)
		}
		names[i] = name
	}
	slices.Sort(names)
	return names, nil
}

func (h *History) uri(name string) string { return h.Outbox + "/" + name + ".json" }

// staged is what an attempt has written, to be used again by the next one if the runs are the same.
type staged struct {
	names []string
	files []table.File
}

// move takes up to takenAtOnce runs into the table, and their objects away. It says how many it took.
func (h *History) move(ctx context.Context) (int, error) {
	s, err := h.Tables.Open(ctx, h.Table)
	if err != nil {
		return 0, err
	}
	var st staged
	var landed bool
	err = table.Commit(ctx, s, h.Wait, func(base *table.Base) (table.Change, bool, error) {
		fresh, taken, err := h.tidy(ctx, base)
		if err != nil {
			return table.Change{}, false, err
		}
		// An attempt whose reply was lost; or others took the same. Where they took some of them, they did not take all.
		landed = len(st.names) > 0 && !slices.ContainsFunc(st.names, func(n string) bool { return !taken[n] })
		if landed || len(fresh) == 0 {
			return table.Change{}, true, nil
		}
		if err := h.stage(ctx, fresh[:min(len(fresh), takenAtOnce)], &st); err != nil || len(st.names) == 0 {
			return table.Change{}, true, err
		}
		props := takenProps(st.names)
		ch := table.Change{Add: st.files, Snapshot: true, Props: func(int64) map[string]string { return props }, Summary: map[string]string{table.Prefix + "job": "history"}}
		for key := range base.Props {
			if _, again := props[key]; strings.HasPrefix(key, takenKey) && !again {
				ch.Unset = append(ch.Unset, key)
			}
		}
		landed = true // if Commit returns nil
		return ch, false, nil
	})
	if err != nil || !landed {
		return 0, err
	}
	if err := h.remove(ctx, st.names); err != nil {
		return len(st.names), fmt.Errorf("the runs are in the table, and what stays in the outbox goes at the next run: %w", err)
	}
	return len(st.names), nil
}

// tidy deletes the objects that are in the table, and returns the others. They are listed after base was read.
func (h *History) tidy(ctx context.Context, base *table.Base) (fresh []string, taken map[string]bool, err error) {
	names, err := h.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	taken = takenIn(base.Props)
	var done []string
	for _, n := range names {
		if taken[n] {
			done = append(done, n)
		} else {
			fresh = append(fresh, n)
		}
	}
	return fresh, taken, h.remove(ctx, done)
}

func (h *History) remove(ctx context.Context, names []string) error {
	uris := make([]string, len(names))
	for i, n := range names {
		uris[i] = h.uri(n)
	}
	return objects.DeleteAll(ctx, h.Store, uris)
}

// stage writes the files of some runs, unless those at hand are of the same and not so old that they may be gone as orphans.
func (h *History) stage(ctx context.Context, names []string, st *staged) error {
	aged := slices.ContainsFunc(st.files, func(f table.File) bool {
		return h.Now().Sub(time.UnixMilli(f.CreatedMS)) > h.OrphanAge/2
	})
	if slices.Equal(names, st.names) && !aged {
		return nil
	}
	*st = staged{}
	runs, err := h.read(ctx, names)
	if err != nil || len(runs) == 0 {
		return err
	}
	info, err := h.Tables.Info(ctx, h.Table)
	if err != nil {
		return err
	}
	if st.files, err = h.Write(ctx, info, runs); err != nil {
		return err
	}
	for _, r := range runs {
		st.names = append(st.names, r.Name)
	}
	return nil
}

// read reads objects. One that is gone was taken by another process meanwhile, whose swap ours will meet.
func (h *History) read(ctx context.Context, names []string) ([]Ended, error) {
	all := make([]Ended, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readAtOnce)
	for i, n := range names {
		g.Go(func() error {
			data, err := objects.Read(ctx, h.Store, h.uri(n))
			if errors.Is(err, objects.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := json.Unmarshal(data, &all[i].Record); err != nil {
				return fmt.Errorf("%s is no record of a run; move it away: %w", h.uri(n), err)
			}
			all[i].Name = n
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(e Ended) bool { return e.Name == "" }), nil
}

// takenIn are the names in a table's properties.
func takenIn(props map[string]string) map[string]bool {
	taken := map[string]bool{}
	for key, value := range props {
		if strings.HasPrefix(key, takenKey) {
			for name := range strings.SplitSeq(value, ",") {
				taken[name] = true
			}
		}
	}
	return taken
}

func takenProps(names []string) map[string]string {
	props := map[string]string{}
	for part := range slices.Chunk(names, takenInOne) {
		props[takenKey+strconv.Itoa(len(props))] = strings.Join(part, ",")
	}
	return props
}

// drop removes the files all of whose runs began before the month in which Keep ends, so that it has something to do once a
// month. The objects go when their snapshots expire.
func (h *History) drop(ctx context.Context) (int, error) {
	base, err := h.load(ctx)
	if err != nil || base == nil {
		return 0, err
	}
	if old, err := h.old(ctx, base); err != nil || len(old) == 0 {
		return 0, err
	}
	s, err := h.Tables.Open(ctx, h.Table)
	if err != nil {
		return 0, err
	}
	dropped := map[string]bool{}
	err = table.Commit(ctx, s, h.Wait, func(base *table.Base) (table.Change, bool, error) {
		old, err := h.old(ctx, base)
		if err != nil || len(old) == 0 {
			return table.Change{}, true, err
		}
		for _, f := range old {
			dropped[f] = true
		}
		return table.Change{Remove: old, Seen: base.Snapshot, Snapshot: true, Summary: map[string]string{table.Prefix + "job": "history"}}, false, nil
	})
	if err != nil {
		return 0, err
	}
	return len(slices.Collect(maps.Keys(dropped))), nil
}

func (h *History) old(ctx context.Context, base *table.Base) ([]string, error) {
	if h.Keep <= 0 || base.Snapshot == 0 {
		return nil, nil
	}
	info, err := h.Tables.Info(ctx, h.Table)
	if err != nil {
		return nil, err
	}
	files, _, err := h.Tables.Files(ctx, h.Table, base.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("listing the files of table %s: %w", h.Table, err)
	}
	keep := h.Now().UTC().Add(-h.Keep)
	return startedBefore(info, files, time.Date(keep.Year(), keep.Month(), 1, 0, 0, 0, 0, time.UTC)), nil
}
