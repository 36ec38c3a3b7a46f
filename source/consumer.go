package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Options say what a Consumer reads, and with how much memory.
type Options struct {
	Kafka  configs.Kafka
	Source configs.Source
	// Pipeline names the client, and the consumer group unless Source.Group does.
	Pipeline string
	// Memory bounds the records that are fetched ahead, in bytes with their overhead; 0: 64 MiB.
	Memory int64
	// Log gets the client's messages; nil: none.
	Log *slog.Logger
}

// slice is the longest wait for records before events (rebalances, errors) are looked at again.
const slice = 50 * time.Millisecond

// part is what the consumer knows of a partition that it holds.
type part struct {
	Partition
	// next is the position: all offsets below it were delivered or have no record. It never goes back but by Seek,
	// and every record below it that arrives is a repetition and dropped.
	next int64
	// leader is the leader epoch of the record before next, plus 1; 0: not known.
	leader int32
	// epoch tells this assignment, and this stretch since the last Seek, from any other of the same partition.
	epoch int64
	// paused by the caller. failed: an error was reported, nothing more is delivered until Seek.
	paused, failed bool
	// held: paused in the client while no records are asked for, in poll mode.
	held bool
	hush hush
	// touched and from belong to one Poll: the position before it.
	touched bool
	from    int64
}

// fetcher takes records from the client. There are two: by batch (queue.go) and one by one (poll.go).
type fetcher interface {
	// fetch appends rows to the columns of r (all but Topic and Partition, which settle fills), at least those that
	// are there at once and then waiting up to wait for the first, and returns what the rows are.
	fetch(r *batch.Records, wait time.Duration) ([]run, error)
	// attach makes the records of a partition arrive at fetch.
	attach(p Partition) error
	// purge drops what was taken of a partition from the client and not returned by fetch.
	purge(p Partition)
	// kept reports whether anything taken from the client was not returned yet; the client's position is ahead then.
	kept() bool
	// drained reports whether the last fetch has returned everything that had arrived.
	drained() bool
	close(held []Partition)
}

// run is consecutive rows of one partition with ascending offsets, or an event.
type run struct {
	topic     string // good until the next fetch
	partition int32
	first, n  int
	offset    int64
	err       kafka.ErrorCode // ErrNoError: rows
	text      string
}

// Consumer reads the topics of one pipeline as a member of its consumer group.
//
// A partition's life: the group assigns it, the Handler says where it starts, Poll delivers every committed record
// from there on exactly once per epoch in ascending order, until the group revokes it or Seek starts a new epoch.
// The position (Position, Span.Next) counts offsets without a record too: transaction markers, aborted records, and
// those compacted away. Nothing is committed but by CommitOffsets, and nothing depends on what is.
//
// All methods but LastError must be called on one goroutine, the one that polls; the Handler's methods are called on
// it too, from Poll and Close, and may call Position, Assignment, Epoch and CommitOffsets.
type Consumer struct {
	opts    Options
	log     *slog.Logger
	handler Handler
	topics  []string // subscription
	kc      *kafka.Consumer
	rk      *client // nil: its layout is not as known, see client
	fetcher fetcher
	mode    string
	logs    *logs
	tokens  *tokens // nil: the login takes none

	ctx       context.Context // of the running Poll, for the Handler
	parts     map[Partition]*part
	touched   []*part
	epoch     int64
	errs      []error       // found, not returned yet
	changes   int           // rebalances seen
	rejoin    bool          // give all partitions back before the next fetch
	patience  time.Duration // how long a partition may be silent
	connected bool          // was a member of the group at least once
	closed    bool

	mu     sync.Mutex
	last   error
	lastAt time.Time
	quiet  map[string]*backoff
}

// New makes a consumer and subscribes it; it does not wait for a broker. The caller must Close it.
func New(o Options, h Handler) (*Consumer, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	topics, err := subscription(o.Source)
	if err != nil {
		return nil, err
	}
	if o.Source.Consume != "" && o.Source.Consume != "batch" && o.Source.Consume != "poll" {
		return nil, fmt.Errorf("source.consume: %q is neither batch nor poll", o.Source.Consume)
	}
	group := o.Source.Group
	if group == "" {
		group = "lakeloader-" + o.Pipeline
	}
	c, err := openClient(o, group)
	if err != nil {
		return nil, err
	}
	c.handler, c.topics = h, topics
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// openClient makes the client.
func openClient(o Options, group string) (*Consumer, error) {
	conf, err := consumerConfig(o, group)
	if err != nil {
		return nil, err
	}
	issue, err := issuerOf(o.Kafka)
	if err != nil {
		return nil, err
	}
	c := &Consumer{opts: o, log: o.Log, ctx: context.Background(), parts: map[Partition]*part{}, patience: silence, quiet: map[string]*backoff{}}
	c.logs = startLogs(conf, o.Log)
	if c.kc, err = kafka.NewConsumer(&conf); err != nil {
		c.logs.stop()
		return nil, fmt.Errorf("kafka client: %w; check kafka.properties and the files in kafka.tls", err)
	}
	c.tokens = startTokens(issue, c.kc, o.Log)
	return c, nil
}

// start chooses how records are taken, and joins the group.
func (c *Consumer) start() error {
	c.chooseFetcher(clientOf(c.kc))
	if err := c.kc.SubscribeTopics(c.topics, c.rebalance); err != nil {
		return fmt.Errorf("kafka %s: subscribe to %s: %w", strings.Join(c.opts.Kafka.Brokers, ","), strings.Join(c.topics, ", "), err)
	}
	return nil
}

// chooseFetcher takes records by batch if the client's handle was found, and unless polling is asked for.
func (c *Consumer) chooseFetcher(rk *client, err error) {
	c.fetcher, c.mode, c.rk = &poller{c: c}, "poll", rk
	if err == nil && c.opts.Source.Consume != "poll" {
		var q *queue
		if q, err = newQueue(rk); err == nil {
			c.fetcher, c.mode = q, "batch"
		}
	}
	if err != nil {
		c.log.Warn("records are consumed one by one, which costs three times the CPU", "reason", err)
	}
}

// subscription returns topic names, or a pattern as the client takes it.
func subscription(s configs.Source) ([]string, error) {
	switch {
	case len(s.Topics) > 0 && s.Pattern != "":
		return nil, errors.New("source: give topics or pattern, not both")
	case len(s.Topics) == 0 && s.Pattern == "":
		return nil, errors.New("source: topics or pattern is missing")
	case s.Pattern != "":
		if _, err := topicPattern(s.Pattern); err != nil {
			return nil, err
		}
		return []string{anchored(s.Pattern)}, nil
	}
	for _, t := range s.Topics {
		if t == "" || strings.HasPrefix(t, "^") {
			return nil, fmt.Errorf("source.topics: %q is not a topic name; use source.pattern for a regular expression", t)
		}
	}
	return slices.Clone(s.Topics), nil
}

// anchored makes a pattern match whole names; the client takes it for one by its "^".
func anchored(pattern string) string { return "^(" + pattern + ")$" }

// topicPattern compiles a pattern the way the client does, as a POSIX extended expression.
func topicPattern(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.CompilePOSIX(anchored(pattern))
	if err != nil {
		return nil, fmt.Errorf("source.pattern: %w (POSIX extended expressions: write [0-9] for \\d)", err)
	}
	return re, nil
}

// Mode is how records are consumed: batch or poll.
func (c *Consumer) Mode() string { return c.mode }

// Poll appends up to 4096 records and the spans that they cover to r, and returns as soon as there is something, or
// after max without an error. Spans of one partition follow on each other as long as its epoch lasts. The arena of r
// grows by at most 8 MiB, or by one record if that is larger.
//
// Errors come alone, r is unchanged then: *OffsetOutOfRange, *Error, *AssignError, or ctx's. After an error about a
// partition the others go on; Poll may be called again after any of them.
func (c *Consumer) Poll(ctx context.Context, r *batch.Records, max time.Duration) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	if err := c.release(); err != nil {
		return err
	}
	deadline := time.Now().Add(max)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.serveEvents()
		if err := c.takeErr(); err != nil {
			return err
		}
		wait := min(slice, time.Until(deadline))
		something, err := c.fetch(r, wait)
		if err != nil {
			return err
		}
		if something {
			return nil
		}
		if err := c.takeErr(); err != nil {
			return err
		}
		if wait <= 0 {
			return nil
		}
	}
}

// takeErr returns the oldest error not returned yet.
func (c *Consumer) takeErr() error {
	if len(c.errs) == 0 {
		return nil
	}
	err := c.errs[0]
	c.errs = slices.Delete(c.errs, 0, 1)
	return err
}

// fetch does one round of the fetcher, and reports whether r got anything.
func (c *Consumer) fetch(r *batch.Records, wait time.Duration) (bool, error) {
	rows := r.Len()
	for _, p := range c.parts {
		if !p.hush.over && !p.paused && !p.failed {
			// Stopping a partition's fetcher takes its forwarding away some time after the call that stops it, so a
			// partition that is assigned again at once could deliver nowhere, for ever.
			if err := c.fetcher.attach(p.Partition); err != nil {
				return false, err
			}
		}
	}
	runs, err := c.fetcher.fetch(r, max(wait, 0))
	if err != nil {
		return false, err
	}
	something := c.settle(r, rows, runs)
	if err := c.listen(); err != nil {
		c.errs = append(c.errs, err)
	}
	return something, nil
}

func partitionOf(tp kafka.TopicPartition) Partition {
	p := Partition{Partition: tp.Partition}
	if tp.Topic != nil {
		p.Topic = *tp.Topic
	}
	return p
}

// Assignment returns the partitions held, sorted.
func (c *Consumer) Assignment() []Partition {
	return slices.SortedFunc(maps.Keys(c.parts), comparePartitions)
}

func comparePartitions(a, b Partition) int {
	if d := strings.Compare(a.Topic, b.Topic); d != 0 {
		return d
	}
	return int(a.Partition) - int(b.Partition)
}

// Epoch tells assignments and seeks of a partition apart: what was delivered under another epoch than the present
// one is to be dropped. 0: the partition is not held.
func (c *Consumer) Epoch(p Partition) int64 {
	if st := c.parts[p]; st != nil {
		return st.epoch
	}
	return 0
}

// LeaderEpoch is the leader epoch of the record before the position, plus 1, if the position is next; else, or when it is
// not known, 0.
func (c *Consumer) LeaderEpoch(p Partition, next int64) int32 {
	if st := c.parts[p]; st != nil && st.next == next {
		return st.leader
	}
	return 0
}

// startLeader is what the handler knows of the record before the offset that it wants to start from.
func (c *Consumer) startLeader(p Partition) int32 {
	if h, ok := c.handler.(LeaderEpochs); ok {
		return h.LeaderEpoch(p)
	}
	return 0
}

// at is where the client is to read a partition from.
func at(p *Partition, offset int64, leader int32) kafka.TopicPartition {
	tp := kafka.TopicPartition{Topic: &p.Topic, Partition: p.Partition, Offset: kafka.Offset(offset)}
	if leader > 0 {
		epoch := leader - 1
		tp.LeaderEpoch = &epoch
	}
	return tp
}

// leaderOf is the leader that at was given.
func leaderOf(tp kafka.TopicPartition) int32 {
	if tp.LeaderEpoch == nil {
		return 0
	}
	return *tp.LeaderEpoch + 1
}

// Position returns the next offset to deliver of each partition that is held: all below it was dealt with.
func (c *Consumer) Position(ps []Partition) map[Partition]int64 {
	out := make(map[Partition]int64, len(ps))
	for _, p := range ps {
		if st := c.parts[p]; st != nil {
			out[p] = st.next
		}
	}
	return out
}

// Close leaves the group, after a last Revoked for what is held.
func (c *Consumer) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	c.tokens.stop()
	if c.fetcher != nil {
		// The queue must be gone before the client is.
		c.fetcher.close(c.Assignment())
	}
	err, done := within(3*closeLimit, c.kc.Close)
	if !done {
		// Its threads stay behind; the group notices by its session timeout.
		c.log.Warn("the client did not close in time and is left behind", "after", 3*closeLimit)
		return nil
	}
	c.logs.stop()
	if err != nil {
		return fmt.Errorf("close the kafka client: %w", err)
	}
	return nil
}

// closeLimit is how long the client may take to answer while it closes. Committing is over by then, so nothing is lost
// when it is left behind.
const closeLimit = 5 * time.Second
