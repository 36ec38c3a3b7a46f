package pipelinetest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	icebergo "github.com/apache/iceberg-go"
	icesql "github.com/apache/iceberg-go/catalog/sql"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// Foreign changes a table as another program would: with iceberg-go alone.
func (l *Lake) Foreign(t testing.TB, id table.Ident, change func(ctx context.Context, tx *icetable.Transaction) error) {
	t.Helper()
	l.catalog(t, func(ctx context.Context, cat *icesql.Catalog) error {
		tbl, err := cat.LoadTable(ctx, icetable.Identifier{id.Namespace, id.Name})
		if err != nil {
			return err
		}
		tx := tbl.NewTransaction()
		if err := change(ctx, tx); err != nil {
			return err
		}
		_, err = tx.Commit(ctx)
		return err
	})
}

func (l *Lake) catalog(t testing.TB, do func(context.Context, *icesql.Catalog) error) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+l.Dir+"/lake/catalog.db?_pragma=busy_timeout(30000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	cat, err := icesql.NewCatalog("lakeloader", db, icesql.SQLite, icebergo.Properties{"warehouse": l.Root})
	if err == nil {
		err = do(context.Background(), cat)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Drop removes a table from the catalog.
func (l *Lake) Drop(t testing.TB, id table.Ident) {
	t.Helper()
	l.catalog(t, func(ctx context.Context, cat *icesql.Catalog) error {
		return cat.DropTable(ctx, icetable.Identifier{id.Namespace, id.Name})
	})
}

// SetMain makes another snapshot main: an earlier one (a rollback), or a later one again.
func (l *Lake) SetMain(t testing.TB, id table.Ident, snapshot int64) {
	t.Helper()
	l.catalog(t, func(ctx context.Context, cat *icesql.Catalog) error {
		_, _, err := cat.CommitTable(ctx, icetable.Identifier{id.Namespace, id.Name}, nil,
			[]icetable.Update{icetable.NewSetSnapshotRefUpdate(icetable.MainBranch, snapshot, icetable.BranchRef, 0, 0, 0)})
		return err
	})
}

// Tag gives a snapshot a name; 0 takes the name away.
func (l *Lake) Tag(t testing.TB, id table.Ident, name string, snapshot int64) {
	t.Helper()
	var update icetable.Update = icetable.NewSetSnapshotRefUpdate(name, snapshot, icetable.TagRef, 0, 0, 0)
	if snapshot == 0 {
		update = icetable.NewRemoveSnapshotRefUpdate(name)
	}
	l.catalog(t, func(ctx context.Context, cat *icesql.Catalog) error {
		_, _, err := cat.CommitTable(ctx, icetable.Identifier{id.Namespace, id.Name}, nil, []icetable.Update{update})
		return err
	})
}

// Expire removes all snapshots but main's.
func (l *Lake) Expire(t testing.TB, id table.Ident) {
	t.Helper()
	l.Foreign(t, id, func(_ context.Context, tx *icetable.Transaction) error {
		return tx.ExpireSnapshots(icetable.WithOlderThan(0), icetable.WithRetainLast(1))
	})
}

// FileRows are the rows of a Parquet file, to be edited.
type FileRows struct {
	t      testing.TB
	Path   string
	schema *parquet.Schema
	rows   []parquet.Row
}

// ReadFile reads a data file whole.
func (l *Lake) ReadFile(t testing.TB, path string) *FileRows {
	t.Helper()
	local, err := objects.LocalPath(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(local)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	r := &FileRows{t: t, Path: path, schema: f.Schema()}
	for _, g := range f.RowGroups() {
		rows := g.Rows()
		buf := make([]parquet.Row, g.NumRows())
		for n := 0; n < len(buf); {
			k, err := rows.ReadRows(buf[n:])
			for _, row := range buf[n : n+k] {
				r.rows = append(r.rows, row.Clone())
			}
			if n += k; err != nil && n < len(buf) {
				t.Fatal(err)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *FileRows) column(name string) int {
	r.t.Helper()
	leaf, ok := r.schema.Lookup(name)
	if !ok {
		r.t.Fatalf("%s has no column %s", r.Path, name)
	}
	return leaf.ColumnIndex
}

func (r *FileRows) value(i int, column string) *parquet.Value {
	r.t.Helper()
	c := r.column(column)
	for j := range r.rows[i] {
		if r.rows[i][j].Column() == c {
			return &r.rows[i][j]
		}
	}
	r.t.Fatalf("row %d of %s has no value in %s", i, r.Path, column)
	return nil
}

// Len is the number of rows.
func (r *FileRows) Len() int { return len(r.rows) }

// Find gives the row of an offset, or -1.
func (r *FileRows) Find(topic string, partition int32, offset int64) int {
	for i := range r.rows {
		if string(r.value(i, pipeline.ColumnTopic).ByteArray()) == topic && r.value(i, pipeline.ColumnPartition).Int32() == partition && r.value(i, pipeline.ColumnOffset).Int64() == offset {
			return i
		}
	}
	return -1
}

// Set changes a value: an int32, int64 or string, as the column is.
func (r *FileRows) Set(i int, column string, v any) {
	r.t.Helper()
	old := r.value(i, column)
	*old = parquet.ValueOf(v).Level(old.RepetitionLevel(), old.DefinitionLevel(), old.Column())
}

// Remove takes rows out.
func (r *FileRows) Remove(is ...int) {
	slices.Sort(is)
	for _, i := range slices.Backward(is) {
		r.rows = slices.Delete(r.rows, i, i+1)
	}
}

// Repeat appends a copy of a row and returns its index.
func (r *FileRows) Repeat(i int) int {
	r.rows = append(r.rows, r.rows[i].Clone())
	return len(r.rows) - 1
}

// Keep keeps only the rows given.
func (r *FileRows) Keep(is ...int) {
	var rows []parquet.Row
	for _, i := range is {
		rows = append(rows, r.rows[i])
	}
	r.rows = rows
}

// Write writes the rows to a new file beside the old one and returns its URI and size.
func (r *FileRows) Write() (path string, size int64) {
	r.t.Helper()
	path = r.Path[:strings.LastIndexByte(r.Path, '/')+1] + uuid.NewString() + ".parquet"
	local, err := objects.LocalPath(path)
	if err != nil {
		r.t.Fatal(err)
	}
	var buf bytes.Buffer
	w := parquet.NewWriter(&buf, r.schema)
	if _, err = w.WriteRows(r.rows); err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(local, buf.Bytes(), 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return path, int64(buf.Len())
}

// Edit replaces a data file of a table by an edited one, as a careless program would, and returns its path.
func (l *Lake) Edit(t testing.TB, id table.Ident, path string, edit func(*FileRows)) string {
	t.Helper()
	r := l.ReadFile(t, path)
	edit(r)
	to, _ := r.Write()
	l.Foreign(t, id, func(ctx context.Context, tx *icetable.Transaction) error {
		return tx.ReplaceDataFiles(ctx, []string{path}, []string{to}, nil)
	})
	return to
}

// Add adds a file with rows made from those of a file of the table, and returns its path.
func (l *Lake) Add(t testing.TB, id table.Ident, like table.File, edit func(*FileRows)) string {
	t.Helper()
	r := l.ReadFile(t, like.Path)
	edit(r)
	path, size := r.Write()
	l.Swap(t, id, table.Change{Add: []table.File{{Path: path, Size: size, Rows: int64(r.Len()), SpecID: like.SpecID, Partition: like.Partition}}})
	return path
}

type positionDelete struct {
	FilePath string `parquet:"file_path"`
	Pos      int64  `parquet:"pos"`
}

// DeletePositions adds a position delete file for rows of a data file, as engines do that merge on read.
func (l *Lake) DeletePositions(t testing.TB, id table.Ident, f table.File, positions ...int64) {
	t.Helper()
	path := f.Path + "-deletes-" + fmt.Sprint(positions[0]) + ".parquet"
	local, err := objects.LocalPath(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]positionDelete, len(positions))
	for i, p := range positions {
		rows[i] = positionDelete{f.Path, p}
	}
	if err := parquet.WriteFile(local, rows); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(local)
	if err != nil {
		t.Fatal(err)
	}
	l.Foreign(t, id, func(ctx context.Context, tx *icetable.Transaction) error {
		staged, err := tx.StagedTable()
		if err != nil {
			return err
		}
		b, err := icebergo.NewDataFileBuilder(staged.Spec(), icebergo.EntryContentPosDeletes, path, icebergo.ParquetFile, nil, nil, nil, int64(len(rows)), st.Size())
		if err != nil {
			return err
		}
		return tx.NewRowDelta(nil).AddDeletes(b.Build()).Commit(ctx)
	})
}
