//go:build stack && engines

package rewrite

import (
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// Trino, which skips pages by their indexes, reads files whose row groups were copied, and sorted ones, as PyIceberg does.
func TestEnginesReadMerges(t *testing.T) {
	for name, change := range map[string]func(in *MergeInput){
		"copied": func(in *MergeInput) { in.LeastCopied = 1 },
		"mixed":  func(in *MergeInput) { in.LeastCopied = 650 },
		"sorted": func(in *MergeInput) { in.SortBy = []table.SortField{{Source: table.ColumnOffset, Desc: true}} },
	} {
		t.Run(name, func(t *testing.T) {
			access, secret := stacktest.S3Keys(t)
			namespace := strings.ReplaceAll(stacktest.Name("ns"), "-", "_")
			l := newLakeIn(t, configs.Catalog{Type: "rest", URI: stacktest.REST(t)}, configs.Warehouse{Location: "s3://" + stacktest.NewBucket(t) + "/lake",
				S3: configs.S3{Endpoint: stacktest.S3(t), Region: "us-east-1", AccessKey: access, SecretKey: secret}}, namespace)
			in := MergeInput{Info: l.info, Store: l.objects, Sources: []table.File{l.write("x", "a", 0, 0, 5), l.write("x", "b", 1, 0, 90_000), l.write("x", "a", 0, 5, 9)}}
			change(&in)
			m, err := Merge(t.Context(), in)
			if err != nil || len(m.Files) != 1 || (m.Copied > 0) != (in.LeastCopied > 0) {
				t.Fatalf("%+v, %v", m, err)
			}
			ch := table.Change{Add: m.Files}
			for _, f := range in.Sources {
				ch.Remove = append(ch.Remove, f.Path)
			}
			l.swap(ch)
			at := stacktest.Table{Catalog: "rest", URI: stacktest.REST(t), Table: namespace + ".t"}
			sums := []string{table.ColumnOffset, table.ColumnPartition}
			iceberg := stacktest.PyIceberg(t, at, stacktest.Read{Sums: sums})
			if d := iceberg.Differences(stacktest.Trino(t, at, stacktest.Read{Sums: sums})); d != nil || iceberg.Rows != 90_009 {
				t.Errorf("%d rows; Trino: %v", iceberg.Rows, d)
			}
			late := stacktest.Trino(t, at, stacktest.Read{Sums: sums, Where: table.ColumnOffset + " BETWEEN 70000 AND 70009"})
			if late.Rows != 10 {
				t.Errorf("Trino finds %d rows of ten", late.Rows)
			}
		})
	}
}
