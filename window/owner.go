package window

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// Options say what is kept.
type Options struct {
	Name     string
	Key      string // column: text, an integer or a UUID
	Time     string // column
	Sum      string // see ParseSum
	Decimals int    // of the totals as they are published
	Length   Length
	Zone     *time.Location
	// Definition is a hash of what else decides which rows there are: decoding, cleansing.
	Definition string
	// Start is where a partition begins that the table knows nothing of: earliest, or something that only the loader decides.
	Start string
}

// Message is a key's total, as text.
type Message struct{ Key, Value []byte }

// Input reads partitions, each from a given offset on, and nothing but committed records. Records of a partition follow on each
// other.
type Input interface {
	Poll(ctx context.Context, r *batch.Records, max time.Duration) error
	Close() error
}

// Output writes to one slot. Whoever opens it later fences it.
type Output interface {
	// Publish sends messages in order, in one transaction. After an error it is of no use.
	Publish(ctx context.Context, ms []Message) error
	Close()
}

// Rows makes rows of records as the pipeline does.
type Rows interface {
	// Prepare has all that is needed to decode at hand.
	Prepare(ctx context.Context, r *batch.Records) error
	// Row is the row type, after Prepare.
	Row() *batch.Type
	// Apply decodes and cleanses. The batch is good until the next call.
	Apply(r *batch.Records) (*batch.Batch, error)
}

// Ends are what Kafka has of a partition: [Low, High), as far as it is committed.
type Ends struct {
	Low, High int64
	ID        string // of the topic
}

// Kafka is the cluster.
type Kafka interface {
	// Inputs are all partitions that are read, with their ends.
	Inputs(ctx context.Context) (map[Part]Ends, error)
	// Slots is the number of partitions of the output topic.
	Slots(ctx context.Context) (int32, error)
	// Read opens partitions.
	Read(start map[Part]int64) (Input, error)
	// Write opens a slot, and fences whoever had it open.
	Write(ctx context.Context, slot int32) (Output, error)
	// Published calls each with all messages of a slot in order, up to those of transactions that ended before the call; a value
	// of nil is a tombstone.
	Published(ctx context.Context, slot int32, each func(key, value []byte) error) error
	// Join takes part in the group that deals out the slots, until ctx ends.
	Join(ctx context.Context, h Holder) error
}

// Holder is told which slots are dealt out to it. Revoked returns when they are no longer used.
type Holder interface {
	Assigned(slots []int32)
	Revoked(slots []int32)
}

// Deps are what an owner works with.
type Deps struct {
	State *State
	Lake  Lake
	Kafka Kafka
	Rows  Rows
	Now   func() time.Time
	Log   *slog.Logger
	// Memory is what keys that were used last, and rows from which totals are made anew, may take, bytes: Shares.Entries.
	Memory int64
	// Meter is told how far the owner is; nil: nobody is.
	Meter *Meter
}

// Owner keeps the totals of the slots that the group deals out to it. A slot is a partition of the output topic, so it has all
// keys that Kafka's usual partitioner puts there; the input may be partitioned by anything. Every owner reads all partitions of
// the input and keeps the rows of its slots. What it rests on:
//
//   - A slot's state is a function of the rows of the lake up to some offsets, the rows of Kafka from there up to others, and
//     nothing else. Buckets and offsets change in one batch (State). So every state that there ever was is right, only older.
//   - Invariant: the last value of a key in the topic is its total by the state, on the day of the mark, but for keys that are marked
//     dirty, keys of rows behind the state's offsets, and keys whose total another day changes. All three are published again by
//     whoever goes on from that state: rows are read again, dirty keys are listed, and the walk compares the day of the mark with today.
//     It holds because values are published before the batch that follows from them is written. A crash in between leaves an older
//     state, and its owner publishes the same values once more.
//   - While a slot catches up with where Kafka ended when it was taken over, it publishes nothing: its keys become dirty. So the
//     values in the topic do not go back when rows are read again.
//   - A state that is made anew knows nothing of what was published: the slot's partition is read, and what differs is published.
//   - A slot is written by transactions under an id of its own. Opening it fences whoever had it before, so an owner that was
//     taken for dead publishes nothing old; its transaction is aborted. The group saves work only.
//   - The day never goes back, also where the clock does.
type Owner struct {
	o Options
	d Deps

	mu     sync.Mutex
	want   map[int32]int // the how-manieth time each slot was dealt out
	dealt  int
	wanted chan struct{} // something changed
	ended  chan struct{} // Run is over
	freed  chan struct{} // closed and made anew when slots were released

	slots   []*slot // by number; nil: not owned
	parts   map[Part]int
	input   Input
	rec     *batch.Records
	view    *view
	cache   *cache
	today   Day
	checked time.Time
	history History           // as it was when slots were taken over
	ids     map[string]string // of topics
	told    time.Time         // to the meter
	// updates and published are those which the meter was not told of.
	updates   int64
	published atomic.Int64
	workers   int // how many goroutines do what is about many rows or keys
}

// slot is one that is owned.
type slot struct {
	n     int32
	dealt int
	out   Output
	m     mark
	next  []int64 // by part
	ends  []int64 // by part: where it is up to date
	live  bool
	keys  int64 // that the state has; not known while m.Compare
	grown bool  // there are more of them than the state says
	msgs  []Message
	walk  []byte // key from which the walk goes on; nil: it has not begun
	// walkTo is the day that it is about.
	walkTo Day
}

// New makes an owner.
func New(o Options, d Deps) *Owner {
	return &Owner{o: o, d: d, want: map[int32]int{}, wanted: make(chan struct{}, 1), ended: make(chan struct{}), freed: make(chan struct{}),
		rec: &batch.Records{}, cache: newCache(int(d.Memory) * 2 / 3), workers: min(4, runtime.GOMAXPROCS(0))} // the rest is the collector's
}

// errChanged: what the owner knows is no longer so; it is to be started again.
var errChanged = errors.New("start again")

// Changed reports whether a run ended because what it was about is another one now: it is to be started again at once.
func Changed(err error) bool { return errors.Is(err, errChanged) }

// Run goes on until ctx ends, which is no error. An Owner runs once.
func (o *Owner) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	joined := make(chan error, 1)
	defer func() {
		close(o.ended)
		cancel()
		jerr := <-joined
		err = errors.Join(err, o.release())
		o.tell(true)
		if err == nil || errors.Is(err, context.Canceled) {
			err = jerr
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("window %s: %w", o.o.Name, err)
		}
	}()
	n, err := o.d.Kafka.Slots(ctx)
	if err != nil {
		joined <- nil
		return err
	}
	o.slots = make([]*slot, n)
	go func() {
		jerr := o.d.Kafka.Join(ctx, o)
		joined <- jerr
		if jerr != nil {
			cancel()
		}
	}()
	for ctx.Err() == nil {
		if err := o.turn(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Assigned is part of Holder, and so is Revoked.
func (o *Owner) Assigned(slots []int32) {
	o.mu.Lock()
	for _, n := range slots {
		o.dealt++
		o.want[n] = o.dealt
	}
	o.mu.Unlock()
	o.kick()
}

// Revoked waits until the slots are released, but not for long: opening them fences us anyway.
func (o *Owner) Revoked(slots []int32) {
	o.mu.Lock()
	for _, n := range slots {
		delete(o.want, n)
	}
	freed := o.freed
	o.mu.Unlock()
	o.kick()
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	select {
	case <-freed:
	case <-o.ended:
	case <-t.C:
	}
}

func (o *Owner) kick() {
	select {
	case o.wanted <- struct{}{}:
	default:
	}
}

// idle is how long a turn waits for records.
const idle = 50 * time.Millisecond

// turn does what there is to do.
func (o *Owner) turn(ctx context.Context) error {
	o.look()
	if err := o.reconcile(ctx); err != nil {
		return err
	}
	if o.input == nil {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-o.wanted:
		case <-t.C:
		}
		return nil
	}
	wait := idle
	if o.walking() {
		wait = 0
	}
	o.rec.Reset()
	if err := o.input.Poll(ctx, o.rec, wait); err != nil {
		return err
	}
	if len(o.rec.Spans) > 0 {
		if err := o.apply(ctx); err != nil {
			return err
		}
	}
	if err := o.settle(ctx); err != nil {
		return err
	}
	if err := o.walkOn(ctx); err != nil {
		return err
	}
	o.tell(false)
	return o.check(ctx)
}

// look takes the day from the clock.
func (o *Owner) look() {
	if day := DayOf(o.d.Now().In(o.o.Zone)); day > o.today {
		o.today = day
		o.cache.clear()
	}
}

// reconcile takes slots over, and gives others up.
func (o *Owner) reconcile(ctx context.Context) error {
	o.mu.Lock()
	want := maps.Clone(o.want)
	freed := o.freed
	o.freed = make(chan struct{})
	o.mu.Unlock()
	defer close(freed)
	var take []int32
	for n, s := range o.slots {
		n := int32(n)
		if s != nil && s.dealt != want[n] { // also where another had it in between
			s.out.Close()
			o.slots[n] = nil
			o.cache.clear()
			o.tell(true)
		}
		if o.slots[n] == nil && want[n] > 0 {
			take = append(take, n)
		}
	}
	owned := slices.ContainsFunc(o.slots, func(s *slot) bool { return s != nil })
	if !owned && len(take) == 0 {
		return o.closeInput()
	}
	if len(take) == 0 {
		return nil
	}
	started := time.Now()
	if err := o.acquire(ctx, take, want); err != nil {
		return err
	}
	o.d.Log.Info("slots of the window were taken over", "slots", len(take), "took", time.Since(started).Round(time.Millisecond))
	o.tell(true)
	return o.open(ctx)
}

func (o *Owner) closeInput() error {
	if o.input == nil {
		return nil
	}
	err := o.input.Close()
	o.input = nil
	return err
}

// open reads the input from where the slot is that is furthest behind.
func (o *Owner) open(ctx context.Context) error {
	if err := o.closeInput(); err != nil {
		return err
	}
	start := map[Part]int64{}
	for p, i := range o.parts {
		first := true
		for _, s := range o.slots {
			if s != nil && (first || s.next[i] < start[p]) {
				start[p], first = s.next[i], false
			}
		}
	}
	if len(start) == 0 {
		return errors.New("the topic has no partitions")
	}
	in, err := o.d.Kafka.Read(start)
	o.input = in
	return err
}

// release gives everything up.
func (o *Owner) release() error {
	for i, s := range o.slots {
		if s != nil {
			s.out.Close()
			o.slots[i] = nil
		}
	}
	return o.closeInput()
}

// checkEvery is how often it is asked whether the topics and what the table says of the past are still the same.
const checkEvery = 30 * time.Second

func (o *Owner) check(ctx context.Context) error {
	if now := time.Now(); now.Sub(o.checked) < checkEvery {
		return nil
	}
	o.checked = time.Now()
	n, err := o.d.Kafka.Slots(ctx)
	if err != nil {
		return err
	}
	if int(n) != len(o.slots) {
		return fmt.Errorf("%w: the output topic has %d partitions, not %d any more", errChanged, n, len(o.slots))
	}
	parts, err := o.d.Kafka.Inputs(ctx)
	if err != nil {
		return err
	}
	for p, e := range parts {
		if _, ok := o.parts[p]; !ok || o.ids[p.Topic] != e.ID {
			return fmt.Errorf("%w: the partition %s-%d is new", errChanged, p.Topic, p.Partition)
		}
	}
	h, err := o.d.Lake.History(ctx)
	if err != nil {
		return err
	}
	if !o.same(h) {
		return fmt.Errorf("%w: rows of the table %s were decided otherwise (a rewind, a replay, a retention), so the totals are made anew", errChanged, o.d.Lake.Table)
	}
	if o.history.UUID == h.UUID {
		return nil
	}
	o.history = h // the table was made meanwhile
	return o.remark()
}

// remark writes which table the slots are about.
func (o *Owner) remark() error {
	b := o.d.State.db.NewBatch()
	for _, s := range o.slots {
		if s == nil {
			continue
		}
		s.m.UUID = o.history.UUID
		if err := setMark(b, s.n, s.m); err != nil {
			return err
		}
	}
	return o.d.State.commit(b)
}
