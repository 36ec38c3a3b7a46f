//go:build stack

package chaos

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// lake is where the tables of one round of the suite are, and how loaders and readers find them.
type lake struct {
	kind  string // rest, postgres or sqlite
	table stacktest.Table
	// yaml gives the sections catalog and warehouse of a loader's configuration, which go through its proxies.
	yaml func(l *loader) string
	// direct is the same without proxies.
	direct string
	at     string // the warehouse; "": a folder
}

const namespace = "lake"

func (k lake) named(name string) stacktest.Table {
	t := k.table
	t.Table += "." + name
	return t
}

// newLake makes a lake of one kind. REST and PostgreSQL have their files in S3, SQLite in a folder.
func newLake(t *testing.T, kind string) lake {
	t.Helper()
	switch kind {
	case "rest":
		ns := strings.ReplaceAll(stacktest.Name("ns"), "-", "_")
		at := "s3://" + stacktest.NewBucket(t) + "/lake"
		yaml := func(uri, s3 string) string {
			return fmt.Sprintf("catalog: {type: rest, uri: %q, namespace: %s}\n%s", uri, ns, s3Warehouse(t, at, s3))
		}
		return lake{kind: kind, table: stacktest.Table{Catalog: "rest", URI: stacktest.REST(t), Table: ns}, at: at, direct: yaml(stacktest.REST(t), stacktest.S3(t)),
			yaml: func(l *loader) string {
				l.catalog = stacktest.NewHTTPProxy(t, stacktest.REST(t))
				return yaml(l.catalog.URL, l.s3.URL)
			}}
	case "postgres":
		uri := stacktest.NewDatabase(t)
		at := "s3://" + stacktest.NewBucket(t) + "/lake"
		yaml := func(uri, s3 string) string {
			return fmt.Sprintf("catalog: {type: postgres, uri: %q, namespace: %s}\n%s", uri, namespace, s3Warehouse(t, at, s3))
		}
		return lake{kind: kind, table: stacktest.Table{Catalog: "postgres", URI: uri, Warehouse: at, Table: namespace}, at: at, direct: yaml(uri, stacktest.S3(t)),
			yaml: func(l *loader) string {
				u, err := url.Parse(uri)
				if err != nil {
					t.Fatal(err)
				}
				l.postgres = stacktest.NewProxy(t, u.Host)
				u.Host = l.postgres.Addr()
				return yaml(u.String(), l.s3.URL)
			}}
	default:
		at := filepath.Join(t.TempDir(), "lake")
		yaml := fmt.Sprintf("catalog: {namespace: %s}\nwarehouse: {location: %q}\n", namespace, at)
		return lake{kind: kind, table: stacktest.Table{Catalog: "sqlite", URI: filepath.Join(at, "catalog.db"), Warehouse: "file://" + at, Table: namespace}, direct: yaml,
			yaml: func(*loader) string { return yaml }}
	}
}

func s3Warehouse(t *testing.T, at, endpoint string) string {
	t.Helper()
	access, secret := stacktest.S3Keys(t)
	return fmt.Sprintf("warehouse: {location: %q, s3: {endpoint: %q, access_key: %s, secret_key: %s}}\n", at, endpoint, access, secret)
}

// configure writes a configuration. Time-outs are short, so that what is waited for comes soon.
func configure(t *testing.T, dir, broker, registry, lake, topic string) string {
	t.Helper()
	text := fmt.Sprintf(`kafka:
  brokers: [%q]
  properties:
    session.timeout.ms: "%d"
    heartbeat.interval.ms: "300"
    topic.metadata.refresh.interval.ms: "1000"
    reconnect.backoff.max.ms: "500"
    fetch.wait.max.ms: "100"
registry: {url: %q, timeout: 2s, unknown_id_after: 1h}
http: {address: "127.0.0.1:0"}
log: {format: json, level: debug}
%spipelines:
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [country]}
  commit: {interval: 700ms}
%s`, broker, sessionTimeout.Milliseconds(), registry, lake, topic, stacktest.ClickSteps)
	path := filepath.Join(dir, "lakeloader.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// newLoader makes the place of a loader, without a process.
func newLoader(t *testing.T, number int, broker string, k lake, topic string) *loader {
	t.Helper()
	l := &loader{t: t, number: number, dir: t.TempDir(), s3: stacktest.NewHTTPProxy(t, stacktest.S3(t)), registry: stacktest.NewHTTPProxy(t, stacktest.Registry(t))}
	l.config = configure(t, l.dir, broker, l.registry.URL, k.yaml(l), topic)
	return l
}
