// Package demo runs the published systems: generators for their topics, and, for what is not installed, an embedded Kafka, schema
// registry, webhook and search index. The loader itself is the real one.
package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riferrei/srclient"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Names of the demos.
var names = []string{"clicks", "ratings", "visitor-spend", "retail"}

// Names lists the demos.
func Names() []string { return append([]string(nil), names...) }

// Partitions of each topic.
const Partitions = 4

// outputs are the topics that the loader of a demo writes.
var outputs = map[string][]Topic{
	"ratings":       {{Name: "ratings-with-customer-data"}, {Name: "UNHAPPY_PLATINUM_CUSTOMERS"}},
	"visitor-spend": {{Name: "visitor-spend", Table: true}},
}

// Demo is the servers of a demo, and its generator.
type Demo struct {
	name     string
	env      func(name string) string // of servers that are there; never nil
	cluster  *kfake.Cluster           // nil: there is a real one
	brokers  []string
	registry *Registry
	receiver *Receiver
	client   *kgo.Client
	gen      Generator
	database *Database // nil: the generator makes the messages of changes itself
	held     []Record  // made by the generator, and to be produced before its next one
}

// Options of a demo.
type Options struct {
	Seed uint64
	At   time.Time // of the first record
	// Env gives the values that the system's configuration takes from the environment: LAKELOADER_BROKERS, say, for a Kafka that is
	// there. nil, or an empty value: the embedded servers are used.
	Env func(name string) string
	// Database is the URL of a database that the system's changes are written to, for a connector to tell of. Empty: there is none, and the
	// messages are made as a connector would.
	Database string
}

// Start starts what is not there on free loopback ports and makes the topics.
func Start(name string, o Options) (d *Demo, err error) {
	d = &Demo{name: name, env: o.Env}
	if d.env == nil {
		d.env = func(string) string { return "" }
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
			d = nil
		}
	}()
	if o.Database != "" {
		if d.database, err = OpenDatabase(name, o.Database); err != nil {
			return d, err
		}
	}
	if d.registry, err = StartRegistry(); err != nil {
		return d, err
	}
	if d.receiver, err = StartReceiver(); err != nil {
		return d, err
	}
	if d.gen, err = d.generator(o); err != nil {
		return d, err
	}
	if d.brokers = strings.Split(d.env("LAKELOADER_BROKERS"), ","); d.brokers[0] == "" {
		if d.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("lakeloader-demo")); err != nil {
			return d, fmt.Errorf("starting the embedded Kafka: %w", err)
		}
		d.brokers = d.cluster.ListenAddrs()
	}
	d.client, err = kgo.NewClient(kgo.SeedBrokers(d.brokers...),
		kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(20000), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchMaxBytes(512<<10))
	if err != nil {
		return d, fmt.Errorf("connecting to Kafka: %w", err)
	}
	return d, d.makeTopics()
}

// generator of the system.
func (d *Demo) generator(o Options) (Generator, error) {
	switch d.name {
	case "clicks":
		return NewClicks(o.Seed, o.At), nil
	case "ratings":
		schemas := map[string]string{ratingsTopic + "-value": RatingsSchema}
		if d.database == nil { // else its connector registers its own
			schemas[customersTopic+"-key"], schemas[customersTopic+"-value"] = CustomersKeySchema, CustomersSchema
		}
		ids, err := d.register(schemas)
		if err != nil {
			return nil, err
		}
		return NewRatings(o.Seed, o.At, func(subject string) int32 { return ids[subject] })
	case "visitor-spend":
		return NewPurchases(o.Seed, o.At), nil
	case "retail":
		return NewRetail(o.Seed, o.At), nil
	}
	return nil, fmt.Errorf("there is no demo %q: choose one of %s", d.name, strings.Join(names, ", "))
}

// register registers schemas by subject and returns their ids.
func (d *Demo) register(schemas map[string]string) (ids map[string]int32, err error) {
	ids = map[string]int32{}
	url := d.env("LAKELOADER_REGISTRY")
	for subject, schema := range schemas {
		if url == "" {
			ids[subject] = d.registry.Register(subject, schema)
			continue
		}
		s, err := srclient.NewSchemaRegistryClient(url).CreateSchema(subject, schema, srclient.Avro)
		if err != nil {
			return nil, fmt.Errorf("registering the schema of %s at %s: %w", subject, url, err)
		}
		ids[subject] = int32(s.ID())
	}
	return ids, nil
}

// makeTopics makes the topics of the system and those that the loader writes. The system's own must be new: the demo counts what
// comes of its records.
func (d *Demo) makeTopics() error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10000
	add := func(name string, compacted bool) {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, Partitions, 1
		if compacted {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = "cleanup.policy", kmsg.StringPtr("compact")
			t.Configs = append(t.Configs, c)
		}
		req.Topics = append(req.Topics, t)
	}
	for _, t := range append(d.gen.Topics(), outputs[d.name]...) {
		add(t.Name, t.Table)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := req.RequestWith(ctx, d.client)
	if err != nil {
		return fmt.Errorf("making the demo's topics at %s: %w", d.Brokers(), err)
	}
	for _, t := range res.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("making the topic %s at %s: %w; the demo needs topics of its own, which are not there yet", t.Topic, d.Brokers(), err)
		}
	}
	return nil
}

// Brokers of the Kafka.
func (d *Demo) Brokers() string { return strings.Join(d.brokers, ",") }

// RegistryURL of the embedded registry.
func (d *Demo) RegistryURL() string { return d.registry.URL() }

// Topics that the demo produces to.
func (d *Demo) Topics() []Topic { return d.gen.Topics() }

// Received is what has arrived at the demo's webhook and search index.
func (d *Demo) Received() Received { return d.receiver.Received() }

// Produce sends n records of the first topic (0: until ctx ends), at most rate records a second (0: as fast as possible), with what comes
// between them on the others. It returns how many of each topic the broker has acknowledged. With a database, changes are written there, and
// it waits until a connector has told them all.
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
	var made, wrote error // by the generator, to the database
	for i, left := int64(0), n; (n == 0 || left > 0) && ctx.Err() == nil; i++ {
		var r Record
		if r, made = d.next(); made != nil {
			break
		}
		if r.Topic == first {
			left--
		}
		if d.database != nil && r.Topic == d.database.Topic {
			if wrote = d.store(context.WithoutCancel(ctx), r); wrote != nil {
				break
			}
			continue
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
	if err = errors.Join(err, failed, made, wrote); err == nil && d.database != nil {
		sent[d.database.Topic], err = d.told(context.WithoutCancel(ctx), connectorPatience)
	}
	return sent, err
}

// next is the next record of the generator.
func (d *Demo) next() (Record, error) {
	if len(d.held) == 0 {
		return d.gen.Next()
	}
	r := d.held[0]
	d.held = d.held[1:]
	return r, nil
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
	if d.cluster == nil || !slices.Contains(d.gen.Topics(), Topic{Name: topic}) {
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
	if d.database != nil {
		err = d.database.Close()
	}
	if d.receiver != nil {
		err = errors.Join(err, d.receiver.Close())
	}
	if d.registry != nil {
		err = errors.Join(err, d.registry.Close())
	}
	return err
}
