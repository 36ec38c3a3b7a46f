//go:build stack

package source

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/usage"
)

// BenchmarkConsume reads LAKELOADER_BENCH_RECORDS (default 300,000) records of 94 bytes from four partitions of a real
// Kafka, and reports the CPU of this process a record: the broker's is not in it.
func BenchmarkConsume(b *testing.B) {
	n := 300_000
	if s := os.Getenv("LAKELOADER_BENCH_RECORDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	brokers := os.Getenv("LAKELOADER_TEST_KAFKA")
	if brokers == "" {
		b.Fatal("LAKELOADER_TEST_KAFKA is not set, see make bench")
	}
	k := configs.Kafka{Brokers: strings.Split(brokers, ",")}
	topic := name("bench")
	fill(b, k, topic, n)
	for _, mode := range []string{"batch", "poll"} {
		b.Run(mode, func(b *testing.B) {
			for b.Loop() {
				consumeAll(b, k, topic, mode, n)
			}
		})
	}
}

func fill(b *testing.B, k configs.Kafka, topic string, n int) {
	m, err := connection(k)
	if err != nil {
		b.Fatal(err)
	}
	ac, err := kafka.NewAdminClient(&m)
	if err != nil {
		b.Fatal(err)
	}
	defer ac.Close()
	if _, err := ac.CreateTopics(b.Context(), []kafka.TopicSpecification{{Topic: topic, NumPartitions: 4, ReplicationFactor: 1}}); err != nil {
		b.Fatal(err)
	}
	m["go.delivery.reports"], m["linger.ms"] = false, 50
	p, err := kafka.NewProducer(&m)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	value := []byte(strings.Repeat("0123456789", 9) + "abcd")
	for i := range n {
		m := &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: int32(i % 4)}, Value: value}
		err := p.Produce(m, nil)
		for ; err != nil && err.(kafka.Error).Code() == kafka.ErrQueueFull; err = p.Produce(m, nil) {
			p.Flush(50)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for p.Flush(60_000) > 0 {
		b.Log("still producing")
	}
}

func consumeAll(b *testing.B, k configs.Kafka, topic, mode string, n int) {
	c, err := New(Options{Kafka: k, Pipeline: "bench", Source: configs.Source{Topics: []string{topic}, Group: name("g"), Consume: mode}}, newLedger())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var r batch.Records
	end := time.Now().Add(time.Minute)
	for len(c.Assignment()) < 4 && time.Now().Before(end) {
		if err := c.Serve(b.Context(), 10*time.Millisecond); err != nil {
			b.Fatal(err)
		}
	}
	polls, start, began := 0, usage.CPU(b), time.Now()
	for got := 0; got < n; polls++ {
		r.Reset()
		if err := c.Poll(b.Context(), &r, time.Second); err != nil {
			b.Fatal(err)
		}
		if got += r.Len(); r.Len() == 0 && time.Now().After(end) {
			b.Fatalf("only %d of %d records came", got, n)
		}
	}
	b.ReportMetric(float64((usage.CPU(b)-start).Nanoseconds())/float64(n), "cpu-ns/record")
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "records/s")
	b.ReportMetric(float64(n)/float64(polls), "records/poll")
}
