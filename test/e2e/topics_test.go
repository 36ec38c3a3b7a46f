//go:build stack

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// widen gives a topic more partitions and returns a client that knows of them.
func widen(t *testing.T, topic string, partitions int) *kgo.Client {
	t.Helper()
	c := stacktest.Producer(t)
	req := kmsg.NewPtrCreatePartitionsRequest()
	more := kmsg.NewCreatePartitionsRequestTopic()
	more.Topic, more.Count = topic, int32(partitions)
	req.Topics = append(req.Topics, more)
	resp, err := req.RequestWith(t.Context(), c)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("widening topic %s to %d partitions: %v", topic, partitions, err)
	}
	until(t, "the new partitions have leaders", func() (bool, any) {
		ask := kmsg.NewPtrMetadataRequest()
		one := kmsg.NewMetadataRequestTopic()
		one.Topic = &topic
		ask.Topics = append(ask.Topics, one)
		m, err := ask.RequestWith(t.Context(), c)
		if err != nil {
			return false, err
		}
		ready := len(m.Topics[0].Partitions) == partitions
		for _, p := range m.Topics[0].Partitions {
			ready = ready && p.ErrorCode == 0 && p.Leader >= 0
		}
		return ready, len(m.Topics[0].Partitions)
	})
	return c
}

// deleted deletes a topic.
func deleted(t *testing.T, c *kgo.Client, topic string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	gone := kmsg.NewDeleteTopicsRequestTopic()
	gone.Topic = &topic
	req.Topics, req.TopicNames = append(req.Topics, gone), []string{topic}
	resp, err := req.RequestWith(t.Context(), c)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("deleting topic %s: %v", topic, err)
	}
}

// TestTopicsAndPartitionsAppear: two pipelines in one process, one of them with a regular expression; a topic that matches it
// appears while they run, and a topic gets more partitions.
func TestTopicsAndPartitionsAppear(t *testing.T) {
	t.Parallel()
	l, name := postgresLake(t), stacktest.Name("appear")
	first, second := name+".first", name+".second"
	stacktest.CreateTopic(t, stacktest.Kafka(t), first, 2, nil)
	config := configure(t, l, fmt.Sprintf(`
- name: every
  source: {pattern: '%s\..*'}
  decode: {value: {format: avro}}
  table: {name: every}
  commit: {interval: 500ms}
- name: first
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: first, partition_by: []}
  commit: {interval: 500ms}
`, name, first))
	kafka, every, only := stacktest.Producer(t), stacktest.NewTruth(), stacktest.NewTruth()
	one := stacktest.NewClicks(t, first, 2)
	both := func(ms ...stacktest.Message) {
		sent(t, kafka, every, ms...)
		only.Note(ms...)
	}
	both(one.Some(100)...)
	d := stacktest.StartDaemon(t, config)
	loaded(t, "every", every.Reached(), d)
	loaded(t, "first", only.Reached(), d)

	stacktest.CreateTopic(t, stacktest.Kafka(t), second, 1, nil)
	sent(t, kafka, every, stacktest.NewClicks(t, second, 1).Some(50)...)
	both(one.Some(50)...)
	loaded(t, "every", every.Reached(), d)

	kafka = widen(t, first, 3)
	one.Partitions = 3
	both(one.Some(60)...)
	loaded(t, "every", every.Reached(), d)
	loaded(t, "first", only.Reached(), d)
	stopped(t, d)
	every.Holds(t, stacktest.PyIceberg(t, l.named("every"), stacktest.Read{Rows: true}))
	only.Holds(t, stacktest.DuckDB(t, l.named("first"), stacktest.Read{Rows: true}))
	verified(t, config)
}

// TestStartIsResolvedOnce: a start at latest or at a time is decided at the first start and holds, also when the loader is
// killed before it has read anything.
func TestStartIsResolvedOnce(t *testing.T) {
	t.Parallel()
	l, topic := folderLake(t), stacktest.Topic(t, 2)
	c, kafka := stacktest.NewClicks(t, topic, 2), stacktest.Producer(t)
	c.Began = c.Began.Add(-time.Hour)
	before, latest, timed := stacktest.NewTruth(), stacktest.NewTruth(), stacktest.NewTruth()
	sent(t, kafka, before, c.Some(60)...)
	start := c.Began.Add(60 * time.Millisecond)
	sent(t, kafka, timed, c.Some(40)...)
	config := configure(t, l, fmt.Sprintf(`
- name: latest
  source: {topics: [%[1]s], start: latest}
  decode: {value: {format: avro}}
  table: {name: latest}
  commit: {interval: 500ms}
- name: timed
  source: {topics: [%[1]s], start: %[2]s}
  decode: {value: {format: avro}}
  table: {name: timed}
  commit: {interval: 60s}
`, topic, start.UTC().Format(time.RFC3339Nano)))
	d := stacktest.StartDaemon(t, config)
	until(t, "both starts are resolved", func() (bool, any) {
		a, errA := committed(d, "latest")
		b, errB := committed(d, "timed")
		return errA == nil && errB == nil && len(a) == 2 && len(b) == 2, []any{a, b, errA, errB}
	})
	d.Kill() // latest was at the end then, and timed has committed nothing but its start

	down := c.Some(30)
	sent(t, kafka, latest, down...)
	timed.Note(down...)
	kafka = widen(t, topic, 3) // a partition that appears later begins at its earliest offset
	c.Partitions = 3
	d = stacktest.StartDaemon(t, config)
	last := c.Some(30)
	sent(t, kafka, latest, last...)
	timed.Note(last...)
	loaded(t, "latest", latest.Reached(), d)
	until(t, "the partitions of timed are assigned", func() (bool, any) {
		at, err := committed(d, "timed")
		return err == nil && len(at) == 3, at
	})
	stopped(t, d)
	d = stacktest.StartDaemon(t, config)
	loaded(t, "latest", latest.Reached(), d)
	stopped(t, d)
	latest.Holds(t, stacktest.PyIceberg(t, l.named("latest"), stacktest.Read{Rows: true}))
	timed.Holds(t, stacktest.PyIceberg(t, l.named("timed"), stacktest.Read{Rows: true}))
	verified(t, config)
}
