//go:build stack

package stacktest

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql" // driver of NewDatabase
)

// Server is a server of one test's own, which the test may stop, kill and start again. It keeps its address and its
// data until the test ends. Its methods fail the test when the server does not do as told.
type Server struct {
	t        testing.TB
	kind     string // the script's name
	dir      string
	settings []string // environment of the script
	args     []string
}

// StartKafka starts a broker; properties are further lines of its server.properties.
func StartKafka(t testing.TB, properties ...string) *Server {
	t.Helper()
	return start(t, "kafka", []string{"KAFKA_PROPS=" + strings.Join(properties, "\n")})
}

// StartS3 starts an S3 server with the buckets.
func StartS3(t testing.TB, buckets ...string) *Server {
	t.Helper()
	return start(t, "s3", nil, buckets...)
}

// StartRegistry starts a schema registry.
func StartRegistry(t testing.TB) *Server {
	t.Helper()
	return start(t, "registry", nil)
}

// StartOpenSearch starts a node of OpenSearch.
func StartOpenSearch(t testing.TB) *Server {
	t.Helper()
	return start(t, "opensearch", nil)
}

// StartPostgres starts a PostgreSQL server.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	return start(t, "postgres", nil)
}

// StartBinlogMariaDB is StartMariaDB with a log that connectors can read.
func StartBinlogMariaDB(t testing.TB) *Server {
	t.Helper()
	return start(t, "mariadb", []string{"MARIADB_BINLOG=1"})
}

// StartMariaDB starts a MariaDB server, which is downloaded the first time (150 MB).
func StartMariaDB(t testing.TB) *Server {
	t.Helper()
	return start(t, "mariadb", nil)
}

// NewDatabase makes an empty database on a MariaDB server, and returns its URL.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	name := strings.ReplaceAll(Name("db"), "-", "_")
	db, err := sql.Open("mysql", "lakeloader:lakeloader-secret@tcp("+s.Addr()+")/lakeloader")
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatalf("creating database %s: %v", name, err)
	}
	return "mysql://lakeloader:lakeloader-secret@" + s.Addr() + "/" + name
}

// StartLogicalPostgres is StartPostgres with a log that connectors can read.
func StartLogicalPostgres(t testing.TB) *Server {
	t.Helper()
	return start(t, "postgres", []string{"POSTGRES_WAL=logical"})
}

// StartConnect starts a worker of Kafka Connect on the shared broker, with Debezium's plugins and a connector of these properties. It needs
// the heavy engines' downloads: see make test-engines.
func StartConnect(t testing.TB, connector map[string]string) *Server {
	t.Helper()
	return StartConnectOn(t, Kafka(t), connector)
}

// StartConnectOn is StartConnect on another broker.
func StartConnectOn(t testing.TB, broker string, connector map[string]string) *Server {
	t.Helper()
	var text strings.Builder
	for k, v := range connector {
		text.WriteString(k + "=" + v + "\n")
	}
	file := filepath.Join(t.TempDir(), "connector.properties")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, "connect", nil, broker, file)
}

func start(t testing.TB, kind string, settings []string, args ...string) *Server {
	t.Helper()
	// below the shared servers' folder, so that down.sh finds it even when this process is killed
	dir, err := os.MkdirTemp(env(t, "STACK_DIR"), kind+"-private-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, kind: kind, dir: dir, settings: settings, args: args}
	t.Cleanup(func() {
		verb := "remove"
		if t.Failed() {
			verb = "kill" // run.sh saves the log
		}
		if err := s.do(context.Background(), verb); err != nil {
			t.Error(err)
		}
	})
	s.Start()
	return s
}

// For is the server for a test within the one that started it: that one fails when the server does not do as told.
func (s *Server) For(t testing.TB) *Server {
	c := *s
	c.t = t
	return &c
}

// Addr is the server's host:port, the same after every start.
func (s *Server) Addr() string {
	s.t.Helper()
	ports, err := os.ReadFile(filepath.Join(s.dir, "ports"))
	if err != nil {
		s.t.Fatal(err)
	}
	return "127.0.0.1:" + strings.Fields(string(ports))[0]
}

// URL is the server's address as its clients want it.
func (s *Server) URL() string {
	s.t.Helper()
	switch s.kind {
	case "registry":
		return "http://" + s.Addr() + "/apis/ccompat/v7"
	case "postgres":
		return "postgres://lakeloader:lakeloader-secret@" + s.Addr() + "/lakeloader"
	case "mariadb":
		return "mysql://lakeloader:lakeloader-secret@" + s.Addr() + "/lakeloader"
	case "s3", "opensearch":
		return "http://" + s.Addr()
	default:
		return s.Addr()
	}
}

// Dir is the server's folder; a broker's partitions lie in data below it.
func (s *Server) Dir() string { return s.dir }

// Start starts the server and returns when it is ready; on a running one it does nothing.
func (s *Server) Start() {
	s.t.Helper()
	s.must("start", s.args...)
}

// Stop stops the server cleanly.
func (s *Server) Stop() {
	s.t.Helper()
	s.must("stop")
}

// Kill ends the server at once with SIGKILL.
func (s *Server) Kill() {
	s.t.Helper()
	s.must("kill")
}

func (s *Server) must(verb string, args ...string) {
	s.t.Helper()
	if err := s.do(s.t.Context(), verb, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) do(ctx context.Context, verb string, args ...string) error {
	script := filepath.Join(Root(s.t), "test", "stack", s.kind+".sh")
	_, err := run(ctx, s.settings, script, append([]string{verb, s.dir}, args...)...)
	return err
}
