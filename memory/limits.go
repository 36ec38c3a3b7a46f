// Package memory divides one ceiling on the process's resident memory among what takes memory, and keeps the account of it:
// the program itself, what Kafka's client has fetched ahead, and the pipelines' work (batches, open files, uploads).
package memory

import "fmt"

const mib = int64(1) << 20

// Shares that do not depend on the ceiling, from measurements that docs/memory.md shows.
const (
	// pages is what a loader touches of the executable and its libraries, DuckDB among them; idle is the heap and the stacks
	// of one that has nothing to do.
	pages = 100 * mib
	idle  = 16 * mib
	// leastFetch, mostFetch bound what a pipeline fetches ahead, leastWork is what its work needs at least.
	leastFetch = 8 * mib
	mostFetch  = 64 * mib
	leastWork  = 16 * mib
	// leastCurrent, mostCurrent bound what the job takes that brings tables of present rows up to date.
	leastCurrent = 64 * mib
	mostCurrent  = 128 * mib
)

// Limits are the shares of a ceiling, bytes.
type Limits struct {
	Ceiling int64
	// Fetch is what Kafka's client may take for each pipeline, outside of Go's heap.
	Fetch int64
	// Lookups is what the rows may take that pipelines are joined with.
	Lookups int64
	// Go is the limit for the Go runtime (GOMEMLIMIT): the ceiling less Fetch of all pipelines, three quarters of what windows may
	// take, the executable's pages, and 10 percent of the ceiling. Current is within.
	Go int64
	// Work is what all pipelines together may hold in batches, open files and uploads. It is less than Go, since the
	// collector lets garbage grow up to that.
	Work int64
	// Current is what the job may take that brings tables of present rows up to date, one at a time, with its garbage; 0: it does not run.
	Current int64
}

// Needs are those who share a ceiling.
type Needs struct {
	Pipelines int
	Lookups   int64 // bytes that the rows may take that pipelines are joined with
	// Windows is what the state of windows may take, bytes. A quarter of it lies on Go's heap (window.Divide).
	Windows int64
	// Current: the process runs the job that brings tables of present rows up to date. It does so for one table at a time.
	Current bool
}

func (n Needs) pipelines() int64 { return int64(max(1, n.Pipelines)) }

// current is what the job needs at least.
func (n Needs) current() int64 {
	if n.Current {
		return leastCurrent
	}
	return 0
}

// work is what the pipelines need at least. The garbage collector needs half as much as the work.
func (n Needs) work() int64 { return n.pipelines() * (leastFetch + leastWork*3/2) }

// Least is the smallest ceiling.
func Least(n Needs) int64 {
	// The inverse of Divide: 10 percent stay free.
	need := pages + idle + n.Lookups + n.Windows + n.current() + n.work()
	return (need*10/9 + mib - 1) / mib * mib
}

// Divide says what each may take. It refuses a ceiling below Least.
func Divide(ceiling int64, n Needs) (Limits, error) {
	if least := Least(n); ceiling < least {
		return Limits{}, fmt.Errorf("a ceiling of %d MiB is too little for %d pipelines, lookups of %d MiB, windows of %d MiB and the job current with %d MiB, which need %d MiB at least",
			ceiling/mib, n.pipelines(), n.Lookups/mib, n.Windows/mib, n.current()/mib, least/mib)
	}
	l := Limits{Ceiling: ceiling, Lookups: n.Lookups}
	free := ceiling*9/10 - pages - idle - n.Lookups - n.Windows
	if n.Current {
		l.Current = min(leastCurrent+(free-leastCurrent-n.work())/4, mostCurrent)
		free -= l.Current
	}
	l.Fetch = min(max(free/n.pipelines()/4, leastFetch), mostFetch)
	heap := free - n.pipelines()*l.Fetch
	l.Work = heap * 2 / 3
	l.Go = heap + idle + n.Lookups + n.Windows/4 + l.Current
	return l, nil
}
