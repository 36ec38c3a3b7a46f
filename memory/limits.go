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
)

// Limits are the shares of a ceiling, bytes.
type Limits struct {
	Ceiling int64
	// Fetch is what Kafka's client may take for each pipeline, outside of Go's heap.
	Fetch int64
	// Lookups is what the rows may take that pipelines are joined with.
	Lookups int64
	// Go is the limit for the Go runtime (GOMEMLIMIT): the ceiling less Fetch of all pipelines, the executable's pages, and
	// 10 percent of the ceiling.
	Go int64
	// Work is what all pipelines together may hold in batches, open files and uploads. It is less than Go, since the
	// collector lets garbage grow up to that.
	Work int64
}

// Least is the smallest ceiling for a number of pipelines, and for lookups that may take some bytes together.
func Least(pipelines int, lookups int64) int64 {
	// The inverse of Divide: 10 percent stay free, and the garbage collector needs half as much as the work.
	need := pages + idle + lookups + int64(max(1, pipelines))*(leastFetch+leastWork*3/2)
	return (need*10/9 + mib - 1) / mib * mib
}

// Divide says what each may take. It refuses a ceiling below Least.
func Divide(ceiling int64, pipelines int, lookups int64) (Limits, error) {
	n := int64(max(1, pipelines))
	if least := Least(pipelines, lookups); ceiling < least {
		return Limits{}, fmt.Errorf("a ceiling of %d MiB is too little for %d pipelines and lookups of %d MiB, which need %d MiB at least", ceiling/mib, n, lookups/mib, least/mib)
	}
	l := Limits{Ceiling: ceiling, Lookups: lookups}
	free := ceiling*9/10 - pages - idle - lookups
	l.Fetch = min(max(free/n/4, leastFetch), mostFetch)
	heap := free - n*l.Fetch
	l.Work = heap * 2 / 3
	l.Go = heap + idle + lookups
	return l, nil
}
