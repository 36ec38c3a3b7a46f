//go:build stack

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// anew deletes a topic and creates it again, as two partitions.
func anew(t *testing.T, topic string) {
	t.Helper()
	deleted(t, stacktest.Producer(t), topic)
	stacktest.CreateTopic(t, stacktest.Kafka(t), topic, 2, nil)
}

// epochs waits until a pipeline has loaded everything of a topic in the truth's present epoch.
func epochs(t *testing.T, pipeline, topic string, w *stacktest.Truth, d *stacktest.Daemon) {
	t.Helper()
	ends := w.Reached()
	until(t, fmt.Sprintf("pipeline %s has loaded epoch %d of %s: %v", pipeline, w.Epoch, topic, ends), func() (bool, any) {
		p, err := ask(d)
		if err != nil {
			return false, err
		}
		at := 0
		for _, l := range p.Pipelines {
			for _, x := range l.Partitions {
				if l.Name == pipeline && x.Topic == topic && x.Epoch == w.Epoch && x.Committed >= ends[stacktest.Place{Topic: x.Topic, Partition: x.Partition}] {
					at++
				}
			}
		}
		return at == 2, p
	})
}

// TestTopicIsCreatedAnew: a topic is deleted and created again while it is being loaded. By default it stops with an
// explanation, and the others go on; on_reset has it begin a new epoch. Nothing is lost, and nothing is taken for what it is not.
func TestTopicIsCreatedAnew(t *testing.T) {
	t.Parallel()
	l, hit, other := folderLake(t), stacktest.Topic(t, 2), stacktest.Topic(t, 2)
	yaml := fmt.Sprintf(`
- name: strict
  source: {topics: [%[1]s, %[2]s]}
  decode: {value: {format: avro}}
  table: {name: strict}
  commit: {interval: 500ms}
- name: anew
  source: {topics: [%[1]s, %[2]s], on_reset: earliest}
  decode: {value: {format: avro}}
  table: {name: anew}
  commit: {interval: 500ms}
`, hit, other)
	config := configure(t, l, yaml)
	a, b := stacktest.NewClicks(t, hit, 2), stacktest.NewClicks(t, other, 2)
	strict, again, steady := stacktest.NewTruth(), stacktest.NewTruth(), stacktest.NewTruth() // steady: the other topic, the same for both
	ms := a.Some(200)
	sent(t, stacktest.Producer(t), again, ms...)
	strict.Note(ms...)
	sent(t, stacktest.Producer(t), steady, b.Some(100)...)
	d := stacktest.StartDaemon(t, config)
	for _, p := range []string{"strict", "anew"} {
		loaded(t, p, again.Reached(), d)
		loaded(t, p, steady.Reached(), d)
	}

	// First with more records than before, so that the old position is there in the new topic, then with fewer.
	for _, n := range []int{500, 30} {
		anew(t, hit)
		again.Again(hit)
		sent(t, stacktest.Producer(t), again, a.Some(n)...)
		sent(t, stacktest.Producer(t), steady, b.Some(50)...)
		epochs(t, "anew", hit, again, d)
		for _, p := range []string{"strict", "anew"} {
			loaded(t, p, steady.Reached(), d)
		}
	}
	explained(t, d, hit)
	stopped(t, d)
	verified(t, config)
	judge := func(table string, own *stacktest.Truth) {
		t.Helper()
		want := stacktest.NewTruth()
		for _, w := range []*stacktest.Truth{own, steady} {
			for at, r := range w.Rows {
				want.Rows[at] = r
			}
		}
		want.Holds(t, stacktest.PyIceberg(t, l.named(table), stacktest.Read{Rows: true}))
	}
	judge("strict", strict)
	judge("anew", again)

	// It stays stopped over a restart, and goes on when it is told to.
	d = stacktest.StartDaemon(t, config)
	explained(t, d, hit)
	sent(t, stacktest.Producer(t), steady, b.Some(10)...)
	loaded(t, "strict", steady.Reached(), d)
	stopped(t, d)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Replace(string(text), other+"]}", other+"], on_reset: latest}", 1)
	if err := os.WriteFile(config, []byte(told), 0o644); err != nil {
		t.Fatal(err)
	}
	d = stacktest.StartDaemon(t, config)
	strict.Again(hit)
	epochs(t, "strict", hit, strict, d)
	sent(t, stacktest.Producer(t), strict, a.Some(20)...)
	epochs(t, "strict", hit, strict, d)

	// A topic that is gone for good leaves the others alone.
	deleted(t, stacktest.Producer(t), hit)
	sent(t, stacktest.Producer(t), steady, b.Some(40)...)
	for _, p := range []string{"strict", "anew"} {
		loaded(t, p, steady.Reached(), d)
	}
	stopped(t, d)
	judge("strict", strict)
	verified(t, config)
}

// TestTopicIsCreatedAnewWithOlderLeaders: the partitions' leaders have changed a few times when their topic is deleted and created again. The epochs
// of leaders begin at zero again, which the client takes for outdated news.
func TestTopicIsCreatedAnewWithOlderLeaders(t *testing.T) {
	t.Parallel()
	l, k, topic := folderLake(t), stacktest.StartKafka(t), stacktest.Name("older")
	stacktest.CreateTopic(t, k.Addr(), topic, 2, nil)
	config := configure(t, l, fmt.Sprintf(`
- name: anew
  source: {topics: [%s], on_reset: earliest}
  decode: {value: {format: avro}}
  table: {name: anew}
  commit: {interval: 500ms}
`, topic))
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(text), stacktest.Kafka(t), k.Addr())), 0o644); err != nil {
		t.Fatal(err)
	}
	clicks, truth := stacktest.NewClicks(t, topic, 2), stacktest.NewTruth()
	client := func() *kgo.Client { return stacktest.Producer(t, kgo.SeedBrokers(k.Addr())) }
	sent(t, client(), truth, clicks.Some(200)...)
	d := stacktest.StartDaemon(t, config)
	loaded(t, "anew", truth.Reached(), d)
	for range 2 {
		k.Stop() // the leaders' epochs grow
		k.Start()
		sent(t, client(), truth, clicks.Some(50)...)
		loaded(t, "anew", truth.Reached(), d)
	}
	for _, n := range []int{500, 30} {
		deleted(t, client(), topic)
		stacktest.CreateTopic(t, k.Addr(), topic, 2, nil)
		truth.Again(topic)
		sent(t, client(), truth, clicks.Some(n)...)
		epochs(t, "anew", topic, truth, d)
	}
	stopped(t, d)
	verified(t, config)
	truth.Holds(t, stacktest.PyIceberg(t, l.named("anew"), stacktest.Read{Rows: true}))
}

// explained waits until the daemon says of the topic why it is not loaded and what to do.
func explained(t *testing.T, d *stacktest.Daemon, topic string) {
	t.Helper()
	d.WaitLog("a topic is stopped", topic, "on_reset")
	until(t, "the status explains it", func() (bool, any) {
		p, err := ask(d)
		if err != nil {
			return false, err
		}
		for _, l := range p.Pipelines {
			if e := l.LastError; l.Name == "strict" && e != nil && strings.Contains(e.Message, topic) && strings.Contains(e.Message, "on_reset") {
				return true, nil
			}
		}
		return false, p
	})
}
