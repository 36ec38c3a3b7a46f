package sqlsink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Options say what a Sink is for.
type Options struct {
	Pipeline *configs.Pipeline
	Log      *slog.Logger
	Now      func() time.Time
	Wait     table.Wait // between attempts; nil: up to two seconds
}

// Sink is the tables of one pipeline in a database, and the spool. It implements table.Catalog as far as a loader needs one, and
// pipeline.Database. One loader uses it at a time.
type Sink struct {
	o     Options
	kind  dialect
	db    *sql.DB
	rows  string // the table of the rows, dead the one of dead letters, as the configuration names them
	dead  string
	spool string
	store objects.Store
	tell  func(error)

	mu    sync.Mutex
	types map[string]*batch.Type // of the tables, as they are known to be
	// most is how many bytes a value may have; 0: nothing bounds it.
	most int64
}

// Open connects to the database of a pipeline when it is first asked something, and makes the spool.
func Open(o Options) (*Sink, error) {
	cfg := o.Pipeline.SQL
	s := &Sink{o: o, rows: cfg.Table, dead: o.Pipeline.DeadLetters.Table, store: objects.NewLocal(), tell: func(error) {}, types: map[string]*batch.Type{}}
	if s.o.Wait == nil {
		s.o.Wait = table.Backoff(2 * time.Second)
	}
	switch cfg.Kind() {
	case configs.Postgres:
		s.kind = postgres{}
	case configs.MySQL:
		s.kind = mysqlDB{}
	case configs.SQLite:
		s.kind = sqlite{}
	default:
		return nil, fmt.Errorf("pipeline %s: sql.url is of no database that is known", o.Pipeline.Name)
	}
	var err error
	if s.db, err = s.kind.open(cfg.URL); err != nil {
		return nil, fmt.Errorf("pipeline %s: sql.url: %w", o.Pipeline.Name, err)
	}
	s.db.SetMaxIdleConns(1)
	return s, nil
}

// Ping asks whether the database answers.
func (s *Sink) Ping(ctx context.Context) error {
	if err := s.db.PingContext(ctx); err != nil {
		return fmt.Errorf("connecting to the database of pipeline %s (%s): %w", s.o.Pipeline.Name, s.o.Pipeline.SQL.Kind(), err)
	}
	return nil
}

// Objects is the store of the spool.
func (s *Sink) Objects() objects.Store { return s.store }

// Watch implements pipeline.Database.
func (s *Sink) Watch(tell func(error)) { s.tell = tell }

// spoolDir makes the spool when the first file is about to be written: commands that only read need none.
func (s *Sink) spoolDir() (string, error) {
	if s.spool != "" {
		return s.spool, nil
	}
	dir, err := os.MkdirTemp(s.o.Pipeline.SQL.Spool, "lakeloader-"+s.o.Pipeline.Name+"-")
	if err != nil {
		return "", fmt.Errorf("making the spool of pipeline %s (sql.spool): %w", s.o.Pipeline.Name, err)
	}
	s.spool = dir
	return dir, nil
}

// Dropped implements pipeline.Database: it empties the spool.
func (s *Sink) Dropped() {
	if s.spool == "" {
		return
	}
	files, err := os.ReadDir(s.spool)
	for _, f := range files {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.spool, f.Name())))
	}
	if err != nil {
		s.o.Log.Warn("files of a dropped round stay in the spool", "folder", s.spool, "error", err)
	}
}

// Close ends the connections and removes the spool.
func (s *Sink) Close() error {
	err := s.db.Close()
	if s.spool != "" {
		err = errors.Join(err, os.RemoveAll(s.spool))
	}
	return err
}

// Info implements table.Catalog.
func (s *Sink) Info(ctx context.Context, id table.Ident) (info table.Info, err error) {
	err = s.session(ctx, func(c *session) error {
		known, err := c.describe(ctx, id.Name)
		if err != nil {
			return err
		}
		if known == nil {
			return fmt.Errorf("%w: %s", table.ErrNoTable, id)
		}
		info = table.Info{Ident: id, UUID: known.uuid, Row: known.row}
		return nil
	})
	return info, err
}

// Ensure implements table.Catalog: it makes the table and adds columns. The row type that it returns is the spool's.
func (s *Sink) Ensure(ctx context.Context, def table.Def) (table.Info, error) {
	dir, err := s.spoolDir()
	if err != nil {
		return table.Info{}, err
	}
	most := int64(0)
	info := table.Info{Ident: def.Ident, Location: "file://" + filepath.ToSlash(dir) + "/" + def.Ident.Name}
	err = s.retry(ctx, func() error {
		return s.session(ctx, func(c *session) error {
			known, err := c.ensure(ctx, def)
			if err != nil {
				return err
			}
			info.UUID, info.Row = known.uuid, known.row
			most, err = s.kind.longest(ctx, c)
			return err
		})
	})
	if err != nil {
		return info, err
	}
	s.mu.Lock()
	s.types[def.Ident.Name], s.most = bare(info.Row), most
	s.mu.Unlock()
	info.Row = numbered(info.Row)
	return info, nil
}

// rowType of a table, without field ids: the files of the spool are matched by names.
func (s *Sink) rowType(name string) *batch.Type {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.types[name]
}

// retry asks again while the database fails for a passing reason.
func (s *Sink) retry(ctx context.Context, ask func() error) error {
	for n := 1; ; n++ {
		err := ask()
		s.tell(err)
		if err == nil || !table.Passing(err) {
			return err
		}
		if werr := s.o.Wait(ctx, n); werr != nil {
			return fmt.Errorf("%w (the last attempt: %w)", werr, err)
		}
	}
}

var errNotInDatabases = errors.New("a table of a database has no snapshots or files")

// Open implements table.Catalog.
func (s *Sink) Open(context.Context, table.Ident) (table.Store, error) {
	return nil, errNotInDatabases
}

// Files implements table.Catalog.
func (s *Sink) Files(context.Context, table.Ident, int64) ([]table.File, []string, error) {
	return nil, nil, errNotInDatabases
}

// Changed implements table.Catalog.
func (s *Sink) Changed(context.Context, table.Ident, int64, int64) (*table.Changes, error) {
	return nil, errNotInDatabases
}

// References implements table.Catalog.
func (s *Sink) References(context.Context, table.Ident) (*table.References, error) {
	return nil, errNotInDatabases
}

// Released implements table.Catalog.
func (s *Sink) Released(context.Context, *table.Base, *table.Base) ([]string, error) {
	return nil, errNotInDatabases
}

func newID() string { return uuid.NewString() }
