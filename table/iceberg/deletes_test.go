package iceberg

import (
	"testing"

	icebergo "github.com/apache/iceberg-go"
)

// Whose rows a delete file removes is told by its reference, or by equal bounds of the paths in it.
func TestDeletedFrom(t *testing.T) {
	const filePath = 2147483546
	for name, c := range map[string]struct {
		content icebergo.ManifestEntryContent
		lo, hi  string
		ref     string
		want    string
	}{
		"one file":         {icebergo.EntryContentPosDeletes, "s3://b/a.parquet", "s3://b/a.parquet", "", "s3://b/a.parquet"},
		"several":          {icebergo.EntryContentPosDeletes, "s3://b/a.parquet", "s3://b/b.parquet", "", ""},
		"bounds were cut":  {icebergo.EntryContentPosDeletes, "s3://b/a", "s3://b/b", "", ""},
		"no bounds":        {icebergo.EntryContentPosDeletes, "", "", "", ""},
		"by its reference": {icebergo.EntryContentPosDeletes, "", "", "s3://b/c.parquet", "s3://b/c.parquet"},
		"equality deletes": {icebergo.EntryContentEqDeletes, "s3://b/a.parquet", "s3://b/a.parquet", "", ""},
	} {
		b, err := icebergo.NewDataFileBuilder(*icebergo.UnpartitionedSpec, c.content, "s3://b/deletes.parquet", icebergo.ParquetFile, nil, nil, nil, 3, 100)
		if err != nil {
			t.Fatal(err)
		}
		if c.lo != "" {
			b.LowerBoundValues(map[int][]byte{filePath: []byte(c.lo)}).UpperBoundValues(map[int][]byte{filePath: []byte(c.hi)})
		}
		if c.ref != "" {
			b.ReferencedDataFile(c.ref)
		}
		if c.content == icebergo.EntryContentEqDeletes {
			b.EqualityFieldIDs([]int{1})
		}
		if got := deletedFrom(b.Build()); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
