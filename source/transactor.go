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

// GroupOffset is what a consumer group has of a partition.
type GroupOffset struct {
	Next     int64
	Metadata string
}

// Transactor sends records to one topic in transactions, which may also hold offsets of a consumer group: all of it happens, or nothing does, for
// readers of committed records. Whoever opens a Transactor with the same id fences it: what it had open is aborted, and it commits nothing any more.
//
// It is for one goroutine. The caller must Close it. After an error it is of no more use, and it is not known whether the transaction was
// committed: what the group has then, as a new one reads it, tells.
type Transactor struct {
	sender
	topic, id string
	group     string
	kafka     configs.Kafka
	log       *slog.Logger
	meta      *kafka.ConsumerGroupMetadata
	done      chan struct{}

	mu      sync.Mutex
	last    error // what the client runs into
	refused error // the first record that was
}

// transactionTimeout is how long the cluster waits for the end of a transaction before it aborts it.
const transactionTimeout = time.Minute

// ErrFenced says that another process has taken up the transactional id.
var ErrFenced = errors.New("another process has taken up the transactional id")

// NewTransactor connects to the cluster, makes sure that the topic is there, ends what an earlier producer with the same id left
// open, and keeps that one from sending any more. The group, whose offsets are moved, must have no members; empty: none are.
func NewTransactor(ctx context.Context, k configs.Kafka, topic, id, group string, log *slog.Logger) (*Transactor, error) {
	c, err := openSender(k, kafka.ConfigMap{
		"client.id":                  id,
		"transactional.id":           id,
		"transaction.timeout.ms":     int(transactionTimeout / time.Millisecond),
		"message.timeout.ms":         int(transactionTimeout / time.Millisecond),
		"allow.auto.create.topics":   false,
		"linger.ms":                  5, // a commit sends what waits at once
		"compression.type":           "lz4",
		"message.max.bytes":          longest,
		"queue.buffering.max.kbytes": sendQueue,
		"go.delivery.report.fields":  "none", // a commit fails if any record does: reports only tell why
	}, log)
	if err != nil {
		return nil, err
	}
	t := &Transactor{sender: c, topic: topic, id: id, group: group, kafka: k, log: log, done: make(chan struct{})}
	go t.events()
	if group != "" {
		t.meta, err = kafka.NewTestConsumerGroupMetadata(group) // a group without members has no other
	}
	if err == nil {
		err = topicThere(ctx, c.p, topic)
	}
	if err != nil {
		err = t.explain("beginning to send in transactions", err)
	} else {
		err = t.again(ctx, "taking up the transactional id "+id, t.p.InitTransactions)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Transactor) events() {
	defer close(t.done)
	for e := range t.p.Events() {
		t.mu.Lock()
		switch e := e.(type) {
		case *kafka.Message:
			if err := e.TopicPartition.Error; err != nil && t.refused == nil {
				t.refused = err
			}
		case kafka.Error:
			t.last = e
		}
		t.mu.Unlock()
	}
}

// Offsets reads what the group has, after every transaction of earlier producers has ended.
func (t *Transactor) Offsets(ctx context.Context) (map[Partition]GroupOffset, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	out, err := offsetsOfGroup(ctx, t.kafka, t.log, t.group, true)
	return out, t.explain("reading the offsets of the group", err)
}

// coordinatorPause is between two questions to a coordinator that is not there yet.
const coordinatorPause = 100 * time.Millisecond

// offsetsOfGroup is offsetsOf with a client that names the group, though it does not join. Where the coordinator is not there yet, as in a
// young cluster, librdkafka (2.14) has the client's group look for it, and ends the process with a segmentation fault where there is none,
// as in clients of producers and of administrators.
func offsetsOfGroup(ctx context.Context, k configs.Kafka, log *slog.Logger, group string, stable bool) (out map[Partition]GroupOffset, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c, err := openClient(Options{Kafka: k, Log: log}, group)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	a, err := kafka.NewAdminClientFromConsumer(c.kc)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	for {
		out, err := offsetsOf(ctx, a, group, stable)
		switch code(err) {
		case kafka.ErrCoordinatorNotAvailable, kafka.ErrCoordinatorLoadInProgress, kafka.ErrNotCoordinator:
		default:
			return out, err
		}
		t := time.NewTimer(coordinatorPause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, err
		case <-t.C:
		}
	}
}

// offsetsOf reads what a group has. stable: the transactions that move its offsets must have ended.
func offsetsOf(ctx context.Context, a *kafka.AdminClient, group string, stable bool) (map[Partition]GroupOffset, error) {
	r, err := a.ListConsumerGroupOffsets(ctx, []kafka.ConsumerGroupTopicPartitions{{Group: group}}, kafka.SetAdminRequireStableOffsets(stable))
	var kerr kafka.Error
	if errors.As(err, &kerr) && kerr.Code() == kafka.ErrGroupIDNotFound { // others say that it has no offsets
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", group, err)
	}
	out := map[Partition]GroupOffset{}
	for _, g := range r.ConsumerGroupsTopicPartitions {
		for _, p := range g.Partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("group %s, %s-%d: %w", group, *p.Topic, p.Partition, p.Error)
			}
			if p.Offset < 0 {
				continue
			}
			o := GroupOffset{Next: int64(p.Offset)}
			if p.Metadata != nil {
				o.Metadata = *p.Metadata
			}
			out[Partition{Topic: *p.Topic, Partition: p.Partition}] = o
		}
	}
	return out, nil
}

// Send sends records, each to the partition that its key is for, and moves the group's offsets, in one transaction.
func (t *Transactor) Send(ctx context.Context, records []Message, offsets map[Partition]GroupOffset) error {
	return t.transaction(ctx, kafka.PartitionAny, len(records), func(i int) Message { return records[i] }, offsets)
}

// Publish sends n records to a partition, in order, in one transaction.
func (t *Transactor) Publish(ctx context.Context, partition int32, n int, record func(i int) Message) error {
	return t.transaction(ctx, partition, n, record, nil)
}

func (t *Transactor) transaction(ctx context.Context, partition int32, n int, record func(i int) Message, offsets map[Partition]GroupOffset) error {
	if err := t.p.BeginTransaction(); err != nil {
		return t.explain("beginning a transaction", err)
	}
	if err := t.fill(ctx, partition, n, record, offsets); err != nil {
		return errors.Join(err, t.abort(ctx))
	}
	err := t.again(ctx, "committing a transaction", t.p.CommitTransaction)
	var kerr kafka.Error
	if errors.As(err, &kerr) && kerr.TxnRequiresAbort() {
		err = errors.Join(err, t.abort(ctx))
	}
	return err
}

func (t *Transactor) fill(ctx context.Context, partition int32, n int, record func(i int) Message, offsets map[Partition]GroupOffset) error {
	to := kafka.TopicPartition{Topic: &t.topic, Partition: partition}
	for i := range n {
		if err := t.send(ctx, messageTo(to, record(i))); err != nil {
			return t.explain("sending", err)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	var list []kafka.TopicPartition
	for p, o := range offsets {
		list = append(list, kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition, Offset: kafka.Offset(o.Next), Metadata: &o.Metadata})
	}
	return t.again(ctx, "moving the offsets of group "+t.group, func(ctx context.Context) error { return t.p.SendOffsetsToTransaction(ctx, list, t.meta) })
}

// send hands a record over, copied. It waits while too much is on its way.
func (t *Transactor) send(ctx context.Context, m *kafka.Message) error {
	for {
		err := t.p.Produce(m, nil)
		var kerr kafka.Error
		switch {
		case err == nil || !errors.As(err, &kerr) || kerr.Code() != kafka.ErrQueueFull:
			return err
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), err)
		case t.p.Len() == 0: // it does not even fit alone
			return tooLong(m, err)
		}
		t.p.Flush(50)
	}
}

// abort takes back what was sent, so that readers need not wait until the transaction times out.
func (t *Transactor) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), topicTimeout)
	defer cancel()
	return t.explain("taking a transaction back", t.p.AbortTransaction(ctx))
}

// again calls again while the client says that it may.
func (t *Transactor) again(ctx context.Context, what string, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	for {
		err := call(ctx)
		var kerr kafka.Error
		if errors.As(err, &kerr) && kerr.IsRetriable() && !kerr.IsFatal() && !kerr.TxnRequiresAbort() && ctx.Err() == nil {
			continue // the client has waited
		}
		return t.explain(what, err)
	}
}

// Close drops what was not committed. The cluster aborts an open transaction when the id is taken up again, or after a minute.
func (t *Transactor) Close() { t.close(t.done) }

// explain says where an error was and what to do; nil stays nil.
func (t *Transactor) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	t.mu.Lock()
	last, refused := t.last, t.refused
	t.mu.Unlock()
	if refused != nil && !errors.Is(err, refused) { // a commit only says that there is one
		err = fmt.Errorf("%w: a record was refused: %w", err, refused)
	}
	for _, e := range []error{err, refused} { // the first that tells: of both together that is the commit's
		switch code(e) {
		case kafka.ErrFenced, kafka.ErrProducerFenced, kafka.ErrInvalidProducerEpoch, kafka.ErrInvalidProducerIDMapping:
			return fmt.Errorf("topic %s: %s: %w: %w", t.topic, what, ErrFenced, err)
		case kafka.ErrTransactionalIDAuthorizationFailed, kafka.ErrGroupAuthorizationFailed:
			return fmt.Errorf("topic %s: %s: %w: give the user WRITE and DESCRIBE on the transactional id %s, and READ on the group of that name if it is a route", t.topic, what, err, t.id)
		}
		if hint := sendingHint(code(e)); hint != "" {
			return fmt.Errorf("topic %s: %s: %w: %s", t.topic, what, err, hint)
		}
	}
	if last != nil && last.Error() != err.Error() {
		return fmt.Errorf("topic %s: %s: %w (%w)", t.topic, what, err, last)
	}
	return fmt.Errorf("topic %s: %s: %w", t.topic, what, err)
}

// code is the client's; ErrNoError for another error.
func code(err error) kafka.ErrorCode {
	var kerr kafka.Error
	if errors.As(err, &kerr) {
		return kerr.Code()
	}
	return kafka.ErrNoError
}
