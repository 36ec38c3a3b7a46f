package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/tabletest"
)

// harness runs the conformance suite over a catalog. Its lossy client loses answers above the catalog; catalogs with a
// server replace it by one that loses them on the wire.
func harness(cfg configs.Catalog, wh configs.Warehouse) tabletest.Harness {
	open := func(t *testing.T) *lake {
		t.Helper()
		c, err := Open(t.Context(), cfg, wh)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return c.(*lake)
	}
	return tabletest.Harness{
		Catalog: func(t *testing.T) table.Catalog { return open(t) },
		Lossy: func(t *testing.T, lands bool) table.Catalog {
			l := open(t)
			l.backend = &lossy{backend: l.backend, lands: lands}
			return l
		},
		Drop: func(t *testing.T, id table.Ident) {
			d, ok := open(t).backend.(interface {
				DropTable(context.Context, icetable.Identifier) error
			})
			if !ok {
				t.Fatal("cannot drop")
			}
			if err := d.DropTable(t.Context(), identifier(id)); err != nil {
				t.Fatal(err)
			}
		},
		Rollback: func(t *testing.T, id table.Ident, snapshot int64) {
			other(t, open(t), id, func(tx *icetable.Transaction) error { return tx.RollbackToSnapshot(snapshot) })
		},
		Expire: func(t *testing.T, id table.Ident) {
			other(t, open(t), id, func(tx *icetable.Transaction) error {
				return tx.ExpireSnapshots(icetable.WithOlderThan(0), icetable.WithRetainLast(1))
			})
		},
		Delete: func(t *testing.T, id table.Ident, of table.File, equality bool) {
			l := open(t)
			other(t, l, id, func(tx *icetable.Transaction) error {
				return tx.NewRowDelta(nil).AddDeletes(deleteFile(t, l, id, of, equality)).Commit(l.context(t.Context()))
			})
		},
		Repartition: func(t *testing.T, id table.Ident, column string) {
			other(t, open(t), id, func(tx *icetable.Transaction) error { return tx.UpdateSpec(true).AddIdentity(column).Commit() })
		},
	}
}

// deleteFile describes a delete file, which is never read, in the partition of a data file.
func deleteFile(t *testing.T, l *lake, id table.Ident, of table.File, equality bool) icebergo.DataFile {
	t.Helper()
	tbl, err := l.load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	files, err := dataFiles(tbl.Metadata(), []table.File{of})
	if err != nil {
		t.Fatal(err)
	}
	content := icebergo.EntryContentPosDeletes
	if equality {
		content = icebergo.EntryContentEqDeletes
	}
	path := fmt.Sprintf("%s.%d.deletes.parquet", of.Path, time.Now().UnixNano())
	b, err := icebergo.NewDataFileBuilder(*tbl.Metadata().PartitionSpecByID(of.SpecID), content, path, icebergo.ParquetFile, files[0].Partition(), nil, nil, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	if equality {
		b.EqualityFieldIDs([]int{1})
	} else {
		b.ReferencedDataFile(of.Path)
	}
	return b.Build()
}

// other makes a commit as another program would: with iceberg-go alone.
func other(t *testing.T, l *lake, id table.Ident, change func(*icetable.Transaction) error) {
	t.Helper()
	tbl, err := l.load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	tx := tbl.NewTransaction()
	if err := change(tx); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(l.context(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// lossy loses the answer of its first commit, before or after it was made.
type lossy struct {
	backend
	lands bool
	used  atomic.Bool
}

var errLost = errors.New("connection reset by peer")

func (l *lossy) CommitTable(ctx context.Context, id icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	if l.used.Swap(true) {
		return l.backend.CommitTable(ctx, id, reqs, updates)
	}
	if l.lands {
		if _, _, err := l.backend.CommitTable(ctx, id, reqs, updates); err != nil {
			return nil, "", err
		}
	}
	return nil, "", errors.Join(table.ErrUnknown, errLost)
}

// localMetadata measures a metadata folder on disk.
func localMetadata(t *testing.T, location string) (files int, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(strings.TrimPrefix(location, "file://")+"/metadata", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		files++
		bytes += st.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, bytes
}

func TestSQLite(t *testing.T) {
	wh := configs.Warehouse{Location: t.TempDir()}
	h := harness(configs.Catalog{}, wh)
	h.Metadata = localMetadata
	tabletest.Run(t, h)
}

// smallRow is a small row type.
func smallRow() *batch.Type {
	return batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long), Required: true}, batch.Field{Name: "name", Type: batch.Prim(batch.String)},
		batch.Field{Name: "day", Type: batch.Prim(batch.Date)})
}
