package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
)

// Transactions writes messages to a topic, each list of them in one transaction. Whoever opens Transactions with the same id
// fences it: what it had not committed is aborted, and it commits nothing any more. It is for one goroutine. The caller must Close it.
type Transactions struct {
	sender
	topic string
	done  chan struct{}

	mu   sync.Mutex
	last error // what the client runs into
}

// transactionTimeout is how long the cluster waits for the end of a transaction before it aborts it.
const transactionTimeout = time.Minute

// NewTransactions connects, and fences whoever has the id. The topic must exist.
func NewTransactions(ctx context.Context, k configs.Kafka, topic, id string, log *slog.Logger) (*Transactions, error) {
	c, err := openSender(k, kafka.ConfigMap{
		"client.id":                  id,
		"transactional.id":           id,
		"transaction.timeout.ms":     int(transactionTimeout / time.Millisecond),
		"message.timeout.ms":         int(transactionTimeout / time.Millisecond),
		"allow.auto.create.topics":   false,
		"linger.ms":                  0,
		"compression.type":           "lz4",
		"queue.buffering.max.kbytes": sendQueue,
		"go.delivery.reports":        false, // a commit fails if any of them does
	}, log)
	if err != nil {
		return nil, err
	}
	t := &Transactions{sender: c, topic: topic, done: make(chan struct{})}
	go t.events()
	if err := t.retry(ctx, t.p.InitTransactions); err != nil {
		t.Close()
		return nil, t.explain("taking up the transactional id "+id, err)
	}
	return t, nil
}

func (t *Transactions) events() {
	defer close(t.done)
	for e := range t.p.Events() {
		if e, ok := e.(kafka.Error); ok {
			t.mu.Lock()
			t.last = e
			t.mu.Unlock()
		}
	}
}

// retry calls again while the client says that it may.
func (t *Transactions) retry(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	for {
		err := call(ctx)
		var kerr kafka.Error
		if err == nil || ctx.Err() != nil || !errors.As(err, &kerr) || !kerr.IsRetriable() {
			return err
		}
	}
}

// Publish sends key and value pairs to a partition of the topic, in order, in one transaction. After an error it is not known whether
// they were published, and the Transactions are of no use.
func (t *Transactions) Publish(ctx context.Context, partition int32, n int, message func(i int) (key, value []byte)) error {
	if err := t.p.BeginTransaction(); err != nil {
		return t.explain("beginning a transaction", err)
	}
	to := kafka.TopicPartition{Topic: &t.topic, Partition: partition}
	for i := range n {
		key, value := message(i)
		if err := t.send(ctx, &kafka.Message{TopicPartition: to, Key: key, Value: value}); err != nil {
			return t.explain("sending", err)
		}
	}
	return t.explain("committing a transaction", t.retry(ctx, t.p.CommitTransaction))
}

func (t *Transactions) send(ctx context.Context, m *kafka.Message) error {
	for {
		err := t.p.Produce(m, nil)
		var kerr kafka.Error
		if err == nil || !errors.As(err, &kerr) || kerr.Code() != kafka.ErrQueueFull {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		t.p.Flush(50)
	}
}

// Close drops what was not committed. The cluster aborts an open transaction when the id is taken up again, or after a minute.
func (t *Transactions) Close() { t.close(t.done) }

// ErrFenced says that another process has taken up the transactional id.
var ErrFenced = errors.New("another process has taken up the transactional id")

func (t *Transactions) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	t.mu.Lock()
	last := t.last
	t.mu.Unlock()
	var kerr kafka.Error
	if errors.As(err, &kerr) {
		switch kerr.Code() {
		case kafka.ErrFenced, kafka.ErrInvalidProducerEpoch, kafka.ErrProducerFenced:
			return fmt.Errorf("topic %s: %s: %w: %w", t.topic, what, ErrFenced, err)
		case kafka.ErrTransactionalIDAuthorizationFailed:
			return fmt.Errorf("topic %s: %s: %w: give the user WRITE and DESCRIBE on transactional ids that begin with lakeloader-window-", t.topic, what, err)
		}
	}
	if last != nil && last.Error() != err.Error() {
		return fmt.Errorf("topic %s: %s: %w (%w)", t.topic, what, err, last)
	}
	return fmt.Errorf("topic %s: %s: %w", t.topic, what, err)
}
