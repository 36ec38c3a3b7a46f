package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/objects"
)

// ErrHeld means that another process runs the job on the same tables.
var ErrHeld = errors.New("another process runs it")

// Leases give one process at a time the right to run a job on a target. They save work; that nothing is lost or done twice
// never rests on them, so clocks that differ do no harm.
//
// A lease is a log of small objects below Root/<job>/<target>/, numbered one after the other. The last one says who runs, and until
// when, or how the last run ended. Whoever creates the next number has the lease: objects are never overwritten, so of two
// only one can. An owner renews by a further number; one that finds it taken has lost the lease, and its run is cancelled.
type Leases struct {
	Store objects.Store
	Root  string // no trailing slash
	Owner string // of this process, unique
	// Gone says whether an owner is certainly no more, so that its lease need not run out first; nil: nobody knows.
	Gone func(owner string) bool
	Now  func() time.Time
	// TTL is how long a lease holds without being renewed. It is renewed three times as often.
	TTL time.Duration
	// Keep is how many ended runs stay in the log.
	Keep int
}

// Record is one object of a lease's log.
type Record struct {
	Job     string    `json:"job"`
	Target  string    `json:"target"`
	Owner   string    `json:"owner"`
	Started time.Time `json:"started"`
	// Until is when a lease runs out that is not renewed; zero in the record of an ended run.
	Until time.Time `json:"until,omitzero"`
	// Ended, Done and Error tell how a run ended.
	Ended time.Time `json:"ended,omitzero"`
	Done  *Report   `json:"done,omitempty"`
	Error string    `json:"error,omitempty"`
}

// log is one lease's.
type leaseLog struct {
	l           *Leases
	job, target string
	numbers     []int64 // ascending
	mine        []int64 // that this process made, ended runs excepted
}

func (l *Leases) log(job, target string) *leaseLog { return &leaseLog{l: l, job: job, target: target} }

func (g *leaseLog) uri(n int64) string {
	return fmt.Sprintf("%s/%s/%s/%012d.json", g.l.Root, g.job, g.target, n)
}

// last reads the newest record; nil: there is none. One that was tidied up after the log was listed is not the newest any
// more.
func (g *leaseLog) last(ctx context.Context) (rec *Record, err error) {
	for range 5 {
		if err = g.list(ctx); err != nil || len(g.numbers) == 0 {
			return nil, err
		}
		if rec, err = g.read(ctx, g.numbers[len(g.numbers)-1]); !errors.Is(err, objects.ErrNotFound) {
			break
		}
	}
	return rec, err
}

// list reads the numbers that there are.
func (g *leaseLog) list(ctx context.Context) error {
	list, err := g.l.Store.List(ctx, fmt.Sprintf("%s/%s/%s/", g.l.Root, g.job, g.target))
	if err != nil {
		return fmt.Errorf("reading the lease of job %s on %s: %w", g.job, g.target, err)
	}
	g.numbers = g.numbers[:0]
	for _, i := range list {
		n, err := strconv.ParseInt(strings.TrimSuffix(path.Base(i.URI), ".json"), 10, 64)
		if err != nil {
			return fmt.Errorf("the lease of job %s on %s has an object that is not lakeloader's: %s", g.job, g.target, i.URI)
		}
		g.numbers = append(g.numbers, n)
	}
	slices.Sort(g.numbers)
	return nil
}

func (g *leaseLog) read(ctx context.Context, n int64) (*Record, error) {
	data, err := objects.Read(ctx, g.l.Store, g.uri(n))
	rec := &Record{}
	if err == nil {
		err = json.Unmarshal(data, rec)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the lease of job %s on %s: %s: %w", g.job, g.target, g.uri(n), err)
	}
	return rec, nil
}

// next appends a record; objects.ErrExists: another was faster.
func (g *leaseLog) next(ctx context.Context, rec Record) error {
	rec.Job, rec.Target, rec.Owner = g.job, g.target, g.l.Owner
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	n := int64(1)
	if len(g.numbers) > 0 {
		n = g.numbers[len(g.numbers)-1] + 1
	}
	if err := g.l.Store.Put(ctx, g.uri(n), data); err != nil {
		return err
	}
	g.numbers = append(g.numbers, n)
	if rec.Ended.IsZero() {
		g.mine = append(g.mine, n)
	}
	return nil
}

// Do runs f while it has the lease. ErrHeld: another process has it; f was not called. The context of f ends when the lease
// is lost. What f returns is noted.
func (l *Leases) Do(ctx context.Context, job, target string, f func(ctx context.Context) (*Report, error)) (*Report, error) {
	g := l.log(job, target)
	last, err := g.last(ctx)
	if err != nil {
		return nil, err
	}
	started := l.Now()
	if last != nil && last.Ended.IsZero() && started.Before(last.Until) && (l.Gone == nil || !l.Gone(last.Owner)) {
		return nil, fmt.Errorf("%w: job %s on %s is run by %s since %s; its lease ends at %s if it does not go on", ErrHeld, job, target,
			last.Owner, last.Started.Format(time.RFC3339), last.Until.Format(time.RFC3339))
	}
	if err := g.next(ctx, Record{Started: started, Until: started.Add(l.TTL)}); err != nil {
		if errors.Is(err, objects.ErrExists) {
			return nil, fmt.Errorf("%w: job %s on %s has just been taken up by another", ErrHeld, job, target)
		}
		return nil, fmt.Errorf("taking the lease of job %s on %s: %w", job, target, err)
	}
	held, lose := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		g.renew(held, lose, started)
	}()
	report, err := f(held)
	lost := context.Cause(held)
	lose(nil)
	<-renewed
	if lost != nil && ctx.Err() == nil {
		return report, fmt.Errorf("job %s on %s: %w", job, target, errors.Join(lost, err))
	}
	return report, errors.Join(err, g.end(context.WithoutCancel(ctx), Record{Started: started, Ended: l.Now(), Done: report, Error: text(err)}))
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// errLost means that a lease was not renewed in time, or was taken by another.
var errLost = errors.New("the lease was lost")

// renew goes on until the context ends, or the lease is lost.
func (g *leaseLog) renew(ctx context.Context, lose context.CancelCauseFunc, started time.Time) {
	tick := time.NewTicker(g.l.TTL / 3)
	defer tick.Stop()
	until := started.Add(g.l.TTL)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := g.l.Now()
		err := g.next(ctx, Record{Started: started, Until: now.Add(g.l.TTL)})
		switch {
		case err == nil:
			until = now.Add(g.l.TTL)
		case errors.Is(err, objects.ErrExists):
			lose(fmt.Errorf("%w: another process has taken it", errLost))
			return
		case g.l.Now().After(until):
			lose(fmt.Errorf("%w: it could not be renewed: %w", errLost, err))
			return
		}
	}
}

// end notes how a run ended, and removes what the log needs no more: renewals, and the oldest runs.
func (g *leaseLog) end(ctx context.Context, rec Record) error {
	ctx, cancel := context.WithTimeout(ctx, g.l.TTL)
	defer cancel()
	if err := g.next(ctx, rec); err != nil {
		return fmt.Errorf("noting the end of job %s on %s: %w", g.job, g.target, err)
	}
	var old []string
	for i, n := range g.numbers {
		if slices.Contains(g.mine, n) || i < len(g.numbers)-g.l.Keep-len(g.mine) {
			old = append(old, g.uri(n))
		}
	}
	if err := objects.DeleteAll(ctx, g.l.Store, old); err != nil {
		return fmt.Errorf("tidying the lease of job %s on %s: %w", g.job, g.target, err)
	}
	return nil
}

// History reads how runs ended, and which are going on, the newest first, at most n.
func (l *Leases) History(ctx context.Context, job, target string, n int) ([]Record, error) {
	g := l.log(job, target)
	if err := g.list(ctx); err != nil {
		return nil, err
	}
	var out []Record
	for i := len(g.numbers) - 1; i >= 0 && len(out) < n; i-- {
		rec, err := g.read(ctx, g.numbers[i])
		if errors.Is(err, objects.ErrNotFound) {
			continue // tidied up meanwhile
		}
		if err != nil {
			return nil, err
		}
		if i == len(g.numbers)-1 || !rec.Ended.IsZero() { // renewals of runs that died are passed over
			out = append(out, *rec)
		}
	}
	return out, nil
}
