// Package pipeline loads topics into tables: the loop around the stages, and the exactly-once protocol (commit.go), which
// decides in one swap of the table what became of every offset. It knows neither S3 nor Iceberg nor Kafka's client.
package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/memory"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// Consumer is a member of the pipeline's consumer group. It calls the loader's Assigned and Revoked from within Poll.
type Consumer interface {
	// Poll appends the records of one fetch, and serves rebalances.
	Poll(ctx context.Context, r *batch.Records, wait time.Duration) error
	// Serve serves rebalances without fetching, for as long as it is told.
	Serve(ctx context.Context, wait time.Duration) error
	Seek(map[source.Partition]int64) error
	// LeaderEpoch is the leader epoch of the record before an offset, plus 1; 0: not known.
	LeaderEpoch(p source.Partition, next int64) int32
	// CommitOffsets tells the group where the table is, for lag tools; nothing rests on it.
	CommitOffsets(map[source.Partition]int64)
	// LastError is the trouble that the client is trying to overcome, and when it was seen last; nil: none.
	LastError() (error, time.Time)
	Close() error
}

// Topics answers questions about topics.
type Topics interface {
	ClusterID(ctx context.Context) (string, error)
	TopicIDs(ctx context.Context, topics []string) (map[string]string, error)
	Watermarks(ctx context.Context, ps []source.Partition) (map[source.Partition]source.Watermarks, error)
	OffsetsForTime(ctx context.Context, ps []source.Partition, t time.Time) (map[source.Partition]int64, error)
	Partitions(ctx context.Context, s configs.Source) ([]source.Partition, error)
}

// work is what the loop knows of the stages between a fetch and the files of a round. Only stages implements it in the
// program; simulations of the protocol decide without decoding anything.
type work interface {
	// prepare has at hand what the records need; again: the open round must be dropped and read again.
	prepare(ctx context.Context, r *batch.Records) (again bool, err error)
	// run brings records into the open files and returns what was decided about each; it is good until the next call.
	run(ctx context.Context, r *batch.Records, ts *tracks) (*batch.Batch, error)
	// finish ends the files of the round, durably: the primary table's first, then those of every other table.
	finish(ctx context.Context) ([]RoundFile, error)
	// begin takes in what the table says when a round begins.
	begin(l *table.Ledger)
	// abort drops the open files, committed keeps what was learned of the rows that were in them.
	abort()
	committed()
	// remembers reports whether what is decided about a record depends on rows that are in the table; seed and forget
	// follow the partitions that are owned.
	remembers() bool
	seed(ctx context.Context, owned map[table.Key]bool, l *table.Ledger) error
	forget(topic string, partition int32)
	// size of the open round's files, use of memory for them, bytes.
	size() int64
	use() memory.Use
	// shrink begins to finish files, so that the round holds less by that many bytes; pending tells how many files are open
	// and how many on their way, await waits until some of these are durable, or ctx ends.
	shrink(ctx context.Context, bytes int64) error
	pending() (open, uploading int)
	await(ctx context.Context) error
}

// Loader loads the topics of one pipeline into its table until it is told to stop or something fails. After a failure
// it is thrown away: a new one starts from what the table says. All of it runs on the goroutine that calls Run.
type Loader struct {
	cfg       *configs.Pipeline
	log       *slog.Logger
	now       func() time.Time
	rec       *obs.Recorder
	consumer  Consumer
	topics    Topics
	primary   table.Ident
	committer Keeper
	catalog   *watched // whether the committer's questions are answered
	stages    work
	letters   LetterTopic // nil: none
	memory    Memory
	committed func() // tells that a round was; nil: nobody wants to know

	tracks tracks
	recs   batch.Records
	ledger *table.Ledger
	// hard ends what Run does even in the middle; Assigned and Revoked are called without a context of their own.
	hard context.Context
	stop <-chan struct{}
	// waiting is since when records have waited for a commit, Unix nanoseconds; 0: none do. The watchdog reads it.
	waiting atomic.Int64
	// began is when the first record of the open round arrived, moved when its first position moved; zero: none has.
	began, moved time.Time
	// reseek: the open round was dropped, and what was fetched with it; the kept partitions must be sought.
	reseek bool
	// looked is when the ledger was read last, rechecked when idle topics were asked for their ids.
	looked, rechecked time.Time
	// read are the ids of the topics that the consumer has been given partitions of.
	read map[string]string
	// seen is the last edit of the table (Ledger.Edit) that what the deduplicate steps remember rests on.
	seen int64
	// progressed: a round was committed and finished.
	progressed bool
	// holding: prepare waits with fetched records that are not yet accounted for.
	holding bool
	// inside: rows of a batch wait for a lookup, whose positions are accounted for already.
	inside bool
	failed error // what a rebalance callback ran into
	// absent: a topic is not there, which keeps the others going.
	absent error
}

// handOver is how long a rebalance waits for the round to be committed before it is dropped.
const handOver = 30 * time.Second

// Run loads until stop is closed, then commits what it has and leaves the group. ctx ends it at once, and whatever
// was not committed is read again by the next loader.
func (l *Loader) Run(ctx context.Context, stop <-chan struct{}) error {
	l.hard, l.stop = ctx, stop
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-stop:
			return l.drain(ctx)
		default:
		}
		if err := l.step(ctx); err != nil {
			return err
		}
	}
}

// step is one fetch through all stages, and the commit when it is due.
func (l *Loader) step(ctx context.Context) error {
	l.forgetArena()
	l.recs.Reset()
	err := l.consumer.Poll(ctx, &l.recs, l.pollWait())
	if l.failed != nil {
		return l.failed
	}
	if err != nil {
		if err = l.fetchError(ctx, err); err != nil {
			return err
		}
	}
	if l.reseek {
		return l.reload(ctx)
	}
	l.reportPhase()
	if l.recs.Len() > 0 || len(l.recs.Spans) > 0 {
		if err := l.take(ctx); err != nil || l.reseek {
			return errors.Join(err, l.reloadIf(ctx, err == nil && l.reseek))
		}
	}
	if l.due() {
		return l.end(ctx)
	}
	if err := l.relieve(ctx); err != nil || l.reseek {
		return err
	}
	if err := l.recheck(ctx); err != nil {
		return err
	}
	return l.look(ctx)
}

func (l *Loader) reloadIf(ctx context.Context, cond bool) error {
	if !cond {
		return nil
	}
	return l.reload(ctx)
}

// take brings the fetched records through the stages into the open files.
func (l *Loader) take(ctx context.Context) error {
	if err := l.prepare(ctx); err != nil || l.reseek {
		return err
	}
	if err := l.makeRoom(ctx); err != nil || l.reseek {
		return err
	}
	if err := l.tracks.account(&l.recs); err != nil {
		return err
	}
	now := l.now()
	records, moved := l.tracks.records() // those of stopped topics do not count: nothing of them is committed
	if moved && l.moved.IsZero() {
		l.moved = now
	}
	if l.recs.Len() == 0 {
		return nil
	}
	if records > 0 && l.began.IsZero() {
		l.began = now
		point.Hit(point.FirstRecord)
		l.waiting.Store(now.UnixNano())
	}
	b, err := l.stages.run(ctx, &l.recs, &l.tracks)
	if errors.Is(err, errGivenUp) {
		return nil // reseek says so
	}
	if err != nil {
		return err
	}
	l.tracks.decide(b)
	l.reportRead(&l.recs, b.Rejects)
	return nil
}

// prepare has the schemas of the fetched records at hand. While the registry cannot be asked it waits, holding the
// records and fetching no more; what was loaded before goes on being committed.
func (l *Loader) prepare(ctx context.Context) error {
	defer func() { l.holding = false }()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		l.holding = true
		again, err := l.stages.prepare(ctx, &l.recs)
		l.reseek = l.reseek || again
		if !errors.Is(err, schemas.ErrRegistry) && !errors.Is(err, schemas.ErrUnknownID) {
			return err
		}
		l.log.Warn("waiting for the schema registry; its partitions are not fetched meanwhile", "error", err, "next_try", wait)
		l.rec.Waiting(err.Error())
		if err := l.consumer.Serve(ctx, wait); err != nil {
			return err
		}
		if l.failed != nil {
			return l.failed
		}
		if l.reseek || ctx.Err() != nil {
			return ctx.Err()
		}
		if l.stopping() {
			l.recs.Reset() // never accounted for: the next loader reads them
			return nil
		}
		if l.due() {
			if err := l.end(ctx); err != nil || l.reseek {
				return err
			}
		}
	}
}

func (l *Loader) stopping() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *Loader) pollWait() time.Duration {
	if l.began.IsZero() {
		return 500 * time.Millisecond
	}
	left := time.Duration(l.cfg.Commit.Interval) - l.now().Sub(l.began)
	return max(time.Millisecond, min(left, 500*time.Millisecond))
}

// due says whether the open round must end now.
func (l *Loader) due() bool {
	records, moved := l.tracks.records()
	if !moved {
		return false
	}
	c := l.cfg.Commit
	if records == 0 { // control records and aborted transactions only
		return l.now().Sub(l.moved) >= time.Duration(c.IdleInterval)
	}
	return l.now().Sub(l.began) >= time.Duration(c.Interval) ||
		c.Records > 0 && records >= c.Records ||
		c.Size > 0 && l.stages.size() >= int64(c.Size)
}
