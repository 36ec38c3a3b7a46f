// Package enrich joins rows with lookups: tables in memory that are found by key. It does no I/O; package lookups fills the tables.
package enrich

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/localdb"
)

// Lookup is a table that pipelines join their rows with. Whoever fills it changes it as a whole, or in steps each of which makes
// a version of its own; a batch sees one version of every lookup. It is safe for concurrent use.
//
// Until it is ready nothing is joined with it: it has not caught up yet with where it stood when the process began. Once ready, it
// stays so, unless the disk that its rows are on fails. What else goes wrong later is told by Status, and rows are joined with the
// last version that was good.
type Lookup struct {
	cfg  *configs.Lookup
	now  func() time.Time
	disk localdb.Options

	mu      sync.RWMutex
	row     *batch.Type // what is kept of a row; nil: not known yet
	table   *Table      // nil: nothing yet
	version string
	status  Status
	changed chan struct{} // closed when something has changed
}

// Status is the state of a lookup.
type Status struct {
	Ready bool
	// Waits says what it waits for, while it is not ready.
	Waits   string
	Version string
	Rows    int
	Bytes   int64
	// Updated is when the version became what it is; Checked when it was last known to be the newest.
	Updated, Checked time.Time
	// Trouble is why it may be stale; "": it is not.
	Trouble string
	Since   time.Time // of the trouble
	// Skipped are rows that could not be taken, since the process began.
	Skipped int64
	// LastSkip says why the last one was not.
	LastSkip string
}

// New returns a lookup that is not ready.
func New(cfg *configs.Lookup, now func() time.Time) *Lookup {
	return &Lookup{cfg: cfg, now: now, changed: make(chan struct{}), status: Status{Waits: "it is not loaded yet"}}
}

// Disk says what file system rows go to that do not fit into memory, and how much it has left: for tests. It is said before Empty.
func (l *Lookup) Disk(o localdb.Options) { l.disk = o }

// Name is that of the configuration.
func (l *Lookup) Name() string { return l.cfg.Name }

// Config is the lookup's part of the configuration.
func (l *Lookup) Config() *configs.Lookup { return l.cfg }

// Row is what is kept of a row: the key, what may be joined, and the time of versions. nil: it is not known yet.
func (l *Lookup) Row() *batch.Type {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.row
}

// Kept chooses from the columns of rows those that the lookup keeps, by its configuration.
func Kept(cfg *configs.Lookup, row *batch.Type) (*batch.Type, error) {
	wanted := slices.Clone(cfg.Key)
	if len(cfg.Columns) == 0 {
		for _, f := range row.Fields {
			if !slices.Contains(cfg.Key, f.Name) {
				wanted = append(wanted, f.Name)
			}
		}
	}
	wanted = append(wanted, cfg.Columns...)
	if v := cfg.Versions; v != nil {
		wanted = append(wanted, v.By)
	}
	kept := batch.StructOf()
	for _, name := range wanted {
		if kept.Index(name) >= 0 {
			continue
		}
		at := row.Index(name)
		if at < 0 {
			return nil, fmt.Errorf("lookup %s: there is no column %q; columns are: %s", cfg.Name, name, names(row))
		}
		f := row.Fields[at]
		if f.Type.Nested() {
			return nil, fmt.Errorf("lookup %s: column %s is a %s, and a lookup keeps single values only: name those to keep in columns, or derive some of its parts with cleanse", cfg.Name, name, f.Type.Kind)
		}
		kept.Fields = append(kept.Fields, batch.Field{Name: f.Name, Type: f.Type, Doc: f.Doc})
	}
	return kept, nil
}

// Define says what the columns of the rows are. It fails where they are no longer those of before: pipelines' tables have been made
// by them.
func (l *Lookup) Define(row *batch.Type) error {
	kept, err := Kept(l.cfg, row)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.row == nil {
		if _, err := NewTable(l.shape(kept, l.cfg.Topic != nil)); err != nil {
			return fmt.Errorf("lookup %s: %w", l.cfg.Name, err)
		}
		l.row = kept
		l.touch()
		return nil
	}
	for _, f := range l.row.Fields {
		switch at := kept.Index(f.Name); {
		case at < 0:
			return fmt.Errorf("lookup %s: column %s is gone", l.cfg.Name, f.Name)
		case !kept.Fields[at].Type.Equal(f.Type):
			return fmt.Errorf("lookup %s: column %s was a %s and is a %s now: restart the process to take it", l.cfg.Name, f.Name, f.Type, kept.Fields[at].Type)
		}
	}
	return nil
}

func (l *Lookup) shape(row *batch.Type, identified bool) Shape {
	s := Shape{Row: row, Key: l.cfg.Key, Identified: identified, Memory: int64(l.cfg.Memory), Disk: l.disk}
	if v := l.cfg.Versions; v != nil {
		s.Versions, s.Keep = v.By, time.Duration(v.Keep)
	}
	return s
}

// Empty returns a new table for the lookup's rows.
func (l *Lookup) Empty(identified bool) (*Table, error) {
	return NewTable(l.shape(l.Row(), identified))
}

// Replace puts a table in the place of the one that is there, and makes the lookup ready. Nobody else may change it any more, but by
// Change.
func (l *Lookup) Replace(t *Table, version string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.table
	l.table = t
	l.is(version)
	if old == nil {
		return nil
	}
	return old.Close()
}

// Broken says why the rows are of no use any more: the disk that they are on has failed. nil: they are, or there are none.
func (l *Lookup) Broken() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.table == nil {
		return nil
	}
	return l.table.Broken()
}

// Room says whether there is room for some more bytes of rows.
func (l *Lookup) Room(bytes int64) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.table == nil {
		return ErrNotReady
	}
	return l.table.Room(bytes)
}

// Break lets go of rows that are of no use any more: the lookup is not ready until there are others.
func (l *Lookup) Break(why error) error {
	l.mu.Lock()
	t := l.table
	l.table = nil
	s := &l.status
	s.Ready, s.Rows, s.Bytes = false, 0, 0
	l.mu.Unlock()
	l.Trouble(why)
	if t == nil {
		return nil
	}
	return t.Close()
}

// Close lets go of what is on the disk. Nobody may join with the lookup any more.
func (l *Lookup) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.table
	if l.table = nil; t == nil {
		return nil
	}
	return t.Close()
}

// Change lets f change the table; it makes a new version.
func (l *Lookup) Change(version string, f func(*Table) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(f(l.table), l.table.Err()); err != nil {
		return err
	}
	l.is(version)
	return nil
}

func (l *Lookup) is(version string) {
	now := l.now()
	l.version = version
	s := &l.status
	s.Ready, s.Waits, s.Version, s.Rows, s.Bytes = true, "", version, l.table.Rows(), l.table.Bytes()
	s.Updated, s.Checked = now, now
	s.Trouble, s.Since = "", time.Time{}
	l.touch()
}

func (l *Lookup) touch() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Checked says that the version is the newest.
func (l *Lookup) Checked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Checked = l.now()
	l.status.Trouble, l.status.Since = "", time.Time{}
}

// Waits says what a lookup that is not ready waits for.
func (l *Lookup) Waits(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.status.Ready && l.status.Waits != what {
		l.status.Waits = what
		l.touch()
	}
}

// Trouble says why the lookup cannot be brought up to date.
func (l *Lookup) Trouble(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status.Trouble == "" {
		l.status.Since = l.now()
	}
	l.status.Trouble = err.Error()
	if !l.status.Ready {
		l.status.Waits = err.Error()
	}
	l.touch()
}

// Skip says that rows could not be taken, and why the last one was not.
func (l *Lookup) Skip(rows int64, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Skipped += rows
	l.status.LastSkip = why
}

// Status is the state at this moment.
func (l *Lookup) Status() Status {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.status
}

// Changed is closed when the lookup has changed in any way since the call.
func (l *Lookup) Changed() <-chan struct{} {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.changed
}
