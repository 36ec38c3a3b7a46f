//go:build stack && engines

package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// system is a published system as it is shipped, on a Kafka of its own (its topics have the published names), with a real database and a
// real connector.
type system struct {
	t        *testing.T
	lake     lake
	kafka    string
	client   *kgo.Client
	database *demo.Database
	text     string // the configuration as it is shipped
}

const (
	systemPartitions = 4 // of each topic
	// systemPatience is how long a test waits for what must happen: a database, a connector and a Kafka are at work besides.
	systemPatience = 2 * time.Minute
)

func startSystem(t *testing.T, name, database string, topics ...string) *system {
	t.Helper()
	s := &system{t: t, lake: folderLake(t), kafka: stacktest.StartKafka(t).Addr()}
	text, err := os.ReadFile(filepath.Join(stacktest.Root(t), "configs", name, "lakeloader.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.text = string(text)
	s.client = stacktest.Producer(t, kgo.SeedBrokers(s.kafka), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	s.coordinated()
	for _, topic := range topics {
		stacktest.CreateTopic(t, s.kafka, topic, systemPartitions, nil)
	}
	if s.database, err = demo.OpenDatabase(name, database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.database.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.database.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// coordinated waits until the broker has made its topic of groups, which it does when the first one is asked for.
func (s *system) coordinated() {
	s.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorKeys = "first", []string{"first"}
	within(s.t, systemPatience, "the broker coordinates groups", func() (bool, any) {
		res, err := req.RequestWith(s.t.Context(), s.client)
		if err == nil && len(res.Coordinators) == 1 {
			err = kerr.ErrorForCode(res.Coordinators[0].ErrorCode)
		}
		return err == nil, err
	})
}

var fromEnv = regexp.MustCompile(`\$\{env:([A-Z0-9_]+):-([^}]*)\}`)

// configure writes the system's configuration with what it takes from the environment filled in, short time-outs, and the job of the
// present rows every second.
func (s *system) configure(env map[string]string) string {
	s.t.Helper()
	text := fromEnv.ReplaceAllStringFunc(s.text, func(ref string) string {
		m := fromEnv.FindStringSubmatch(ref)
		if v, ok := env[m[1]]; ok {
			return v
		}
		switch m[1] {
		case "LAKELOADER_BROKERS":
			return s.kafka
		case "LAKELOADER_REGISTRY":
			return stacktest.Registry(s.t)
		case "LAKELOADER_WAREHOUSE":
			return s.lake.warehouse
		case "LAKELOADER_HTTP":
			return "127.0.0.1:0"
		case "LAKELOADER_COMMIT_INTERVAL":
			return "1s"
		}
		return m[2]
	})
	text = strings.Replace(text, "\nkafka:\n", "\nkafka:\n  properties: {session.timeout.ms: \"3000\", heartbeat.interval.ms: \"300\", fetch.wait.max.ms: \"100\"}\n", 1) +
		"\nlog: {format: json}\njobs: {current: {schedule: \"@every 1s\"}}\n"
	path := filepath.Join(s.t.TempDir(), "lakeloader.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// connect starts a connector that tells the changes of the system's database, with what it needs besides.
func (s *system) connect(class, at string, more map[string]string) *stacktest.Server {
	s.t.Helper()
	connector := connectorOf(s.t, class, at, more)
	connector["name"], connector["table.include.list"], connector["poll.interval.ms"] = "system", s.database.Name, "100"
	return stacktest.StartConnectOn(s.t, s.kafka, connector)
}

func (s *system) apply(op byte, row map[string]any) {
	s.t.Helper()
	if err := s.database.Apply(s.t.Context(), &demo.Change{Op: op, Row: row}); err != nil {
		s.t.Fatal(err)
	}
}

// ends is where the partitions of topics end.
func (s *system) ends(topics ...string) map[stacktest.Place]int64 {
	s.t.Helper()
	req, at := kmsg.NewPtrListOffsetsRequest(), map[stacktest.Place]int64{}
	for _, topic := range topics {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for p := range int32(systemPartitions) {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = p, -1
			t.Partitions = append(t.Partitions, rp)
		}
		req.Topics = append(req.Topics, t)
	}
	for _, shard := range s.client.RequestSharded(s.t.Context(), req) {
		res, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if shard.Err != nil || !ok {
			s.t.Fatal(shard.Err)
		}
		for _, t := range res.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					s.t.Fatal(err)
				}
				at[stacktest.Place{Topic: t.Topic, Partition: p.Partition}] = p.Offset
			}
		}
	}
	return at
}

// told waits until the connector has told every change of the database.
func (s *system) told() {
	s.t.Helper()
	within(s.t, systemPatience, "the connector has told all changes", func() (bool, any) {
		n := int64(0)
		for _, end := range s.ends(s.database.Topic) {
			n += end
		}
		return n >= s.database.Told(), fmt.Sprintf("%d messages of %d", n, s.database.Told())
	})
}

func (s *system) produce(rs ...*kgo.Record) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.client.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

// lines asks the database for rows of one text each, sorted.
func (s *system) lines(query string) (lines []string) {
	s.t.Helper()
	rows, err := s.database.DB().QueryContext(s.t.Context(), query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }() // its error is that of Err
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			s.t.Fatal(err)
		}
		lines = append(lines, line.String)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// has compares a table of the lake, as DuckDB reads it, with lines.
func (s *system) has(table, query string, want []string) {
	s.t.Helper()
	var have []string
	for _, row := range stacktest.DuckDB(s.t, s.lake.named(table), stacktest.Read{SQL: []string{query}}).Results[0] {
		have = append(have, fmt.Sprint(row[0]))
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		s.t.Errorf("%s has %d rows, of %d; the first that differs: %s", table, len(have), len(want), firstLine(have, want))
	}
}

// loaded waits until a pipeline has committed what its topics have.
func (s *system) loaded(d *stacktest.Daemon, pipeline string, topics ...string) {
	s.t.Helper()
	loaded(s.t, pipeline, s.ends(topics...), d)
}

// since is how long something took, for people.
func since(at time.Time) time.Duration { return time.Since(at).Round(time.Millisecond) }
