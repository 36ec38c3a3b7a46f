package obs

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Recorder is told what happens to one pipeline. All methods are safe for concurrent use, never block for long, and
// keep nothing of their arguments.
type Recorder struct {
	name, table string
	interval    time.Duration
	now         func() time.Time
	commits     prometheus.Histogram

	mu         sync.Mutex
	status     PipelineStatus // counters and last events; what is derived is filled in by Status
	dead       map[deadKey]int64
	partitions map[partitionKey]*partition
	records    meter
	bytes      meter
	rejects    meter
	// progress is when the pipeline last read, committed or started: see overdue.
	progress time.Time
	// trouble: something has failed since the last commit.
	trouble bool
	// alarmAfter is how long it may not be ready; notReadySince is since when it is not, as far as Check has seen, and
	// alarmed when that was said last.
	alarmAfter             time.Duration
	notReadySince, alarmed time.Time
}

type deadKey struct{ stage, step string }

type partitionKey struct {
	topic     string
	partition int32
}

func newRecorder(name, table string, interval time.Duration, now func() time.Time) *Recorder {
	return &Recorder{
		name: name, table: table, interval: interval, now: now,
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lakeloader_commit_seconds", Help: "Time from the end of a round to its swap.",
			ConstLabels: prometheus.Labels{"pipeline": name},
			Buckets:     []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}),
		status:     PipelineStatus{Name: name, Table: table, Phase: Starting},
		dead:       map[deadKey]int64{},
		partitions: map[partitionKey]*partition{},
		progress:   now(),
		alarmAfter: 2*interval + grace,
	}
}

// Running says that the pipeline reads, or has read everything.
func (r *Recorder) Running() { r.phase(Running, "") }

// Waiting says that the pipeline cannot go on until something outside answers; reason names it.
func (r *Recorder) Waiting(reason string) { r.phase(Waiting, reason) }

// Stopped says that the pipeline has ended.
func (r *Recorder) Stopped() { r.phase(Stopped, "") }

// Failing says that an attempt failed; next is when it is tried again, the zero time if never.
func (r *Recorder) Failing(err error, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Phase, r.status.Reason = Failing, ""
	now := r.now()
	e := &ErrorStatus{Message: err.Error(), Time: now, Since: now, Attempts: 1, NextTry: next}
	if last := r.status.LastError; r.trouble && last != nil {
		e.Since, e.Attempts = last.Since, last.Attempts+1
	}
	r.status.LastError, r.trouble = e, true
}

// calm is how long nothing must fail before a pipeline with nothing to commit counts as well again.
const calm = 5 * time.Second

// troubled: something has failed, and nothing shows yet that it would not fail again. A loader that starts anew reads
// happily until its next commit fails.
func (r *Recorder) troubled() bool {
	return r.trouble && (!r.status.UnpublishedSince.IsZero() || r.now().Sub(r.status.LastError.Time) < calm)
}

// StoppedPartition says why nothing of a partition is loaded while others are; "" takes it back.
func (r *Recorder) StoppedPartition(topic string, partition int32, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.partitions[partitionKey{topic, partition}]; ok {
		p.stopped = why
	}
}

func (r *Recorder) phase(p Phase, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == Running {
		if r.troubled() {
			return
		}
		r.trouble = false
		if r.status.Phase != Running {
			r.progress = r.now()
		}
	}
	r.status.Phase, r.status.Reason = p, reason
	if e := r.status.LastError; e != nil {
		e.NextTry = time.Time{}
	}
}

// Batch is what was read at once.
type Batch struct {
	Records int64
	Bytes   int64 // of keys, values and headers
	// Rejected counts the records that broke a rule; Last is one of them.
	Rejected   int64
	Last       RejectStatus // Time is filled in
	Partitions []Progress
}

// Progress is how far one topic partition was read.
type Progress struct {
	Topic     string
	Partition int32
	Position  int64 // the next offset to read
	Records   int64
	// First is the Kafka timestamp of the first record, in Unix milliseconds; -1: there was no record, or it has none.
	First int64
}

// Read says that a batch was read and decoded.
func (r *Recorder) Read(b Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.status.Records += b.Records
	r.status.Bytes += b.Bytes
	r.records.add(now, b.Records)
	r.bytes.add(now, b.Bytes)
	if b.Records > 0 {
		r.status.LastMessage = now
		r.progress = now
		if r.status.UnpublishedSince.IsZero() {
			r.status.UnpublishedSince = now
		}
	}
	if b.Rejected > 0 {
		r.rejects.add(now, b.Rejected)
		last := b.Last
		last.Time = now
		r.status.LastReject = &last
	}
	for _, p := range b.Partitions {
		if have, ok := r.partitions[partitionKey{p.Topic, p.Partition}]; ok {
			have.read(p, now)
		}
	}
}

// Unpublished says what the round that is being gathered holds, in memory and in files.
func (r *Recorder) Unpublished(rows, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.UnpublishedRows, r.status.UnpublishedBytes = rows, bytes
}

// Memory says what the pipeline holds of the memory budget.
func (r *Recorder) Memory(u MemoryUse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Memory = u
}

// Ownership is a partition that was assigned.
type Ownership struct {
	Topic     string
	Partition int32
	Epoch     int32
	Committed int64 // where the table says that it goes on; -1: not known
	Last      int64 // the greatest Kafka timestamp in the table, in Unix milliseconds; -1: none
}

// Assigned says that partitions are read from now on, from what the table says. For one that was owned already (after a
// dropped round) it begins anew.
func (r *Recorder) Assigned(ps []Ownership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = r.now()
	for _, p := range ps {
		key, high := partitionKey{p.Topic, p.Partition}, int64(-1)
		if old, ok := r.partitions[key]; ok {
			high = old.high
		}
		r.partitions[key] = &partition{epoch: p.Epoch, committed: p.Committed, position: p.Committed, high: high, last: p.Last}
	}
}

// Revoked says that a partition is no longer owned.
func (r *Recorder) Revoked(topic string, partition int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.partitions, partitionKey{topic, partition})
}

// HighWatermark says where a partition ends. Of partitions not owned it is ignored.
func (r *Recorder) HighWatermark(topic string, partition int32, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.partitions[partitionKey{topic, partition}]; ok {
		p.high = offset
		p.caughtUp(r.now())
	}
}

// Commit is a round that landed.
type Commit struct {
	ID           string
	Number       int64
	Took         time.Duration // from the end of the round until it landed
	Rows         int64         // of all tables but the dead letters
	Bytes, Files int64         // of all tables
	Filtered     map[string]int64
	Routed       map[string]int64 // those of Rows in tables that are not the primary
	Dead         []DeadStatus
	Offsets      []CommittedOffset
}

// CommittedOffset is where a partition goes on after a round.
type CommittedOffset struct {
	Topic     string
	Partition int32
	Epoch     int32
	Next      int64
	// Last is the greatest Kafka timestamp committed, in Unix milliseconds; -1: none.
	Last int64
}

// Committed says that a round landed. The round that is gathered next is empty until Unpublished says otherwise.
func (r *Recorder) Committed(c Commit) {
	r.commits.Observe(c.Took.Seconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	now, s := r.now(), &r.status
	r.progress, r.trouble = now, false
	s.Rounds++
	s.Rows += c.Rows
	s.WrittenBytes += c.Bytes
	s.Files += c.Files
	if s.FilteredBy == nil && len(c.Filtered) > 0 {
		s.FilteredBy = map[string]int64{}
	}
	for step, n := range c.Filtered {
		s.Filtered += n
		s.FilteredBy[step] += n
	}
	for id, n := range c.Routed {
		r.routed(id, n)
	}
	for _, d := range c.Dead {
		s.DeadLetters += d.Count
		r.dead[deadKey{d.Stage, d.Step}] += d.Count
	}
	s.LastCommit = &CommitStatus{ID: c.ID, Number: c.Number, Time: now, Seconds: c.Took.Seconds(), Rows: c.Rows, Bytes: c.Bytes, Files: c.Files}
	s.UnpublishedRows, s.UnpublishedBytes, s.UnpublishedSince = 0, 0, time.Time{}
	for _, o := range c.Offsets {
		if p, ok := r.partitions[partitionKey{o.Topic, o.Partition}]; ok {
			p.commit(o, now)
		}
	}
	for _, p := range r.partitions {
		if since := p.oldestRead(); !since.IsZero() && (s.UnpublishedSince.IsZero() || since.Before(s.UnpublishedSince)) {
			s.UnpublishedSince = since
		}
	}
}

// Routed says which tables rows of the pipeline have gone to, that are not its primary: those that the ledger lists.
func (r *Recorder) Routed(tables []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range tables {
		r.routed(id, 0)
	}
}

func (r *Recorder) routed(table string, rows int64) {
	if r.status.RoutedRows == nil {
		r.status.RoutedRows = map[string]int64{}
	}
	r.status.RoutedRows[table] += rows
}

// Dropped says that the round being gathered was given up, and whether it was because another loader had moved the offsets.
// Assigned tells next where the partitions that are kept begin anew.
func (r *Recorder) Dropped(fenced bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.DroppedRounds++
	if fenced {
		r.status.Fences++
	}
	r.status.UnpublishedRows, r.status.UnpublishedBytes, r.status.UnpublishedSince = 0, 0, time.Time{}
}
