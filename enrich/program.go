package enrich

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

const stage = "enrich"

// Problem is something wrong with a join.
type Problem struct {
	Join    int    // index into the joins
	Field   string // within the join, as written: on.user_id; empty: the join as a whole
	Message string
	Hint    string // what to do; may be empty
}

// Options of Compile.
type Options struct {
	// Lookup finds a lookup by its name; nil: there is none.
	Lookup func(name string) *Lookup
	// Parse makes values of types from text: a batch with one row, with a column for each field.
	Parse func(fields []batch.Field, texts []string) (*batch.Batch, error)
	// Now is the clock that rows wait by; nil: no row waits.
	Now func() time.Time
}

// Program is compiled joins. It keeps memory between batches, so it belongs to one goroutine and one pipeline.
type Program struct {
	in, row *batch.Type
	joins   []*join
	lookups []*Lookup // each once, by name: the order in which they are locked
	now     func() time.Time

	// first is when rows of the batch that waits were seen first.
	first time.Time
	saved saved
	mem   scratch
}

// scratch is memory that joins use again, one after the other.
type scratch struct {
	skip   []bool
	hashes []uint64
	found  [][]byte
	key    []*batch.Column
	at     []int64
	space  space
}

// Row is the row type after all joins.
func (p *Program) Row() *batch.Type { return p.row }

// Lookups are those that the joins use.
func (p *Program) Lookups() []*Lookup { return p.lookups }

// Compile checks the joins against the row type that they start from, and the lookups' columns, which must be known. The program is
// nil if there is a problem.
func Compile(in *batch.Type, joins []configs.Join, o Options) (*Program, []Problem) {
	p := &Program{in: in, now: o.Now}
	c := &compiler{row: &batch.Type{Kind: batch.Struct, Fields: slices.Clone(in.Fields)}, o: o}
	for i := range joins {
		c.index, c.cfg = i, &joins[i]
		j := c.join()
		if j == nil {
			continue
		}
		p.joins = append(p.joins, j)
		if !slices.Contains(p.lookups, j.lookup) {
			p.lookups = append(p.lookups, j.lookup)
		}
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	slices.SortFunc(p.lookups, func(a, b *Lookup) int { return strings.Compare(a.Name(), b.Name()) })
	p.row = c.row
	return p, nil
}

// Wait means that rows wait for a lookup to have their keys: Apply is to be called again, with the batch as it is, when the lookup
// has changed or the time has come.
type Wait struct {
	Join   string
	Lookup *Lookup
	Rows   int
	Until  time.Time
}

func (w *Wait) Error() string {
	return fmt.Sprintf("%s: %d rows wait for the lookup %s to have their keys, until %s", w.Join, w.Rows, w.Lookup.Name(), w.Until.UTC().Format(time.RFC3339))
}

// ErrNotReady says that the caller has not waited for the barrier, or the disk that the lookup's rows were on has failed since.
var ErrNotReady = errors.New("the lookup is not ready")

// ErrRows says that rows of a lookup, which are on the disk, could not be read.
var ErrRows = errors.New("the rows of the lookup cannot be read")

// Apply joins a batch whose root has the type that the program was compiled for. Afterwards b.Root has the type Row. After an error
// of type *Wait the batch is as it was; any other one means that it cannot be used.
//
// Memory: the new root shares the columns of the old one; columns that were added belong to the program, and are overwritten by its
// next Apply.
func (p *Program) Apply(b *batch.Batch) error {
	if b.Root.Type != p.in && !b.Root.Type.Equal(p.in) {
		return fmt.Errorf("the batch has rows of %s, but the joins were compiled for %s", b.Root.Type, p.in)
	}
	p.saved.save(b)
	// All locks are held together: the batch sees one version of every lookup.
	for _, l := range p.lookups {
		l.mu.RLock()
	}
	defer func() {
		for _, l := range p.lookups {
			l.mu.RUnlock()
		}
	}()
	root := *b.Root
	root.Children = slices.Clone(b.Root.Children)
	for _, j := range p.joins {
		err := j.apply(p, b, &root)
		var w *Wait
		if errors.As(err, &w) {
			p.saved.restore(b)
			return err
		}
		if err == nil && uint64(len(b.Mem)) > math.MaxUint32 {
			err = errors.New("the memory of one batch would exceed 4 GiB: fetch fewer records at once")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", j.cfg.Name, err)
		}
	}
	for _, j := range p.joins {
		j.count.add(j.batch)
	}
	p.first = time.Time{}
	root.Type = p.row
	b.Root = &root
	return nil
}

// Forget says that the batch that waits was given up.
func (p *Program) Forget() { p.first = time.Time{} }

// saved is what joins change of a batch beside its columns, so that they can be done once more.
type saved struct {
	fate     []batch.Fate
	rejects  int
	filtered map[string]int
}

func (s *saved) save(b *batch.Batch) {
	s.fate, s.rejects = append(s.fate[:0], b.Fate...), len(b.Rejects)
	clear(s.filtered)
	for step, list := range b.FilteredBy {
		if s.filtered == nil {
			s.filtered = map[string]int{}
		}
		s.filtered[step] = len(list)
	}
}

func (s *saved) restore(b *batch.Batch) {
	copy(b.Fate, s.fate)
	b.Rejects = b.Rejects[:s.rejects]
	for step, list := range b.FilteredBy {
		if n := s.filtered[step]; n > 0 {
			b.FilteredBy[step] = list[:n]
		} else {
			delete(b.FilteredBy, step)
		}
	}
}

// Counts says how the rows of a join fared. Rows that are read again count again.
type Counts struct {
	Rows    int64 // that were joined
	Misses  int64 // those without a match
	Waited  int64 // those of Misses that have waited
	Batches int64 // that have waited
}

func (c *Counts) add(o Counts) {
	c.Rows, c.Misses, c.Waited, c.Batches = c.Rows+o.Rows, c.Misses+o.Misses, c.Waited+o.Waited, c.Batches+o.Batches
}

// JoinCounts are those of a join.
type JoinCounts struct {
	Join, Lookup string
	Counts
}

// Counts returns what was counted since the last call, by join.
func (p *Program) Counts() []JoinCounts {
	out := make([]JoinCounts, len(p.joins))
	for i, j := range p.joins {
		out[i] = JoinCounts{j.cfg.Name, j.cfg.Lookup, j.count}
		j.count = Counts{}
	}
	return out
}
