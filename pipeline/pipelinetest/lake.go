package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/iceberg"
	"github.com/lakeloader/lakeloader/verify"
)

// Lake is a SQLite catalog and a folder.
type Lake struct {
	Dir     string
	Catalog table.Catalog
	Objects objects.Store
	Root    string
}

// NewLake makes an empty lake that ends with the test.
func NewLake(t testing.TB) *Lake {
	t.Helper()
	l := &Lake{Dir: t.TempDir()}
	l.Open(t)
	t.Cleanup(func() { l.Close(t) })
	return l
}

// Open opens the catalog in the folder.
func (l *Lake) Open(t testing.TB) {
	t.Helper()
	wh := configs.Warehouse{Location: filepath.Join(l.Dir, "lake")}
	var err error
	if l.Root, err = objects.Root(wh); err != nil {
		t.Fatal(err)
	}
	l.Objects = objects.NewLocal()
	if l.Catalog, err = iceberg.Open(context.Background(), configs.Catalog{}, wh); err != nil {
		t.Fatal(err)
	}
}

// Close closes the catalog.
func (l *Lake) Close(t testing.TB) {
	t.Helper()
	if err := l.Catalog.Close(); err != nil {
		t.Error(err)
	}
}

// Base reads a table as a commit would.
func (l *Lake) Base(t testing.TB, id table.Ident) *table.Base {
	t.Helper()
	s, err := l.Catalog.Open(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Swap changes a table as another program would.
func (l *Lake) Swap(t testing.TB, id table.Ident, ch table.Change) {
	t.Helper()
	s, err := l.Catalog.Open(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Swap(context.Background(), l.Base(t, id), ch); err != nil {
		t.Fatal(err)
	}
}

// Ledger reads what a table says of a pipeline; nil: nothing yet, not even the table.
func (l *Lake) Ledger(t testing.TB, name string, id table.Ident) *table.Ledger {
	t.Helper()
	s, err := l.Catalog.Open(context.Background(), id)
	if errors.Is(err, table.ErrNoTable) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Load(context.Background())
	if errors.Is(err, table.ErrNoTable) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	led, err := table.ParseLedger(name, b.Props)
	if err != nil {
		t.Fatal(err)
	}
	return led
}

// Files lists the data files of a table.
func (l *Lake) Files(t testing.TB, id table.Ident) []table.File {
	t.Helper()
	files, _, err := l.Catalog.Files(context.Background(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b table.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// Row is one row of a table: where it came from, and the columns asked for.
type Row struct {
	Topic     string
	Partition int32
	Offset    int64
	Epoch     int32
	Values    []any
}

func (r Row) String() string {
	return fmt.Sprintf("%s-%d@%d epoch %d %v", r.Topic, r.Partition, r.Offset, r.Epoch, r.Values)
}

// Rows reads a table, in order of topic, partition, epoch and offset. A column that a file lacks is null.
func (l *Lake) Rows(t testing.TB, id table.Ident, columns ...string) []Row {
	t.Helper()
	info, err := l.Catalog.Info(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for _, f := range l.Files(t, id) {
		more, err := l.file(info.Row, f.Path, columns)
		if err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		rows = append(rows, more...)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		if a.Epoch != b.Epoch {
			return int(a.Epoch - b.Epoch)
		}
		return int(a.Offset - b.Offset)
	})
	return rows
}

func (l *Lake) file(row *batch.Type, path string, columns []string) (rows []Row, err error) {
	f, err := scan.Open(context.Background(), l.Objects, path, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for g := range f.Groups() {
		topics, err := f.Strings(g, pipeline.ColumnTopic)
		if err != nil {
			return nil, err
		}
		var nums [3][]int64
		for i, c := range []string{pipeline.ColumnPartition, pipeline.ColumnOffset, pipeline.ColumnEpoch} {
			if nums[i], err = f.Ints(g, c); err != nil {
				return nil, err
			}
		}
		first := len(rows)
		for i := range topics {
			rows = append(rows, Row{Topic: topics[i], Partition: int32(nums[0][i]), Offset: nums[1][i], Epoch: int32(nums[2][i]), Values: make([]any, len(columns))})
		}
		for j, c := range columns {
			vals, err := f.Values(g, c, row.Fields[row.Index(c)].Type)
			if err != nil {
				return nil, err
			}
			for i, v := range vals {
				rows[first+i].Values[j] = v
			}
		}
	}
	return rows, nil
}

// RoundObjects lists the URIs of the pipeline's round objects and of the marks of committed rounds.
func (l *Lake) RoundObjects(t testing.TB, name string) (rounds, committed []string) {
	t.Helper()
	dir := l.Root + "/_lakeloader/" + name + "/"
	list, err := l.Objects.List(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		switch kind := filepath.Base(filepath.Dir(o.URI)); kind {
		case "rounds":
			rounds = append(rounds, o.URI)
		case "committed":
			committed = append(committed, o.URI)
		default:
			t.Fatalf("what is %s?", o.URI)
		}
	}
	return rounds, committed
}

// Verify runs verify over a pipeline.
func (l *Lake) Verify(t testing.TB, cfg *configs.Config, p *configs.Pipeline) *verify.Report {
	t.Helper()
	primary, dead := pipeline.Idents(cfg, p)
	r, err := verify.Run(context.Background(), verify.Input{Pipeline: p.Name, Primary: primary, DeadLetters: dead, Catalog: l.Catalog, Objects: l.Objects, Root: l.Root})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Backup copies the folder; restore brings it back as it was, with the catalog opened anew.
func (l *Lake) Backup(t testing.TB) (restore func(t testing.TB)) {
	t.Helper()
	l.Close(t)
	copied := filepath.Join(t.TempDir(), "backup")
	from := filepath.Join(l.Dir, "lake")
	if err := os.CopyFS(copied, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	l.Open(t)
	return func(t testing.TB) {
		t.Helper()
		l.Close(t)
		err := os.RemoveAll(from)
		if err == nil {
			err = os.CopyFS(from, os.DirFS(copied))
		}
		if err != nil {
			t.Fatal(err)
		}
		l.Open(t)
	}
}
