// Package pipelinetest runs pipelines in tests as the daemon does, in this process: against an embedded Kafka, a SQLite
// catalog and a temporary folder. It waits for what a loader says and does, never for time to pass.
package pipelinetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/source"
)

// Patience is how long a test waits for something that must come.
const Patience = 60 * time.Second

// Kafka is an embedded cluster.
type Kafka struct {
	Config  configs.Kafka
	Cluster *kfake.Cluster
	Admin   *source.Admin
	client  *kgo.Client
}

// NewKafka starts a cluster without topics that ends with the test.
func NewKafka(t testing.TB) *Kafka {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("test-cluster"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return connect(t, &Kafka{Cluster: c}, c.ListenAddrs()...)
}

// Real connects to a cluster of brokers; it has no Cluster.
func Real(t testing.TB, brokers ...string) *Kafka {
	t.Helper()
	return connect(t, &Kafka{}, brokers...)
}

func connect(t testing.TB, k *Kafka, brokers ...string) *Kafka {
	t.Helper()
	k.Config = configs.Kafka{Brokers: brokers, Properties: map[string]string{
		"topic.metadata.refresh.interval.ms": "300", "session.timeout.ms": "6000", "heartbeat.interval.ms": "200", "fetch.wait.max.ms": "50"}}
	var err error
	if k.client, err = kgo.NewClient(k.options()...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.client.Close)
	if k.Admin, err = source.NewAdmin(k.Config, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Admin.Close)
	return k
}

func (k *Kafka) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(k.Config.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.MetadataMinAge(10 * time.Millisecond), kgo.UnknownTopicRetries(-1)}, more...)
}

// Create makes a topic.
func (k *Kafka) Create(t testing.TB, topic string, partitions int) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, int32(partitions), 1
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(k.context(t), k.client)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("creating topic %s: %v", topic, err)
	}
}

// Delete removes a topic.
func (k *Kafka) Delete(t testing.TB, topic string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic = &topic
	req.TopicNames, req.Topics = []string{topic}, []kmsg.DeleteTopicsRequestTopic{rt}
	res, err := req.RequestWith(k.context(t), k.client)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("deleting topic %s: %v", topic, err)
	}
	k.client.PurgeTopicsFromClient(topic)
}

// Grow raises the number of partitions.
func (k *Kafka) Grow(t testing.TB, topic string, partitions int) {
	t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = topic, int32(partitions)
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(k.context(t), k.client)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("growing topic %s: %v", topic, err)
	}
	k.client.PurgeTopicsFromClient(topic)
}

// Trim deletes the records of a partition below an offset, as retention does.
func (k *Kafka) Trim(t testing.TB, topic string, partition int32, below int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = partition, below
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	res, err := req.RequestWith(k.context(t), k.client)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("trimming %s-%d: %v", topic, partition, err)
	}
}

// Produce appends values to a partition, in order.
func (k *Kafka) Produce(t testing.TB, topic string, partition int32, values ...string) {
	t.Helper()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Value: []byte(v)})
	}
	k.Send(t, topic, partition, rs...)
}

// Send is Produce for whole records.
func (k *Kafka) Send(t testing.TB, topic string, partition int32, rs ...*kgo.Record) {
	t.Helper()
	for _, r := range rs {
		r.Topic, r.Partition = topic, partition
	}
	if err := k.client.ProduceSync(k.context(t), rs...).FirstErr(); err != nil {
		t.Fatalf("producing to %s-%d: %v", topic, partition, err)
	}
}

// Transaction appends values in a transaction, which is committed or aborted: one control record follows in either case.
func (k *Kafka) Transaction(t testing.TB, commit bool, topic string, partition int32, values ...string) {
	t.Helper()
	c, err := kgo.NewClient(k.options(kgo.TransactionalID(strings.Join([]string{"tx", topic, t.Name()}, "-")))...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		c.Produce(k.context(t), &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}, nil)
	}
	if err := c.Flush(k.context(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.EndTransaction(k.context(t), kgo.TransactionEndTry(commit)); err != nil {
		t.Fatalf("ending a transaction on %s-%d: %v", topic, partition, err)
	}
}

// Records reads what is committed of a topic from its beginning until n records are there, and returns them all.
func (k *Kafka) Records(t testing.TB, topic string, n int) (rs []*kgo.Record) {
	t.Helper()
	c, err := kgo.NewClient(k.options(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for len(rs) < n {
		f := c.PollFetches(k.context(t))
		if err := f.Err(); err != nil {
			t.Fatalf("topic %s has %d records, want %d: %v", topic, len(rs), n, err)
		}
		rs = append(rs, f.Records()...)
	}
	return rs
}

func (k *Kafka) context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}
