//go:build stack

package rewrite

import (
	"fmt"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
	"github.com/lakeloader/lakeloader/test/usage"
)

// BenchmarkMergeTiny puts the rows of very many small files in S3 into one, as a loader that commits often leaves them.
func BenchmarkMergeTiny(b *testing.B) {
	const files, rows = 2000, 600
	access, secret := stacktest.S3Keys(b)
	root := "s3://" + stacktest.NewBucket(b) + "/lake"
	store, err := objects.Open(configs.Warehouse{Location: root, S3: configs.S3{Endpoint: stacktest.S3(b), Region: "us-east-1", AccessKey: access, SecretKey: secret}})
	if err != nil {
		b.Fatal(err)
	}
	for name, by := range map[string][]table.SortField{"unsorted": nil, "sorted": {{Source: "campaignId"}, {Source: "ts"}}} {
		b.Run(name, func(b *testing.B) {
			c := newClicks(b)
			c.store, c.info.Location, c.by = store, fmt.Sprintf("%s/%s", root, name), by
			var sources []table.File
			bytes := int64(0)
			for range files {
				f := c.write(rows)
				sources, bytes = append(sources, f), bytes+f.Size
			}
			in := c.input(sources...)
			cpu := usage.CPU(b)
			for b.Loop() {
				if m, err := Merge(b.Context(), in); err != nil || m.Rows != files*rows {
					b.Fatal(m.Rows, err)
				}
			}
			b.ReportMetric((usage.CPU(b)-cpu).Seconds()*1e3/float64(b.N)/files, "cpu-ms/file")
			b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N)/files, "ms/file")
			b.ReportMetric(float64(bytes)/files, "bytes/file")
		})
	}
}
