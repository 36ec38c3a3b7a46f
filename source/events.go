package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// enter begins what may call the Handler; leave ends it.
func (c *Consumer) enter(ctx context.Context) error {
	if c.closed {
		return errors.New("the consumer is closed")
	}
	c.ctx = ctx
	if c.rejoin {
		return c.leaveAndJoin()
	}
	return nil
}

func (c *Consumer) leave() { c.ctx = context.Background() }

// Serve serves rebalances for as long as wait without fetching: for a caller that has no room for records. Errors are
// those of Poll.
func (c *Consumer) Serve(ctx context.Context, wait time.Duration) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	for deadline := time.Now().Add(wait); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.hold(); err != nil {
			return err
		}
		left := min(slice, time.Until(deadline))
		c.serve(c.kc.Poll(int(max(left, 0) / time.Millisecond)))
		if err := c.takeErr(); err != nil || left <= 0 {
			return err
		}
	}
}

// hold keeps records from coming with the events in poll mode, where both come one way: all partitions are paused in
// the client. release takes that back.
func (c *Consumer) hold() error {
	if c.mode != "poll" {
		return nil
	}
	var tps []kafka.TopicPartition
	for _, p := range c.parts {
		if !p.held {
			p.held = true
			tps = append(tps, kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition.Partition})
		}
	}
	if len(tps) == 0 {
		return nil
	}
	if err := c.kc.Pause(tps); err != nil {
		return fmt.Errorf("hold %s: %w", names(tps), err)
	}
	return nil
}

func (c *Consumer) release() error {
	if c.mode != "poll" {
		return nil
	}
	var again []*part
	for _, p := range c.parts {
		if p.held && !p.paused && !p.failed {
			again = append(again, p)
		}
		p.held = false
	}
	return c.goOn(true, again...)
}

// serveEvents calls the rebalance callback and handles errors until none waits.
func (c *Consumer) serveEvents() {
	if c.mode == "poll" {
		return // the fetcher meets them itself
	}
	for i := 0; i < 1000; i++ {
		changes := c.changes
		ev := c.kc.Poll(0)
		if ev == nil && changes == c.changes {
			return
		}
		c.serve(ev)
	}
}

// astray handles a record of a partition that arrived beside our queue: the partition is read again from its position.
func (c *Consumer) astray(p Partition) {
	st := c.parts[p]
	if st == nil || st.held || st.paused || st.failed {
		return // it is read again from its position later
	}
	c.log.Warn("records arrived beside the batch queue; reading again", "topic", p.Topic, "partition", p.Partition, "offset", st.next)
	if err := c.goOn(false, st); err != nil {
		c.errs = append(c.errs, err)
	}
}

// event handles an event that is about no partition, or does not say which.
func (c *Consumer) event(ev kafka.Event) {
	switch e := ev.(type) {
	case kafka.Error:
		c.failure(e)
	case kafka.OffsetsCommitted:
		if e.Error != nil {
			c.log.Debug("group offsets were not committed", "error", e.Error)
		}
	}
}

// serve handles an event that came while no record was asked for.
func (c *Consumer) serve(ev kafka.Event) {
	switch e := ev.(type) {
	case *kafka.Message:
		c.astray(partitionOf(e.TopicPartition))
	case kafka.PartitionEOF:
		c.astray(partitionOf(kafka.TopicPartition(e)))
	default:
		c.event(ev)
	}
}
