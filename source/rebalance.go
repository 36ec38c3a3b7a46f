package source

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// rebalance is called by the client from within its Poll and Close. Every event must be answered by an incremental
// assign or unassign, even of nothing, else the group waits for this member.
func (c *Consumer) rebalance(_ *kafka.Consumer, ev kafka.Event) error {
	c.changes++
	c.connected = true
	var err error
	switch e := ev.(type) {
	case kafka.AssignedPartitions:
		err = c.assigned(e.Partitions)
	case kafka.RevokedPartitions:
		err = c.revoked(e.Partitions)
	}
	if err != nil {
		c.errs = append(c.errs, err)
	}
	return nil // the client ignores it
}

func (c *Consumer) assigned(tps []kafka.TopicPartition) error {
	c.log.Info("partitions assigned", "partitions", names(tps))
	ps := make([]Partition, len(tps))
	for i, tp := range tps {
		ps[i] = partitionOf(tp)
	}
	var starts map[Partition]int64
	var err error
	if c.closed { // the group was still dealing out while this member left
		if err := c.answer(func() error { return c.kc.IncrementalAssign(nil) }); err != nil {
			c.log.Debug("answer to the group while closing", "error", err)
		}
		return nil
	}
	if len(ps) > 0 {
		starts, err = c.handler.Assigned(c.ctx, ps)
	}
	start := make([]kafka.TopicPartition, 0, len(ps))
	for _, p := range ps {
		offset, ok := starts[p]
		if err == nil && (!ok || offset < 0) {
			err = fmt.Errorf("%s: no start offset was given (%d)", p, offset)
		}
		leader := int32(0)
		if err == nil {
			leader = c.startLeader(p)
		}
		start = append(start, at(&p, offset, leader))
	}
	if err != nil {
		c.rejoin = true
		if aerr := c.kc.IncrementalAssign(nil); aerr != nil {
			c.log.Warn("answer to the group", "error", aerr)
		}
		return &AssignError{Partitions: ps, Err: err}
	}
	return c.begin(start)
}

// begin starts reading partitions that the group has assigned.
func (c *Consumer) begin(start []kafka.TopicPartition) error {
	// Forwarding before the fetchers start keeps their first records from going elsewhere.
	for _, tp := range start {
		if err := c.fetcher.attach(partitionOf(tp)); err != nil {
			return err
		}
	}
	if err := c.kc.IncrementalAssign(start); err != nil {
		return &Error{Kind: Fatal, Brokers: c.opts.Kafka.Brokers, Err: fmt.Errorf("assign %s: %w", names(start), err),
			Hint: "the Kafka client gave up; start the process again"}
	}
	for _, tp := range start {
		c.epoch++
		p := partitionOf(tp)
		c.parts[p] = &part{Partition: p, next: int64(tp.Offset), leader: leaderOf(tp), epoch: c.epoch}
	}
	// Also those held before: an assignment may have taken their forwarding away, without any event.
	for p := range c.parts {
		if err := c.fetcher.attach(p); err != nil {
			return err
		}
	}
	return c.validate(start)
}

// How often, and how long apart, validate asks before the client's fetchers have started.
const (
	validateTries = 40
	validatePause = 25 * time.Millisecond
)

// validate has the client compare the leader epochs that are known with the broker's before it reads on: it does so for a
// seek, not for an assignment (librdkafka 2.14). What does not hold comes as an error event of the partition.
func (c *Consumer) validate(start []kafka.TopicPartition) error {
	left := slices.DeleteFunc(slices.Clone(start), func(tp kafka.TopicPartition) bool { return tp.LeaderEpoch == nil })
	for n := 0; len(left) > 0; n++ {
		done, err := c.kc.SeekPartitions(left)
		if err != nil {
			return fmt.Errorf("seek %s: %w", names(left), err)
		}
		var again []kafka.TopicPartition
		for i, tp := range done {
			if tp.Error != nil {
				again = append(again, left[i])
			}
		}
		if left = again; len(left) == 0 {
			break
		}
		if n == validateTries {
			c.log.Warn("it was not asked whether the log still has what was read before", "partitions", names(left), "reason", done[0].Error)
			break
		}
		t := time.NewTimer(validatePause)
		select {
		case <-c.ctx.Done():
			t.Stop()
			return nil // the next Poll says so
		case <-t.C:
		}
	}
	for _, tp := range start {
		if tp.LeaderEpoch != nil { // nothing that came before the answer is delivered
			c.fetcher.purge(partitionOf(tp))
		}
	}
	return nil
}

func (c *Consumer) revoked(tps []kafka.TopicPartition) error {
	lost := c.kc.AssignmentLost()
	c.log.Info("partitions revoked", "partitions", names(tps), "lost", lost)
	var ps []Partition
	var held, paused []kafka.TopicPartition
	for _, tp := range tps {
		p := partitionOf(tp)
		if st := c.parts[p]; st != nil {
			ps, held = append(ps, p), append(held, kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition})
			if st.paused || st.failed || st.held {
				paused = append(paused, held[len(held)-1])
			}
		}
	}
	if len(ps) > 0 {
		c.handler.Revoked(c.ctx, ps, lost)
	}
	for _, p := range ps {
		delete(c.parts, p)
		if !c.closed {
			c.fetcher.purge(p)
		}
	}
	// The client remembers a pause beyond the assignment.
	if len(paused) > 0 {
		if err := c.kc.Resume(paused); err != nil {
			c.log.Warn("resume before giving up", "error", err)
		}
	}
	if err := c.answer(func() error { return c.kc.IncrementalUnassign(held) }); err != nil {
		return fmt.Errorf("give up %s: %w", names(held), err)
	}
	return nil
}

// answer calls the client to answer a rebalance. While the consumer closes, the client has been seen to wait for ever
// for a group that it had ended already: then the answer does not matter any more.
func (c *Consumer) answer(call func() error) error {
	if !c.closed {
		return call()
	}
	err, ok := within(closeLimit, call)
	if !ok {
		c.log.Warn("the client does not take the answer to a rebalance while it closes")
	}
	return err
}

// within waits for call, but not longer than limit; then it goes on behind.
func within(limit time.Duration, call func() error) (err error, done bool) {
	result := make(chan error, 1)
	go func() { result <- call() }()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-result:
		return err, true
	case <-t.C:
		return nil, false
	}
}

// leaveAndJoin gives all partitions back to the group, which then deals them out again.
func (c *Consumer) leaveAndJoin() error {
	if err := c.kc.Unsubscribe(); err != nil {
		return fmt.Errorf("leave the group: %w", err)
	}
	for end := time.Now().Add(10 * time.Second); len(c.parts) > 0; {
		if time.Now().After(end) {
			return &Error{Kind: Fatal, Brokers: c.opts.Kafka.Brokers, Err: fmt.Errorf("%d partitions were not given up within 10 s", len(c.parts)),
				Hint: "start the process again"}
		}
		c.kc.Poll(int(slice / time.Millisecond)) // what arrives now would be dropped
	}
	if err := c.kc.SubscribeTopics(c.topics, c.rebalance); err != nil {
		return fmt.Errorf("join the group again: %w", err)
	}
	c.rejoin = false
	return nil
}

// list writes partitions for people, a few of them.
func list(ps []Partition) string {
	var b strings.Builder
	for i, p := range ps {
		if i == 20 {
			fmt.Fprintf(&b, " and %d more", len(ps)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

func names(tps []kafka.TopicPartition) string {
	ps := make([]Partition, len(tps))
	for i, tp := range tps {
		ps[i] = partitionOf(tp)
	}
	return list(ps)
}

// Seek starts a new epoch of each partition at the given offset. When it returns, nothing fetched before is
// delivered any more. A partition that is not held is an error, and none is moved then. It also takes up a partition again for
// which an error was returned; a paused one stays paused.
func (c *Consumer) Seek(to map[Partition]int64) error {
	var tps, resume []kafka.TopicPartition
	for p, offset := range to {
		st := c.parts[p]
		if st == nil {
			return fmt.Errorf("seek %s: the partition is not assigned", p)
		}
		if offset < 0 {
			return fmt.Errorf("seek %s: offset %d is negative", p, offset)
		}
		tps = append(tps, at(&p, offset, c.startLeader(p)))
		if st.failed && !st.paused {
			resume = append(resume, tps[len(tps)-1])
		}
	}
	if len(tps) == 0 {
		return nil
	}
	for _, tp := range tps {
		c.epoch++
		st := c.parts[partitionOf(tp)]
		st.next, st.leader, st.epoch, st.failed = int64(tp.Offset), leaderOf(tp), c.epoch, false
	}
	return c.reread(tps, resume)
}

// reread makes the client fetch partitions again from where tps says, and resumes some of them.
func (c *Consumer) reread(tps, resume []kafka.TopicPartition) error {
	for _, tp := range tps {
		p := partitionOf(tp)
		c.fetcher.purge(p)
		c.parts[p].hush = hush{}
	}
	done, err := c.kc.SeekPartitions(tps)
	if err != nil {
		return fmt.Errorf("seek %s: %w", names(tps), err)
	}
	if err := c.restart(tps, done); err != nil {
		return err
	}
	if len(resume) > 0 {
		if err := c.kc.Resume(resume); err != nil {
			return fmt.Errorf("resume %s: %w", names(resume), err)
		}
	}
	return nil
}

// goOn makes the client fetch partitions again from their positions, which is no new epoch.
func (c *Consumer) goOn(resume bool, ps ...*part) error {
	tps := make([]kafka.TopicPartition, len(ps))
	for i, p := range ps {
		tps[i] = at(&p.Partition, p.next, p.leader)
	}
	if len(ps) == 0 {
		return nil
	}
	if resume {
		return c.reread(tps, tps)
	}
	return c.reread(tps, nil)
}

// restart takes partitions that cannot be sought, because their fetcher has not started yet or has stopped at an
// error, out of the assignment and in again.
func (c *Consumer) restart(want, sought []kafka.TopicPartition) error {
	var again []kafka.TopicPartition
	for i, tp := range sought {
		if tp.Error != nil {
			c.log.Debug("seek by starting again", "topic", *want[i].Topic, "partition", want[i].Partition, "reason", tp.Error)
			again = append(again, want[i])
		}
	}
	return c.assignAgain(again)
}

// assignAgain takes partitions out of the assignment and in again.
func (c *Consumer) assignAgain(again []kafka.TopicPartition) error {
	if len(again) == 0 {
		return nil
	}
	if err := c.kc.IncrementalUnassign(again); err != nil {
		return fmt.Errorf("seek %s: %w", names(again), err)
	}
	for _, tp := range again {
		if err := c.fetcher.attach(partitionOf(tp)); err != nil {
			return err
		}
	}
	if err := c.kc.IncrementalAssign(again); err != nil {
		return fmt.Errorf("seek %s: %w", names(again), err)
	}
	return nil
}

// Pause stops the delivery of partitions until Resume; what was fetched of them is thrown away.
func (c *Consumer) Pause(ps []Partition) error {
	tps, err := c.held("pause", ps)
	if err != nil || len(tps) == 0 {
		return err
	}
	if err := c.kc.Pause(tps); err != nil {
		return fmt.Errorf("pause %s: %w", names(tps), err)
	}
	for _, p := range ps {
		c.parts[p].paused = true
		c.fetcher.purge(p)
	}
	return nil
}

// Resume goes on at the position. A partition that failed stays so until Seek.
func (c *Consumer) Resume(ps []Partition) error {
	if _, err := c.held("resume", ps); err != nil {
		return err
	}
	var again []*part
	for _, p := range ps {
		st := c.parts[p]
		if st.paused && !st.failed {
			again = append(again, st)
		}
		st.paused = false
	}
	// By itself the client would go on behind what it handed to the fetcher, some of which Pause has dropped.
	return c.goOn(true, again...)
}

func (c *Consumer) held(what string, ps []Partition) ([]kafka.TopicPartition, error) {
	tps := make([]kafka.TopicPartition, len(ps))
	for i, p := range ps {
		if c.parts[p] == nil {
			return nil, fmt.Errorf("%s %s: the partition is not assigned", what, p)
		}
		tps[i] = kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition}
	}
	return tps, nil
}

// CommitOffsets tells the group how far the table is, for lag tools; nothing depends on it. It does not wait, and
// what goes wrong is logged at debug level.
func (c *Consumer) CommitOffsets(offsets map[Partition]int64) {
	if len(offsets) == 0 || c.closed {
		return
	}
	var err error
	if c.rk != nil {
		err = c.rk.commit(offsets)
	} else {
		tps := make([]kafka.TopicPartition, 0, len(offsets))
		for p, o := range offsets {
			tps = append(tps, kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition, Offset: kafka.Offset(o)})
		}
		_, err = c.kc.CommitOffsets(tps)
	}
	if err != nil {
		c.log.Debug("group offsets were not committed", "error", err)
	}
}
