package source

import (
	"fmt"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// partitionEvent handles an event of a partition: its end, or an error.
func (c *Consumer) partitionEvent(p *part, run run) {
	if p == nil || p.paused || p.failed {
		return
	}
	if run.err == kafka.ErrPartitionEOF {
		c.touch(p)
		// Its offset is past everything that has no record: markers, aborted transactions, what was compacted away.
		if run.offset > p.next {
			p.next, p.leader = run.offset, 0
		}
		return
	}
	err := kafka.NewError(run.err, run.text, false)
	switch run.err {
	case kafka.ErrAutoOffsetReset, kafka.ErrOffsetOutOfRange, kafka.ErrLogTruncation:
		c.outOfRange(p, truncated(err))
		return
	}
	if e := classify(c.opts.Kafka.Brokers, &p.Partition, err); e != nil {
		c.fail(p, e)
		return
	}
	c.note(err)
}

// fail reports an error of a partition and stops its delivery until Seek.
func (c *Consumer) fail(p *part, err error) {
	p.failed = true
	c.fetcher.purge(p.Partition)
	if perr := c.kc.Pause([]kafka.TopicPartition{{Topic: &p.Topic, Partition: p.Partition.Partition}}); perr != nil {
		c.log.Warn("pause a failed partition", "topic", p.Topic, "partition", p.Partition.Partition, "error", perr)
	}
	c.errs = append(c.errs, err)
}

// watermarkTimeout bounds the question for what a partition still has.
const watermarkTimeout = 5 * time.Second

// truncated: the client has found, by the leader epochs, that the log has something else now than what was read. It reports
// that as a reset of the offset, with the reason as text.
func truncated(err kafka.Error) bool {
	return err.Code() == kafka.ErrLogTruncation || strings.Contains(err.Error(), "log truncation")
}

// outOfRange finds out whether the position of p is really not there: the event may be of before a Seek, or about an offset
// without a record. What was truncated and written anew is there, and is not what was read.
func (c *Consumer) outOfRange(p *part, truncated bool) {
	low, high, err := c.kc.QueryWatermarkOffsets(p.Topic, p.Partition.Partition, int(watermarkTimeout/time.Millisecond))
	switch {
	case err != nil:
		if kerr, ok := err.(kafka.Error); ok {
			if e := classify(c.opts.Kafka.Brokers, &p.Partition, kerr); e != nil {
				c.fail(p, e)
				return
			}
		}
		c.note(err)
	case truncated && p.next >= low && p.next <= high:
		c.fail(p, &OffsetOutOfRange{Partition: p.Partition, Offset: p.next, Low: low, High: high, Truncated: true})
		return
	case p.next < low || p.next > high:
		c.fail(p, &OffsetOutOfRange{Partition: p.Partition, Offset: p.next, Low: low, High: high})
		return
	}
	// The fetcher has stopped at the error; it asks again, and says so again if it is true. Not by the leader epoch, though: a
	// broker that knows none that old would say the same for ever.
	p.leader = 0
	if err := c.goOn(false, p); err != nil {
		c.errs = append(c.errs, err)
	}
}

// failure handles an error event that names no partition.
func (c *Consumer) failure(err kafka.Error) {
	switch err.Code() {
	case kafka.ErrAutoOffsetReset, kafka.ErrOffsetOutOfRange, kafka.ErrLogTruncation:
		for _, p := range c.parts { // plain polling does not say which
			if !p.failed && !p.paused {
				c.outOfRange(p, truncated(err) && strings.Contains(err.Error(), fmt.Sprintf("offset %d ", p.next)))
			}
		}
		return
	}
	e := classify(c.opts.Kafka.Brokers, nil, err)
	token, stays := c.tokens.failure()
	switch {
	case e == nil, token != nil && !stays && e.Kind == Login: // who gives the tokens may be away for a while
		c.note(err)
	case e.Kind == Corrupt:
		for _, p := range c.parts {
			p.failed = true
		}
		c.errs = append(c.errs, e)
	case (e.Kind == Login || e.Kind == TLS) && c.connected:
		c.note(e) // it has worked before: a broker that starts again or a changed secret must not end the process
	default:
		diagnose(c.ctx, c.opts.Kafka, e)
		c.note(e)
		c.errs = append(c.errs, e)
	}
}

// backoff spaces the log lines of one kind of trouble.
type backoff struct {
	next time.Time
	wait time.Duration
	held int
}

// The first and longest time between two log lines about the same trouble.
const (
	firstQuiet = 10 * time.Second
	maxQuiet   = 10 * time.Minute
)

// note remembers an error that the client goes on trying to overcome, and logs it now and then.
func (c *Consumer) note(err error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	key := "other"
	k, ok := err.(kafka.Error)
	if ok {
		key = k.Code().String()
	}
	// That all brokers are down follows the errors that say why.
	if c.last == nil || !ok || k.Code() != kafka.ErrAllBrokersDown {
		c.last = err
	}
	c.lastAt = now
	b := c.quiet[key]
	if b == nil {
		b = &backoff{wait: firstQuiet}
		c.quiet[key] = b
	}
	if now.Before(b.next) {
		b.held++
		return
	}
	c.log.Warn("kafka trouble, trying on", "error", err, "brokers", strings.Join(c.opts.Kafka.Brokers, ","), "repeated", b.held)
	b.next, b.held = now.Add(b.wait), 0
	b.wait = min(2*b.wait, maxQuiet)
}

// settled is how long after trouble a record counts as its end.
const settled = 2 * time.Second

// recovered forgets trouble: a partition delivers.
func (c *Consumer) recovered() {
	if time.Since(c.lastAt) < settled {
		return // what arrives may have been fetched before
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.Info("kafka works again", "after", c.last)
	c.last, c.lastAt = nil, time.Time{}
	clear(c.quiet)
}

// LastError returns the latest trouble that the client is trying to overcome (an unreachable broker, for example) and
// when it was seen last; nil once a partition delivered after it. It may be called on any goroutine.
//
//nolint:staticcheck // the error is what is asked for, no failure to answer
func (c *Consumer) LastError() (error, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.lastAt
}
