//go:build stack

package routes_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
	"github.com/lakeloader/lakeloader/test/usage"
)

// BenchmarkBacklog has routes send LAKELOADER_BENCH_RECORDS committed rows (default 200,000) of four partitions, of about 90 bytes as JSON: to a topic
// of a real Kafka, and to fakes of a webhook and a bulk API in this process, whose CPU is in the figures. The rows are in files of 100,000, and in one.
//
//	test/stack/run.sh go test -tags stack -run '^$' -bench Backlog -benchtime 1x ./routes
func BenchmarkBacklog(b *testing.B) {
	n := 200_000
	if s := os.Getenv("LAKELOADER_BENCH_RECORDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	takes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Error(err)
		}
		if r.URL.Path != "/_bulk" {
			return
		}
		var answer bytes.Buffer
		answer.WriteString(`{"took":1,"errors":false,"items":[`)
		for i := range bytes.Count(body, []byte("\n")) / 2 {
			if i > 0 {
				answer.WriteByte(',')
			}
			answer.WriteString(`{"index":{"status":201}}`)
		}
		answer.WriteString("]}")
		if _, err := w.Write(answer.Bytes()); err != nil {
			b.Error(err)
		}
	}))
	defer takes.Close()
	for name, each := range map[string]int64{"small": 100_000, "one": int64(n)} {
		e := &pipelinetest.Env{Kafka: pipelinetest.Real(b, stacktest.Kafka(b)), Lake: pipelinetest.NewLake(b)}
		in := stacktest.Topic(b, 4)
		for at := 0; at < n; at += 10_000 {
			e.Produce(b, in, int32(at/10_000%4), values(at, min(at+10_000, n))...)
		}
		load(b, e, pipelinetest.Pipeline(columns, func(p *configs.Pipeline) { p.Source.Group, p.Commit.Records = in, each }, in), int64(n))
		for receiver, o := range map[string]configs.Outlet{
			"topic":    {Topic: &configs.OutletTopic{Key: []string{"id"}}},
			"search":   {Search: &configs.OutletSearch{URL: takes.URL, Index: "ratings-%Y.%m", Time: "at"}},
			"webhook":  {Webhook: &configs.OutletWebhook{URL: takes.URL}, When: "id % 20 == 0"},
			"few rows": {Webhook: &configs.OutletWebhook{URL: takes.URL}, When: "id % 10000 == 0"},
		} {
			b.Run(receiver+"/"+name, func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if o.Topic != nil {
						o.Topic.Name = stacktest.Topic(b, 4)
					}
					o.Name, o.Start = fmt.Sprintf("%s-%s-%d", in, receiver[:3], i), "earliest"
					backlog(b, e, outlet(o), n)
				}
			})
		}
	}
}

// backlog has a new route send all that is committed. n is how many rows it goes over.
func backlog(b *testing.B, e *pipelinetest.Env, o *configs.Outlet, n int) {
	b.Helper()
	began, cpu := time.Now(), usage.CPU(b)
	r := start(b, e, o, nil)
	r.end()
	spent, took := usage.CPU(b)-cpu, time.Since(began)
	if len(r.errs) > 0 || r.rows == 0 {
		b.Fatalf("%d rows, %q", r.rows, r.errs)
	}
	b.ReportMetric(float64(n)/took.Seconds(), "rows/s")
	b.ReportMetric(float64(r.rows)/took.Seconds(), "sent/s")
	b.ReportMetric(spent.Seconds()/float64(n)*1e6, "cpu-s/M")
	b.ReportMetric(0, "ns/op")
}
