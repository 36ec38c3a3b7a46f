package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/memory"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/writers"
)

// Memory is the pipeline's account with the process's memory budget.
type Memory interface {
	// Set says what the pipeline holds, and returns how much of that it should free; 0: nothing.
	Set(memory.Use) (excess int64)
}

// servePause is how long the loader waits for files on their way before it serves rebalances again.
const servePause = 50 * time.Millisecond

// keptArena is the memory for records and decoded columns that is kept from one fetch to the next.
const keptArena = 16 << 20

// relieve frees memory when all pipelines together are at the ceiling and this one has more than its fair share: files are
// finished early, those that hold most first. Until they are on their way, nothing is fetched; rebalances are served.
func (l *Loader) relieve(ctx context.Context) error {
	for waited := false; ; waited = true {
		excess := l.account()
		if excess == 0 {
			return nil
		}
		if u := l.stages.use(); u.Finished > max(u.Files/2, littleFinished) { // more of that would not help, a commit does
			return l.relieveByCommit(ctx)
		}
		if err := l.stages.shrink(ctx, excess); err != nil {
			return err
		}
		if excess = l.account(); excess == 0 {
			return nil
		}
		if open, uploading := l.stages.pending(); open+uploading == 0 {
			return l.relieveByCommit(ctx)
		}
		if !waited {
			l.rec.Waiting(fmt.Sprintf("the memory ceiling is reached: files are finished early, and nothing is fetched until %d MiB are free again", excess>>20+1))
		}
		if err := l.await(ctx); err != nil || l.reseek || l.stopping() {
			return err
		}
		if l.due() {
			return l.end(ctx)
		}
	}
}

// relieveByCommit ends the round where no open file holds anything: what is known of the finished ones may.
func (l *Loader) relieveByCommit(ctx context.Context) error {
	if records, _ := l.tracks.records(); records > 0 {
		return l.end(ctx)
	}
	return nil
}

// account tells the budget what the pipeline holds, and returns how much of that it should free.
func (l *Loader) account() (excess int64) { return l.accountWith(0) }

// accountWith is account with so many bytes that are about to be needed.
func (l *Loader) accountWith(soon int64) (excess int64) {
	u := l.stages.use()
	u.Batches += int64(cap(l.recs.Mem)) + int64(cap(l.recs.Offset))*recordBytes + soon
	l.rec.Memory(obs.MemoryUse(u))
	return l.memory.Set(u)
}

// Writing a record of largeRecord bytes and more takes writeCopies of it at once, for a moment: the column's values, those of its
// dictionary, the encoded page, the same with its levels, compressed, and in the file.
const (
	largeRecord = 512 << 10
	writeCopies = 6
)

// makeRoom finishes files before large records are written, so that writing them does not go beyond the ceiling. The fetched records are
// held meanwhile, as by prepare.
func (l *Loader) makeRoom(ctx context.Context) error {
	largest := int64(0)
	for _, v := range l.recs.Value {
		if !v.IsNull() {
			largest = max(largest, int64(v.Len))
		}
	}
	if largest < largeRecord {
		return nil
	}
	l.holding = true
	defer func() { l.holding = false }()
	for l.accountWith(writeCopies*largest) > 0 {
		if err := l.stages.shrink(ctx, math.MaxInt64); err != nil {
			return err
		}
		if open, uploading := l.stages.pending(); open+uploading == 0 {
			return nil // there is nothing more to be freed
		}
		if err := l.await(ctx); err != nil || l.reseek || l.stopping() {
			return err
		}
		if l.due() {
			return l.end(ctx)
		}
	}
	return nil
}

// littleFinished is what finished files may take however little the open ones do.
const littleFinished = 1 << 20

// recordBytes is what a fetched record takes beside its payload.
const recordBytes = 2*4 + 2*8 + 3*8

// forgetArena lets go of the memory of unusually large records.
func (l *Loader) forgetArena() {
	if cap(l.recs.Mem) > keptArena {
		l.recs = batch.Records{}
	}
}

// end ends the open round when it is due: its files become durable while rebalances are served, then it is committed.
// Where a rebalance ended or dropped the round meanwhile, there is nothing left to do.
func (l *Loader) end(ctx context.Context) error {
	point.Hit(point.BeforeFiles)
	for {
		if err := l.stages.shrink(ctx, math.MaxInt64); err != nil {
			return err
		}
		l.account()
		if open, uploading := l.stages.pending(); open+uploading == 0 {
			return l.commit(ctx)
		}
		if err := l.await(ctx); err != nil || l.reseek {
			return err
		}
	}
}

// await waits a moment for files on their way, and serves rebalances.
func (l *Loader) await(ctx context.Context) error {
	_, before := l.stages.pending()
	wait, cancel := context.WithTimeout(ctx, servePause)
	err := l.stages.await(wait)
	cancel()
	if err != nil {
		return err
	}
	if _, after := l.stages.pending(); after < before && l.waiting.Load() != 0 {
		l.waiting.Store(l.now().UnixNano()) // the watchdog is for rounds without progress
	}
	if err = l.consumer.Serve(ctx, 0); err != nil {
		err = l.fetchError(ctx, err)
	}
	return cmp.Or(l.failed, err)
}

// use is what the open round holds.
func (s *stages) use() (u memory.Use) {
	u.Batches = s.b.Root.Bytes()
	for _, k := range s.sinks() {
		h := k.w.Held()
		u.Files, u.Uploads, u.Finished = u.Files+h.Open, u.Uploads+h.Uploads, u.Finished+h.Finished
	}
	return u
}

// shrink begins to finish the files that hold most, so that the round holds less by that many bytes. It does not wait.
func (s *stages) shrink(ctx context.Context, bytes int64) error {
	var ws []*writers.Writer
	all := int64(0)
	for _, k := range s.sinks() {
		ws, all = append(ws, k.w), all+k.w.Held().Open
	}
	for _, w := range ws {
		open := w.Held().Open
		part := open
		if bytes < all { // each by as much as it has of the whole
			part = int64(float64(bytes) * float64(open) / float64(all))
		}
		if err := w.Shrink(ctx, open-part); err != nil {
			return err
		}
	}
	return nil
}

// fit frees what the budget wants back, and waits for it.
func (s *stages) fit(ctx context.Context, m Memory) error {
	for excess := m.Set(s.use()); excess > 0; excess = m.Set(s.use()) {
		if err := s.shrink(ctx, excess); err != nil {
			return err
		}
		if open, uploading := s.pending(); open+uploading == 0 {
			return nil
		}
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pending tells how many files are open, and on their way to the object store.
func (s *stages) pending() (open, uploading int) {
	for _, k := range s.sinks() {
		o, u := k.w.Pending()
		open, uploading = open+o, uploading+u
	}
	return open, uploading
}

// await waits until less is on its way, or the context ends.
func (s *stages) await(ctx context.Context) error {
	for _, k := range s.sinks() {
		if _, uploading := k.w.Pending(); uploading > 0 {
			return k.w.Wait(ctx)
		}
	}
	return nil
}
