//go:build stack

// Package e2e runs the real binary against real servers and judges the tables with readers that are not ours: every
// record that was produced and committed is there once, offset by offset and value by value, whatever was killed,
// paused, created or deleted meanwhile.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestMain lets more tests run at once than there are CPUs: they mostly wait for commits and for Kafka's time-outs.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const namespace = "lake"

// lake is a catalog and a warehouse of a test's own.
type lake struct {
	yaml      string // the sections catalog and warehouse of a configuration
	table     stacktest.Table
	warehouse string // its location
}

// named is how readers find a table of the lake.
func (l lake) named(name string) stacktest.Table {
	t := l.table
	t.Table += "." + name
	return t
}

// restLake is in S3, behind the REST catalog. All tests share the catalog, and each has a namespace.
func restLake(t *testing.T) lake {
	t.Helper()
	ns := strings.ReplaceAll(stacktest.Name("ns"), "-", "_")
	at := "s3://" + stacktest.NewBucket(t) + "/lake"
	return lake{
		yaml:      fmt.Sprintf("catalog: {type: rest, uri: %q, namespace: %s}\n%s", stacktest.REST(t), ns, s3Warehouse(t, at)),
		table:     stacktest.Table{Catalog: "rest", URI: stacktest.REST(t), Table: ns},
		warehouse: at,
	}
}

// postgresLake is in S3, with a SQL catalog in a PostgreSQL database of its own.
func postgresLake(t *testing.T) lake {
	t.Helper()
	uri := stacktest.NewDatabase(t)
	at := "s3://" + stacktest.NewBucket(t) + "/lake"
	return lake{
		yaml:      fmt.Sprintf("catalog: {type: postgres, uri: %q, namespace: %s}\n%s", uri, namespace, s3Warehouse(t, at)),
		table:     stacktest.Table{Catalog: "postgres", URI: uri, Warehouse: at, Table: namespace},
		warehouse: at,
	}
}

// folderLake is what one gets with nothing but a folder: SQLite beside the files.
func folderLake(t *testing.T) lake {
	t.Helper()
	at := filepath.Join(t.TempDir(), "lake")
	return lake{
		yaml:      fmt.Sprintf("catalog: {namespace: %s}\nwarehouse: {location: %q}\n", namespace, at),
		table:     stacktest.Table{Catalog: "sqlite", URI: filepath.Join(at, "catalog.db"), Warehouse: "file://" + at, Table: namespace},
		warehouse: at,
	}
}

func s3Warehouse(t *testing.T, at string) string {
	t.Helper()
	access, secret := stacktest.S3Keys(t)
	return fmt.Sprintf("warehouse: {location: %q, s3: {endpoint: %q, access_key: %s, secret_key: %s}}\n", at, stacktest.S3(t), access, secret)
}

// configure writes a configuration with the shared servers, the lake and the pipelines (a YAML list), and returns its
// path. Time-outs are short, so that what a test waits for comes soon.
func configure(t *testing.T, l lake, pipelines string) string {
	t.Helper()
	text := fmt.Sprintf(`kafka:
  brokers: [%q]
  properties:
    session.timeout.ms: "3000"
    heartbeat.interval.ms: "300"
    topic.metadata.refresh.interval.ms: "300"
    fetch.wait.max.ms: "100"
registry: {url: %q, unknown_id_after: 2s}
http: {address: "127.0.0.1:0"}
log: {format: json}
%spipelines:
%s`, stacktest.Kafka(t), stacktest.Registry(t), l.yaml, pipelines)
	path := filepath.Join(t.TempDir(), "lakeloader.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// verified runs lakeloader verify, which must find everything accounted for.
func verified(t *testing.T, config string) {
	t.Helper()
	stdout, stderr, code := stacktest.Lakeloader(t, "verify", "-c", config)
	if code != 0 || !strings.Contains(stdout, "OK: all ") {
		t.Errorf("verify ends with %d:\n%s%s", code, stdout, stderr)
	}
}

// stopped asks a daemon to stop, which must commit everything and end with 0.
func stopped(t *testing.T, d *stacktest.Daemon) {
	t.Helper()
	if code := d.Stop(); code != 0 {
		t.Errorf("after SIGTERM the daemon ends with %d", code)
	}
}
