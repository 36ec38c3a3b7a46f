//go:build stack

// Package bench measures lakeloader by itself, stage by stage and whole, beside a program written by hand for the one
// schema (bench/limit). make bench runs it; docs/benchmarks.md has figures and says what they mean.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// interval is between commits, for the daemon and the limit.
const interval = 10 * time.Second

// BenchmarkClicks loads a topic of clicks from Kafka: the limit, and the daemon into a local folder and into S3. CPU,
// memory and time are those of the whole process, from its start to its end.
func BenchmarkClicks(b *testing.B) {
	t := produce(b, size(b))
	limit := filepath.Join(b.TempDir(), "limit")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", limit, "./limit")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building the limit: %v\n%s", err, out)
	}
	b.Run("limit/local/plain", func(b *testing.B) {
		for b.Loop() {
			runLimit(b, limit, t).report(b)
		}
	})
	for _, place := range []string{"local", "s3"} {
		for _, steps := range []string{"plain", "cleansed"} {
			b.Run("daemon/"+place+"/"+steps, func(b *testing.B) {
				for b.Loop() {
					runDaemon(b, t, place, steps == "cleansed").report(b)
				}
			})
		}
	}
}

func runLimit(b *testing.B, path string, t topic) figures {
	b.Helper()
	dir := b.TempDir()
	f := start(b, filepath.Join(dir, "log"), path, "-brokers", stacktest.Kafka(b), "-topic", t.name, "-n", fmt.Sprint(t.n), "-interval", interval.String(), "-dir", dir).wait(t.n)
	f.rows, f.stored = t.n, folderSize(b, dir)
	return f
}

func runDaemon(b *testing.B, t topic, place string, cleansed bool) figures {
	b.Helper()
	dir := b.TempDir()
	where := fmt.Sprintf("catalog: {uri: %q}\nwarehouse: {location: %q}\n", filepath.Join(dir, "catalog.db"), filepath.Join(dir, "lake"))
	bucket := ""
	if place == "s3" {
		bucket = stacktest.NewBucket(b)
		access, secret := stacktest.S3Keys(b)
		where = fmt.Sprintf("catalog: {uri: %q}\nwarehouse: {location: \"s3://%s/lake\", s3: {endpoint: %q, access_key: %s, secret_key: %s}}\n",
			filepath.Join(dir, "catalog.db"), bucket, stacktest.S3(b), access, secret)
	}
	rows, steps := t.n, ""
	if cleansed {
		rows, steps = t.kept, "  cleanse:"+strings.ReplaceAll(cleanseSteps, "\n", "\n  ")
	}
	path := filepath.Join(dir, "lakeloader.yaml")
	config := fmt.Sprintf(`kafka: {brokers: [%q]}
registry: {url: %q}
http: {address: "127.0.0.1:0"}
log: {format: json}
%spipelines:
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [day(ts)]}
  commit: {interval: %s}
%s`, stacktest.Kafka(b), stacktest.Registry(b), where, t.name, interval, steps)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	c := start(b, log, stacktest.Binary(b), "run", "-c", path)
	untilRead(b, c, log, t.n)
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil { // it commits the last round and ends
		b.Fatal(err)
	}
	f := c.wait(t.n)
	if got := committed(b, log); got != rows {
		b.Fatalf("%d rows were committed instead of %d", got, rows)
	}
	f.rows = rows
	if bucket == "" {
		f.stored = folderSize(b, filepath.Join(dir, "lake"))
	} else {
		f.stored = bucketSize(b, bucket)
	}
	return f
}

// untilRead waits until the daemon has read n records.
func untilRead(b *testing.B, c *child, log string, n int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	url, last := "", error(nil)
	for read := int64(0); read < int64(n); {
		select {
		case <-tick.C:
		case <-c.done:
			b.Fatalf("the daemon has ended: %v\n%s", c.err, c.text())
		case <-ctx.Done():
			b.Fatalf("the daemon has read %d of %d records (%v)\n%s", read, n, last, c.text())
		}
		if url == "" {
			for _, l := range logLines(b, log) {
				if l.Msg == "listening" {
					url = "http://" + l.Address + "/api/status"
				}
			}
			continue
		}
		read, last = status(ctx, url)
	}
}

func status(ctx context.Context, url string) (read int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	var s struct{ Pipelines []struct{ Records int64 } }
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return 0, err
	}
	for _, p := range s.Pipelines {
		read += p.Records
	}
	return read, nil
}

type logLine struct {
	Msg, Address string
	Rows         int
}

// logLines are the whole lines of a log so far.
func logLines(b *testing.B, path string) (out []logLine) {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l logLine
		if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &l) == nil { // other lines are of no interest
			out = append(out, l)
		}
	}
	return out
}

func committed(b *testing.B, path string) (rows int) {
	for _, l := range logLines(b, path) {
		if l.Msg == "committed" {
			rows += l.Rows
		}
	}
	return rows
}

// folderSize is the size of the Parquet files in a folder.
func folderSize(b *testing.B, dir string) (n int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".parquet") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func bucketSize(b *testing.B, bucket string) (n int64) {
	b.Helper()
	pages := s3.NewListObjectsV2Paginator(stacktest.S3Client(b, stacktest.S3(b)), &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for _, o := range page.Contents {
			if strings.HasSuffix(*o.Key, ".parquet") {
				n += *o.Size
			}
		}
	}
	return n
}
