package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
)

// Message is a record to be sent.
type Message struct {
	Key, Value []byte // nil: null
	Headers    []Header
	Timestamp  int64 // milliseconds since the Unix epoch
}

// Header is a header of a record.
type Header struct {
	Name  string
	Value []byte // nil: null
}

// Sendable reports whether the client can send a timestamp as it is; another one becomes the time of sending.
func Sendable(ms int64) bool { return ms > 0 && ms <= math.MaxInt64/1_000_000 }

// Producer sends records to one topic, each once in order for as long as the producer lives, and acknowledged by all in-sync
// replicas. It is for one goroutine. The caller must Close it.
type Producer struct {
	topic   string
	brokers []string
	sender
	done chan struct{}

	sent   int // records
	mu     sync.Mutex
	acked  int   // reports about records, good or bad
	failed error // the first record that was refused
	last   error // what the client runs into
}

const (
	// topicTimeout bounds the question whether the topic is there.
	topicTimeout = 10 * time.Second
	// sendTimeout is how long the client tries to send a record.
	sendTimeout = time.Minute
	// sendQueue is what may be on its way, KiB.
	sendQueue = 32 << 10
	// longest is the longest record that the client sends; the topic's max.message.bytes decides.
	longest = 1_000_000_000
)

// NewProducer connects to the cluster and makes sure that the topic is there: it is never made by sending to it.
func NewProducer(ctx context.Context, k configs.Kafka, topic, client string, log *slog.Logger) (*Producer, error) {
	settings := kafka.ConfigMap{
		"client.id":                  client,
		"enable.idempotence":         true,
		"acks":                       "all",
		"allow.auto.create.topics":   false,
		"linger.ms":                  5,
		"compression.type":           "lz4",
		"message.timeout.ms":         int(sendTimeout / time.Millisecond),
		"message.max.bytes":          longest,
		"queue.buffering.max.kbytes": sendQueue,
	}
	c, err := openSender(k, settings, log)
	if err != nil {
		return nil, err
	}
	p := &Producer{topic: topic, brokers: k.Brokers, sender: c, done: make(chan struct{})}
	go p.events()
	if err := topicThere(ctx, p.p, topic); err != nil {
		p.Close()
		return nil, p.explain(err)
	}
	return p, nil
}

// sender is a client that sends, with what goes with it.
type sender struct {
	p      *kafka.Producer
	logs   *logs
	tokens *tokens // nil: the login takes none
}

// openSender makes a client; the settings have their way over kafka.properties. Whoever takes its events ends when they end.
func openSender(k configs.Kafka, settings kafka.ConfigMap, log *slog.Logger) (s sender, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m, err := connection(k)
	if err != nil {
		return s, err
	}
	for key, v := range k.Properties {
		m[key] = v
	}
	maps.Copy(m, settings)
	issue, err := issuerOf(k)
	if err != nil {
		return s, err
	}
	s.logs = startLogs(m, log)
	if s.p, err = kafka.NewProducer(&m); err != nil {
		s.logs.stop()
		return s, fmt.Errorf("kafka client: %w; check kafka.properties and the files in kafka.tls", err)
	}
	s.tokens = startTokens(issue, s.p, log)
	return s, nil
}

// close drops what is still on its way. ended is closed by whoever takes the events, when there are no more.
func (s sender) close(ended <-chan struct{}) {
	s.tokens.stop()
	// It fails only for a producer that is closed already.
	_ = s.p.Purge(kafka.PurgeInFlight | kafka.PurgeQueue | kafka.PurgeNonBlocking)
	s.p.Close()
	<-ended
	s.logs.stop()
}

// topicThere asks for the topic.
func topicThere(ctx context.Context, p *kafka.Producer, topic string) error {
	limit := topicTimeout
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end))
	}
	md, err := p.GetMetadata(&topic, false, int(max(limit, time.Millisecond)/time.Millisecond))
	if err != nil {
		return fmt.Errorf("asking for the topic: %w", err)
	}
	if t := md.Topics[topic]; t.Error.Code() != kafka.ErrNoError {
		return t.Error
	}
	return nil
}

// events takes delivery reports and errors until the producer is closed.
func (p *Producer) events() {
	defer close(p.done)
	for e := range p.p.Events() {
		switch e := e.(type) {
		case *kafka.Message:
			p.mu.Lock()
			p.acked++
			if p.failed == nil && e.TopicPartition.Error != nil {
				p.failed = e.TopicPartition.Error
			}
			p.mu.Unlock()
		case kafka.Error:
			p.mu.Lock()
			p.last = e
			p.mu.Unlock()
		}
	}
}

// refused says how many records there was no report about yet, and the error of the first one that was refused. The client's own count is less
// for a moment: it does not know the reports that were taken but not looked at.
func (p *Producer) refused() (unknown int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent - p.acked, p.failed
}

// messageTo is a record as the client wants it.
func messageTo(to kafka.TopicPartition, m Message) *kafka.Message {
	out := &kafka.Message{TopicPartition: to, Key: m.Key, Value: m.Value}
	if Sendable(m.Timestamp) {
		out.Timestamp = time.UnixMilli(m.Timestamp)
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, kafka.Header{Key: h.Name, Value: h.Value})
	}
	return out
}

// tooLong explains that a record does not even fit alone into what may be on its way.
func tooLong(m *kafka.Message, err error) error {
	return fmt.Errorf("a record of %d bytes is longer than the %d KiB that are on their way at most: %w", len(m.Key)+len(m.Value), sendQueue, err)
}

// Send hands a record over, copied. It waits while too much is on its way.
func (p *Producer) Send(ctx context.Context, m Message) error {
	out := messageTo(kafka.TopicPartition{Topic: &p.topic, Partition: kafka.PartitionAny}, m)
	for {
		unknown, err := p.refused()
		if err != nil {
			return p.explain(err)
		}
		err = p.p.Produce(out, nil)
		var kerr kafka.Error
		switch {
		case err == nil:
			p.sent++
			return nil
		case !errors.As(err, &kerr) || kerr.Code() != kafka.ErrQueueFull:
			return p.explain(err)
		case unknown == 0: // it does not even fit alone
			return p.explain(tooLong(out, err))
		case ctx.Err() != nil:
			return p.explain(ctx.Err())
		}
		p.p.Flush(100)
	}
}

// Flush returns nil when all in-sync replicas have every record that was sent. After an error the producer is of no use: it
// is not known which records arrived.
func (p *Producer) Flush(ctx context.Context) error {
	for {
		p.p.Flush(100)
		unknown, err := p.refused()
		switch {
		case err != nil || unknown == 0:
			return p.explain(err)
		case ctx.Err() != nil:
			return p.explain(fmt.Errorf("%d records were not acknowledged in time: %w", unknown, ctx.Err()))
		}
	}
}

// Close drops what is still on its way.
func (p *Producer) Close() { p.close(p.done) }

// explain says where an error was and what to do; nil stays nil.
func (p *Producer) explain(err error) error {
	if err == nil {
		return nil
	}
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	where := fmt.Sprintf("kafka %s, topic %s", strings.Join(p.brokers, ","), p.topic)
	hint := "check that the brokers run and that enough replicas are in sync"
	var kerr kafka.Error
	if errors.As(err, &kerr) {
		if h := sendingHint(kerr.Code()); h != "" {
			hint, last = h, nil
		}
	}
	if last != nil && last.Error() != err.Error() {
		return fmt.Errorf("%s: %w (%w): %s", where, err, last, hint)
	}
	return fmt.Errorf("%s: %w: %s", where, err, hint)
}

// sendingHint says what to do about an error that sending brings; empty: nothing is known.
func sendingHint(code kafka.ErrorCode) string {
	switch code {
	case kafka.ErrUnknownTopicOrPart, kafka.ErrUnknownTopic, kafka.ErrTopicException:
		return "create the topic, or check its name: it is not made by sending to it"
	case kafka.ErrTopicAuthorizationFailed, kafka.ErrClusterAuthorizationFailed:
		return "give the user WRITE and DESCRIBE on the topic, and IDEMPOTENT_WRITE on the cluster for brokers before 3.0"
	case kafka.ErrMsgSizeTooLarge, kafka.ErrInvalidMsgSize:
		return "raise the topic's max.message.bytes: it must be a little more than the longest record"
	}
	return ""
}
