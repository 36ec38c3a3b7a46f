package iceberg

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// late finds the metadata file gone for its first loads, as behind many fast commits.
type late struct {
	backend
	left int
}

func (l *late) LoadTable(ctx context.Context, id icetable.Identifier) (*icetable.Table, error) {
	if l.left--; l.left >= 0 {
		return nil, &fs.PathError{Op: "open", Path: "00001.metadata.json", Err: fs.ErrNotExist}
	}
	return l.backend.LoadTable(ctx, id)
}

func TestLoadBehindFastCommits(t *testing.T) {
	c, err := Open(t.Context(), configs.Catalog{}, configs.Warehouse{Location: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := c.(*lake)
	id := table.Ident{Namespace: "n", Name: "t"}
	info, err := l.Ensure(t.Context(), table.Def{Ident: id, Row: smallRow()})
	if err != nil {
		t.Fatal(err)
	}
	plain := l.backend
	l.backend = &late{plain, loadAttempts - 1}
	if _, err := l.Info(t.Context(), id); err != nil {
		t.Errorf("gone for a moment: %v", err)
	}
	l.backend = plain
	if err := os.RemoveAll(strings.TrimPrefix(info.Location, "file://") + "/metadata"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Info(t.Context(), id); err == nil || table.Passing(err) || !strings.Contains(err.Error(), ".metadata.json") {
		t.Errorf("gone for good: %v", err)
	}
}

// The commits keep no more metadata files than the table's properties say.
func TestOldMetadataIsRemoved(t *testing.T) {
	c, err := Open(t.Context(), configs.Catalog{}, configs.Warehouse{Location: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := table.Ident{Namespace: "n", Name: "t"}
	info, err := c.Ensure(t.Context(), table.Def{Ident: id, Row: smallRow(), Properties: map[string]string{icetable.MetadataPreviousVersionsMaxKey: "3"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		base, err := s.Load(t.Context())
		if err == nil {
			err = s.Swap(t.Context(), base, table.Change{Props: func(int64) map[string]string { return map[string]string{"n": base.Props["n"] + "1"} }})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := localMetadata(t, info.Location); n != 4 {
		t.Errorf("%d metadata files: want the current one and 3 before it", n)
	}
}
