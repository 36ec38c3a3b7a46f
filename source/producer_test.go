package source

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/lakeloader/lakeloader/configs"
)

func producerAt(t *testing.T, topic string) (*kfake.Cluster, *Producer) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := NewProducer(t.Context(), configs.Kafka{Brokers: c.ListenAddrs()}, topic, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return c, p
}

func TestProducer(t *testing.T) {
	t.Parallel()
	c, p := producerAt(t, "dead")
	large := strings.Repeat("x", sendQueue<<10/3)
	sent := []Message{
		{Key: []byte("k"), Value: []byte("v"), Timestamp: 1_700_000_000_123, Headers: []Header{{"a", []byte("1")}, {"a", nil}, {"", []byte{}}}},
		{Value: []byte{}, Timestamp: 1},
		{Key: []byte{}, Timestamp: 2},
		{Value: []byte(large), Timestamp: 3}, {Value: []byte(large), Timestamp: 4}, {Value: []byte(large), Timestamp: 5}, {Value: []byte(large), Timestamp: 6}, // more than may be on its way
	}
	for _, m := range sent {
		if err := p.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("dead"), kgo.FetchMaxPartitionBytes(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []*kgo.Record
	for len(got) < len(sent) {
		f := client.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		got = append(got, f.Records()...)
	}
	for i, m := range sent {
		r := got[i]
		if string(r.Key) != string(m.Key) || (r.Key == nil) != (m.Key == nil) || string(r.Value) != string(m.Value) || (r.Value == nil) != (m.Value == nil) ||
			r.Timestamp.UnixMilli() != m.Timestamp || len(r.Headers) != len(m.Headers) {
			t.Errorf("record %d: key %q, %d bytes, %v, %v", i, r.Key, len(r.Value), r.Timestamp, r.Headers)
		}
		for j, h := range r.Headers {
			if w := m.Headers[j]; h.Key != w.Name || string(h.Value) != string(w.Value) || (h.Value == nil) != (w.Value == nil) {
				t.Errorf("header %+v, want %+v", h, w)
			}
		}
	}
}

func TestProducerWithoutTopic(t *testing.T) {
	t.Parallel()
	c, _ := producerAt(t, "dead")
	_, err := NewProducer(t.Context(), configs.Kafka{Brokers: c.ListenAddrs()}, "none", "test", nil)
	if err == nil || !strings.Contains(err.Error(), "topic none") || !strings.Contains(err.Error(), "create the topic") {
		t.Errorf("%v", err)
	}
	none, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := none.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err = NewProducer(ctx, configs.Kafka{Brokers: []string{none.Addr().String()}}, "dead", "test", nil); err == nil || !strings.Contains(err.Error(), "check that the brokers run") {
		t.Errorf("%v", err)
	}
}

// A refusal is told at the flush, and by every call after it: nothing can be taken for sent.
func TestProducerIsRefused(t *testing.T) {
	t.Parallel()
	for code, hint := range map[*kerr.Error]string{
		kerr.MessageTooLarge:          "max.message.bytes",
		kerr.TopicAuthorizationFailed: "WRITE and DESCRIBE",
		kerr.InvalidRecord:            "check that the brokers run",
	} {
		t.Run(code.Message, func(t *testing.T) {
			t.Parallel()
			c, p := producerAt(t, "dead")
			c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				q := req.(*kmsg.ProduceRequest)
				res := q.ResponseKind().(*kmsg.ProduceResponse)
				for _, topic := range q.Topics {
					rt := kmsg.NewProduceResponseTopic()
					rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
					for _, part := range topic.Partitions {
						rp := kmsg.NewProduceResponseTopicPartition()
						rp.Partition, rp.ErrorCode = part.Partition, code.Code
						rt.Partitions = append(rt.Partitions, rp)
					}
					res.Topics = append(res.Topics, rt)
				}
				return res, nil, true
			})
			if err := p.Send(t.Context(), Message{Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
			for _, call := range []func() error{func() error { return p.Flush(t.Context()) }, func() error { return p.Send(t.Context(), Message{}) }} {
				if err := call(); err == nil || !strings.Contains(err.Error(), "topic dead") || !strings.Contains(err.Error(), hint) {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// A broker that does not answer is waited for as long as the context says.
func TestProducerGivesUp(t *testing.T) {
	t.Parallel()
	c, p := producerAt(t, "dead")
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, nil, true
	})
	if err := p.Send(t.Context(), Message{Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := p.Flush(ctx); err == nil || !strings.Contains(err.Error(), "not acknowledged in time") {
		t.Errorf("%v", err)
	}
}
