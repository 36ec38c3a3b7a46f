package memory

import (
	"sync"
)

// Use is what one pipeline holds, bytes.
type Use struct {
	Batches  int64 // the records of the last fetch, decoded
	Files    int64 // rows and pages of open files
	Uploads  int64 // files on their way to the object store
	Finished int64 // what is known of the finished files of the round, which is in memory until the commit
}

// Total is the sum.
func (u Use) Total() int64 { return u.Batches + u.Files + u.Uploads + u.Finished }

// Budget is what all pipelines hold together. It is safe for concurrent use.
type Budget struct {
	limits Limits
	mu     sync.Mutex
	shares int64
	total  int64
	// lookups is what the rows take that pipelines are joined with, which belong to none of them.
	lookups int64
}

// NewBudget returns an empty one.
func NewBudget(l Limits) *Budget { return &Budget{limits: l} }

// Limits are those that it was made with.
func (b *Budget) Limits() Limits { return b.limits }

// Lookups says what lookups take: the pipelines may hold less by what exceeds their part.
func (b *Budget) Lookups(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lookups = bytes
}

// Share adds a pipeline.
func (b *Budget) Share() *Share {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares++
	return &Share{budget: b}
}

// Share is one pipeline's account. What others leave unused it may take; beyond the fair share (an equal part for each)
// it gives that back when all together exceed the budget.
type Share struct {
	budget *Budget
	use    Use
}

// Set says what the pipeline holds now, and returns how much of that it should free: 0 while all pipelines together are
// within the budget, or this one within its fair share.
func (s *Share) Set(u Use) (excess int64) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += u.Total() - s.use.Total()
	s.use = u
	// Half of the work is the pipelines' in any case: with less they would write nothing but tiny files.
	work := max(b.limits.Work-max(0, b.lookups-b.limits.Lookups), b.limits.Work/2)
	fair := work / b.shares
	if b.total <= work || u.Total() <= fair {
		return 0
	}
	// Some more than the excess, so that it is not exceeded by the next batch again.
	return min(b.total-work*7/8, u.Total()-fair*7/8)
}
