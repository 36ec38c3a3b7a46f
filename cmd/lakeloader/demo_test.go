package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	_ "modernc.org/sqlite" // to lock a catalog

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/verify"
)

// Every demo loads exactly what it is told to, its summary is what verify finds, and query reads it in all formats.
func TestDemos(t *testing.T) {
	const records = 20000
	for name, table := range map[string]string{"clicks": "clicks", "ratings": "ratings", "visitor-spend": "purchases"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new", "folder")
			config := filepath.Join(dir, "lakeloader.yaml")
			lakeloader(t, "demo", name, "--records", fmt.Sprint(records), "--dir", dir, "--seed", "7").
				ends(exitOK, fmt.Sprintf("\n%d records were produced and loaded in ", records), "0 dead letters", "lakeloader verify -c "+config)

			lakeloader(t, "verify", "-c", config).ends(exitOK, fmt.Sprintf("OK: all %d offsets are accounted for exactly once: ", records))
			var reports []verify.Report
			got := lakeloader(t, "verify", "-c", config, "-o", "json", "--pipeline", name).ends(exitOK)
			if err := json.Unmarshal([]byte(got.stdout), &reports); err != nil || len(reports) != 1 || !reports[0].OK() {
				t.Fatalf("%v: %s", err, got.stdout)
			}
			rows := int64(0)
			for _, p := range reports[0].Partitions {
				rows += p.Rows
			}

			query := "SELECT count(*) AS n, count(DISTINCT (_kafka_partition, _kafka_offset)) AS d FROM " + table
			lakeloader(t, "query", "-c", config, query).ends(exitOK, "(1 rows)", fmt.Sprint(rows))
			var row struct{ N, D int64 }
			got = lakeloader(t, "query", "-c", config, query, "-o", "json").ends(exitOK)
			if err := json.Unmarshal([]byte(got.stdout), &row); err != nil || row.N != rows || row.D != rows {
				t.Errorf("%d rows, and in JSON %s (%v)", rows, got.stdout, err)
			}
			got = lakeloader(t, "query", "-c", config, query, "-o", "csv").ends(exitOK)
			lines, err := csv.NewReader(strings.NewReader(got.stdout)).ReadAll()
			if want := [][]string{{"n", "d"}, {fmt.Sprint(rows), fmt.Sprint(rows)}}; err != nil || fmt.Sprint(lines) != fmt.Sprint(want) {
				t.Errorf("CSV: %v %v", lines, err)
			}
			lakeloader(t, "query", "-c", config, "SELECT count(*) FROM "+table+"_dead_letters", "-o", "csv").ends(exitOK, "\n0\n")

			snapshot := fmt.Sprint(reports[0].Snapshot)
			lakeloader(t, "query", "-c", config, query, "-o", "csv", "--snapshot", snapshot).ends(exitOK, fmt.Sprintf("\n%d,%d\n", rows, rows))
			lakeloader(t, "query", "-c", config, query, "--snapshot", "12345").ends(exitFailed, "lake."+table, "snapshot 12345")
			lakeloader(t, "query", "-c", config, "SELECT * FROM nothing").ends(exitFailed, "nothing")
			lakeloader(t, "query", "-c", config, "SELEKT").ends(exitFailed, "SELEKT")
			lakeloader(t, "query", "-c", config, query, "-o", "xml").ends(exitUsage, "xml", "table json csv")

			lakeloader(t, "demo", name, "--records", "1", "--dir", dir).ends(exitUsage, dir, "holds an earlier demo's lake")
			lakeloader(t, "status", "-c", config).ends(exitUsage, "--address")
			lakeloader(t, "validate", "-c", config, "--offline").ends(exitOK)
		})
	}
}

// A demo without an end runs until it is told to stop; then everything produced is in the lake.
func TestDemoStops(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"SIGTERM": nil, "for": {"--for", "2s"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := start(t, append([]string{"demo", "clicks", "--rate", "20000", "--dir", dir}, args...)...)
			r.line(`running +read +[1-9]`)
			if args == nil {
				r.signal(syscall.SIGTERM)
			}
			r.wait().ends(exitOK, "records were produced and loaded")
			lakeloader(t, "verify", "-c", filepath.Join(dir, "lakeloader.yaml")).ends(exitOK, "OK: all ")
		})
	}
}

// While the catalog is locked the last commit cannot land; a second signal does not wait for it.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, "demo", "clicks", "--rate", "1000", "--dir", dir)
	r.line(`in the lake +[1-9]`)
	db, err := sql.Open("sqlite", filepath.Join(dir, "lake", "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.line(`in the lake.*unpublished +[1-9]`)
	began := time.Now()
	r.signal(syscall.SIGTERM)
	r.signal(syscall.SIGINT)
	r.wait().ends(exitDeadline, "stopped at once by a second signal", "read again at the next start")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := errors.Join(conn.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	lakeloader(t, "verify", "-c", filepath.Join(dir, "lakeloader.yaml")).ends(exitOK, "OK: all ")
}

// What a running daemon tells: health, metrics that Prometheus can read, and its status.
func TestRunningDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, "demo", "ratings", "--rate", "5000", "--dir", dir)
	address := r.line(`status at http://([0-9.:]+)/api/status`)[1]
	r.line(`in the lake +[1-9]`)

	if code, body := get(t, address, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, body := get(t, address, "/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := get(t, address, "/readyz?pipeline=nothing"); code != http.StatusNotFound {
		t.Errorf("/readyz of an unknown pipeline: %d", code)
	}
	checkMetrics(t, address)

	var st obs.Status
	got := lakeloader(t, "status", "--address", address, "-o", "json").ends(exitOK)
	if err := json.Unmarshal([]byte(got.stdout), &st); err != nil || len(st.Pipelines) != 2 {
		t.Fatalf("%v: %s", err, got.stdout)
	}
	if p := st.Pipelines[1]; !st.Ready || p.Name != "ratings" || p.Phase != obs.Running || p.Rows == 0 || p.Filtered == 0 || len(p.Partitions) != 4 {
		t.Errorf("status: %+v", p)
	}
	lakeloader(t, "status", "--address", address).ends(exitOK, "ready", "ratings", "running", "lake.ratings", "LAG", "PARTITION")
	watch := start(t, "status", "--address", address, "--watch")
	watch.line("ratings +running")
	watch.line("ratings +running")
	watch.signal(syscall.SIGINT)
	watch.wait().ends(exitOK)

	r.signal(syscall.SIGINT)
	r.wait().ends(exitOK)
	lakeloader(t, "status", "--address", address).ends(exitUnreachable, "no answer from a daemon at "+address)
}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// checkMetrics parses the metrics as Prometheus does, and checks that docs/operations.md names each.
func checkMetrics(t *testing.T, address string) {
	t.Helper()
	code, body := get(t, address, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, body)
	}
	var parser expfmt.TextParser
	families, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatalf("/metrics: %v", err)
	}
	for name, kind := range map[string]dto.MetricType{
		"lakeloader_build_info": dto.MetricType_GAUGE, "lakeloader_records_consumed_total": dto.MetricType_COUNTER,
		"lakeloader_rows_written_total": dto.MetricType_COUNTER, "lakeloader_filtered_records_total": dto.MetricType_COUNTER,
		"lakeloader_commits_total": dto.MetricType_COUNTER, "lakeloader_commit_seconds": dto.MetricType_HISTOGRAM,
		"lakeloader_committed_offset": dto.MetricType_GAUGE, "lakeloader_position_offset": dto.MetricType_GAUGE,
		"lakeloader_pipeline_ready": dto.MetricType_GAUGE, "process_resident_memory_bytes": dto.MetricType_GAUGE, "go_goroutines": dto.MetricType_GAUGE,
	} {
		if f := families[name]; f.GetType() != kind || f.GetHelp() == "" {
			t.Errorf("metric %s: %v", name, f)
		}
	}
	manual := readDoc(t, "docs/operations.md")
	for name := range families {
		if strings.HasPrefix(name, "lakeloader_") && !strings.Contains(manual, "`"+name+"`") {
			t.Errorf("docs/operations.md does not name the metric %s", name)
		}
	}
}

// plan samples real records and changes nothing.
func TestPlan(t *testing.T) {
	t.Parallel()
	d, err := demo.Start("ratings", demo.Options{Seed: 1, At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := d.Produce(context.Background(), 2000, 0); err != nil {
		t.Fatal(err)
	}
	config, err := d.WriteConfig(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lakeloader(t, "plan", "-c", config, "--sample", "500").ends(exitOK, "table lake.ratings (would be created)", "partitioned by [day(rating_time)]",
		"rating_time", "timestamptz", "_kafka_offset", "records sampled from 4 partitions", "filtered:", "over whole columns")
	got := lakeloader(t, "plan", "-c", config, "-o", "json", "--pipeline", "ratings").ends(exitOK)
	var reports []struct {
		Sampled int `json:"sampled_records"`
		Rows    int
	}
	if err := json.Unmarshal([]byte(got.stdout), &reports); err != nil || len(reports) != 1 || reports[0].Sampled < 1000 || reports[0].Sampled > 1100 || reports[0].Rows == 0 {
		t.Errorf("plan in JSON (%v): %s", err, got.stdout)
	}
	lakeloader(t, "plan", "-c", config, "--pipeline", "nothing").ends(exitUsage, `no pipeline "nothing"`)
	lakeloader(t, "verify", "-c", config).ends(exitFailed, "lake.ratings", "no such table", "nothing was loaded yet")
	lakeloader(t, "validate", "-c", config).ends(exitOK, "no problems")
	if _, _, err := configs.Load(config); err != nil {
		t.Error(err)
	}
}
