//go:build stack

package sqlsink_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
	"github.com/lakeloader/lakeloader/test/usage"
)

// BenchmarkLoad loads LAKELOADER_BENCH_RECORDS clicks (default 200,000) as JSON of 190 bytes and eight columns, from four partitions of a real Kafka, in
// rounds of 100,000. CPU is this process's; the servers' is not in it, but SQLite's is.
//
//	test/stack/run.sh go test -tags stack -run '^$' -bench Load -benchtime 1x ./sqlsink
func BenchmarkLoad(b *testing.B) {
	b.Run("postgres", func(b *testing.B) { speed(b, stacktest.NewDatabase(b)) })
	b.Run("sqlite", func(b *testing.B) { speed(b, "sqlite:"+filepath.Join(b.TempDir(), "db")) })
}

const clickColumns = "uuid uuid required, campaignId long, pubId int, price decimal(10,4), at timestamptz, ip string, city string, browser string"

func speed(b *testing.B, url string) {
	n := 200_000
	if s := os.Getenv("LAKELOADER_BENCH_RECORDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	e := &pipelinetest.Env{Kafka: pipelinetest.Real(b, stacktest.Kafka(b)), Lake: pipelinetest.NewLake(b)}
	topic := stacktest.Topic(b, 4)
	for at := 0; at < n; at += 10_000 {
		var values []string
		for i := at; i < min(at+10_000, n); i++ {
			values = append(values, fmt.Sprintf(`{"uuid":"%08x-0000-4000-8000-%012x","campaignId":%d,"pubId":%d,"price":"%d.1234","at":"2026-11-22T10:%02d:%02d.123456Z","ip":"10.%d.%d.%d","city":%q,"browser":"Firefox"}`,
				i*2654435761&0xffffffff, i, i%1000, i%7, i%100, i/60%60, i%60, i>>16&255, i>>8&255, i&255, []string{"Brussels", "Zürich", "São Paulo"}[i%3]))
		}
		e.Produce(b, topic, int32(at/10_000%4), values...)
	}
	s := newBenchOn(b, e, url)
	cfg := s.config(clickColumns, func(p *configs.Pipeline) { p.Source.Group, p.Commit.Records = topic, 100_000 }, topic)
	began, cpu := time.Now(), usage.CPU(b)
	for i := 0; b.Loop(); i++ {
		if i > 0 {
			b.Fatal("a table is filled once: use -benchtime 1x")
		}
		s.load(cfg, int64(n))
	}
	took, spent := time.Since(began), usage.CPU(b)-cpu
	if got := s.count(); got != n {
		b.Fatalf("%d rows of %d", got, n)
	}
	b.ReportMetric(float64(n)/took.Seconds(), "rows/s")
	b.ReportMetric(spent.Seconds()/float64(n)*1e6, "cpu-s/M")
	b.ReportMetric(0, "ns/op")
}
