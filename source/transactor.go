package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
)

// GroupOffset is what a consumer group has of a partition.
type GroupOffset struct {
	Next     int64
	Metadata string
}

// Transactor sends records to one topic in transactions, each with offsets of a consumer group: both happen, or neither does, for
// readers of committed records. It is for one goroutine. The caller must Close it. After an error it is of no more use: what the group has
// then, as a new one reads it, tells what happened.
type Transactor struct {
	p     *Producer
	group string
	meta  *kafka.ConsumerGroupMetadata
}

// NewTransactor connects to the cluster, makes sure that the topic is there, ends what an earlier producer with the same id left
// open, and keeps that one from sending any more. The group must have no members.
func NewTransactor(ctx context.Context, k configs.Kafka, topic, id, group string, log *slog.Logger) (*Transactor, error) {
	more := kafka.ConfigMap{"transactional.id": id, "transaction.timeout.ms": int(transactionTimeout / time.Millisecond)}
	p, err := newProducer(ctx, k, topic, id, more, log)
	if err != nil {
		return nil, err
	}
	t := &Transactor{p: p, group: group}
	if t.meta, err = kafka.NewTestConsumerGroupMetadata(group); err == nil { // a group without members has no other
		err = t.again(ctx, "beginning to send in transactions", func() error { return p.p.InitTransactions(ctx) })
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return t, nil
}

// again does what may have to be repeated, until the context ends.
func (t *Transactor) again(ctx context.Context, what string, do func() error) error {
	for {
		err := do()
		var kerr kafka.Error
		switch {
		case err == nil:
			return nil
		case errors.As(err, &kerr) && kerr.IsRetriable() && !kerr.IsFatal() && !kerr.TxnRequiresAbort() && ctx.Err() == nil:
			continue // the client has waited
		}
		return t.explain(fmt.Errorf("%s: %w", what, err))
	}
}

func (t *Transactor) explain(err error) error {
	var kerr kafka.Error
	if errors.As(err, &kerr) {
		switch kerr.Code() {
		case kafka.ErrFenced, kafka.ErrProducerFenced, kafka.ErrInvalidProducerEpoch, kafka.ErrInvalidProducerIDMapping:
			return fmt.Errorf("%w: %w", ErrFenced, t.p.explain(err))
		case kafka.ErrTransactionalIDAuthorizationFailed, kafka.ErrGroupAuthorizationFailed:
			return fmt.Errorf("%w: give the user WRITE and DESCRIBE on the transactional ids and READ on the groups that begin with lakeloader-", t.p.explain(err))
		}
	}
	return t.p.explain(err)
}

// Offsets reads what the group has, after every transaction of earlier producers has ended.
func (t *Transactor) Offsets(ctx context.Context) (map[Partition]GroupOffset, error) {
	a, err := kafka.NewAdminClientFromProducer(t.p.p)
	if err != nil {
		return nil, t.explain(err)
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	r, err := a.ListConsumerGroupOffsets(ctx, []kafka.ConsumerGroupTopicPartitions{{Group: t.group}}, kafka.SetAdminRequireStableOffsets(true))
	var kerr kafka.Error
	if errors.As(err, &kerr) && kerr.Code() == kafka.ErrGroupIDNotFound { // others say that it has no offsets
		return nil, nil
	}
	if err != nil {
		return nil, t.explain(fmt.Errorf("reading the offsets of group %s: %w", t.group, err))
	}
	out := map[Partition]GroupOffset{}
	for _, g := range r.ConsumerGroupsTopicPartitions {
		for _, p := range g.Partitions {
			if p.Error != nil {
				return nil, t.explain(fmt.Errorf("reading the offset of group %s in %s-%d: %w", t.group, *p.Topic, p.Partition, p.Error))
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

// Send sends records and moves the group's offsets, in one transaction.
func (t *Transactor) Send(ctx context.Context, records []Message, offsets map[Partition]GroupOffset) error {
	if err := t.p.p.BeginTransaction(); err != nil {
		return t.explain(fmt.Errorf("beginning a transaction: %w", err))
	}
	if err := t.fill(ctx, records, offsets); err != nil {
		return errors.Join(err, t.abort(ctx))
	}
	err := t.again(ctx, "committing a transaction", func() error { return t.p.p.CommitTransaction(ctx) })
	var kerr kafka.Error
	if errors.As(err, &kerr) && kerr.TxnRequiresAbort() {
		err = errors.Join(err, t.abort(ctx))
	}
	return err
}

func (t *Transactor) fill(ctx context.Context, records []Message, offsets map[Partition]GroupOffset) error {
	for _, m := range records {
		if err := t.p.Send(ctx, m); err != nil {
			return err
		}
	}
	var list []kafka.TopicPartition
	for p, o := range offsets {
		list = append(list, kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition, Offset: kafka.Offset(o.Next), Metadata: &o.Metadata})
	}
	if len(list) == 0 {
		return nil
	}
	return t.again(ctx, "moving the offsets of group "+t.group, func() error { return t.p.p.SendOffsetsToTransaction(ctx, list, t.meta) })
}

// abort takes back what was sent, so that readers need not wait until the transaction times out.
func (t *Transactor) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), topicTimeout)
	defer cancel()
	if err := t.p.p.AbortTransaction(ctx); err != nil {
		return t.explain(fmt.Errorf("taking a transaction back: %w", err))
	}
	return nil
}

// Close drops what is still on its way.
func (t *Transactor) Close() { t.p.Close() }
