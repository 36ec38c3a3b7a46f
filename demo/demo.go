// Package demo runs the published systems with nothing installed: an embedded Kafka and schema registry, and generators
// for their topics. The loader itself is the real one.
package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Names of the demos.
var names = []string{"clicks", "ratings", "visitor-spend"}

// Names lists the demos.
func Names() []string { return append([]string(nil), names...) }

const partitions = 4

// outputs are the topics that the loader of a demo writes.
var outputs = map[string][]string{}

// Demo is the embedded servers of a demo.
type Demo struct {
	name     string
	cluster  *kfake.Cluster
	registry *Registry
	receiver *Receiver
	client   *kgo.Client
	gen      Generator
}

// Start starts the servers on free loopback ports and makes the topics.
func Start(name string, seed uint64, at time.Time) (d *Demo, err error) {
	d = &Demo{name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
			d = nil
		}
	}()
	if d.registry, err = StartRegistry(); err != nil {
		return d, err
	}
	if d.receiver, err = StartReceiver(); err != nil {
		return d, err
	}
	switch name {
	case "clicks":
		d.gen = NewClicks(seed, at)
	case "ratings":
		d.gen = NewRatings(seed, at, d.registry.Register)
	case "visitor-spend":
		d.gen = NewPurchases(seed, at)
	default:
		return d, fmt.Errorf("there is no demo %q: choose one of %s", name, strings.Join(names, ", "))
	}
	var topics []string
	for _, t := range d.gen.Topics() {
		topics = append(topics, t.Name)
	}
	if d.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, append(topics, outputs[name]...)...), kfake.ClusterID("lakeloader-demo")); err != nil {
		return d, fmt.Errorf("starting the embedded Kafka: %w", err)
	}
	d.client, err = kgo.NewClient(kgo.SeedBrokers(d.cluster.ListenAddrs()...),
		kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(20000), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchMaxBytes(512<<10))
	if err != nil {
		return d, fmt.Errorf("connecting to the embedded Kafka: %w", err)
	}
	return d, nil
}

// Brokers of the embedded Kafka.
func (d *Demo) Brokers() string { return strings.Join(d.cluster.ListenAddrs(), ",") }

// RegistryURL of the embedded registry.
func (d *Demo) RegistryURL() string { return d.registry.URL() }

// Topics that the demo produces to.
func (d *Demo) Topics() []Topic { return d.gen.Topics() }

// Received is what has arrived at the demo's webhook and search index.
func (d *Demo) Received() Received { return d.receiver.Received() }

// Produce sends n records of the first topic (0: until ctx ends), at most rate records a second (0: as fast as possible), with what comes
// between them on the others. It returns how many of each topic the broker has acknowledged.
func (d *Demo) Produce(ctx context.Context, n int64, rate int) (sent map[string]int64, err error) {
	type outcome struct {
		topic string
		err   error
	}
	var failed error
	sent = map[string]int64{}
	acked := make(chan outcome, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for o := range acked {
			if o.err == nil {
				sent[o.topic]++
			} else if failed == nil {
				failed = o.err
			}
		}
	}()
	began := time.Now()
	first := d.gen.Topics()[0].Name
	for i, left := int64(0), n; (n == 0 || left > 0) && ctx.Err() == nil; i++ {
		r := d.gen.Next()
		if r.Topic == first {
			left--
		}
		// Produce blocks while too many records are on their way: the broker's pace is ours.
		d.client.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}, func(_ *kgo.Record, err error) { acked <- outcome{r.Topic, err} })
		if rate > 0 && i%perTick == 0 {
			pause(ctx, time.Duration(float64(i)/float64(rate)*float64(time.Second))-time.Since(began))
		}
	}
	err = d.client.Flush(context.WithoutCancel(ctx))
	close(acked)
	<-done
	return sent, errors.Join(err, failed)
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Trim deletes the records of a topic below the offsets, since the embedded Kafka keeps everything in memory. What is a table stays.
func (d *Demo) Trim(ctx context.Context, topic string, below map[int32]int64) error {
	if !slices.Contains(d.gen.Topics(), Topic{Name: topic}) {
		return nil
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	for p, off := range below {
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Partition, rp.Offset = p, off
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	req.TimeoutMillis = 5000
	_, err := req.RequestWith(ctx, d.client)
	return err
}

// Close ends the servers.
func (d *Demo) Close() error {
	if d.client != nil {
		d.client.Close()
	}
	if d.cluster != nil {
		d.cluster.Close()
	}
	var err error
	if d.receiver != nil {
		err = d.receiver.Close()
	}
	if d.registry != nil {
		err = errors.Join(err, d.registry.Close())
	}
	return err
}
