package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// Compactor puts the rows of small files of a partition into fewer, larger ones, sorts files together that overlap, and writes
// those anew that have lost many rows.
type Compactor struct {
	Tables Tables
	// Merge writes the rows of the sources, without those that delete files have removed, into new files, and has compared
	// what it wrote with what it read.
	Merge func(ctx context.Context, id table.Ident, sources []table.File, deletes []string) (Merged, error)
	// Span says what Span is of a table; nil: its rows are not sorted, so that files cannot overlap.
	Span   func(ctx context.Context, id table.Ident) (Span, error)
	Commit func(ctx context.Context, rw *Rewrite) error
	Now    func() time.Time
	// Target is the size of files that are large enough; those of three quarters of it are too.
	Target int64
	// MinFiles is how many files there must be to merge.
	MinFiles int
	// Quiet is how long a file must have been in the table. So a partition that still receives data is compacted up to then.
	Quiet time.Duration
	// MaxBytes of files are merged in one run, and left for the next one beyond.
	MaxBytes int64
	// LeastCopied is the size from which on row groups are copied, of tables whose rows are not sorted; 0: none are.
	LeastCopied int64
}

// Merged is what a merge has written.
type Merged struct {
	Files  []table.File
	Copied int64 // bytes of pages that were not decoded
}

// Merge is a plan for the files of one partition.
type Merge struct {
	Sources []table.File
	Bytes   int64
}

// Compaction is what a compaction does, or did.
type Compaction struct {
	Table  table.Ident
	Merges int // planned, or done
	Files  int // that were, or will be, replaced
	Bytes  int64
	Copied int64 // bytes of those that were copied, or may be as far as metadata tells
	// Later are merges that MaxBytes leaves for the next run, Stale those that others overtook. TooLarge are those of files that
	// overlap which are larger than MaxBytes.
	Later, Stale, TooLarge int
	Output                 int // files, when done
}

// Plan says what would be merged now.
func (c *Compactor) Plan(ctx context.Context, id table.Ident) (*Compaction, error) {
	p, err := c.plan(ctx, id)
	if err != nil {
		return nil, err
	}
	done := &Compaction{Table: id, Merges: len(p.merges), Later: p.later, TooLarge: p.tooLarge}
	for _, m := range p.merges {
		for _, f := range m.Sources {
			if c.LeastCopied > 0 {
				done.Copied += mayCopy(f, c.LeastCopied)
			}
		}
		done.Files, done.Bytes = done.Files+len(m.Sources), done.Bytes+m.Bytes
	}
	return done, nil
}

type compactionPlan struct {
	uuid     string
	snapshot int64
	deletes  []string
	merges   []Merge
	later    int
	tooLarge int
}

func (c *Compactor) plan(ctx context.Context, id table.Ident) (*compactionPlan, error) {
	s, err := c.Tables.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, err
	}
	if err := notRolledBack(base); err != nil {
		return nil, err
	}
	p := &compactionPlan{uuid: base.UUID, snapshot: base.Snapshot}
	if base.Snapshot == 0 {
		return p, nil
	}
	files, deletes, err := c.Tables.Files(ctx, id, base.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("listing the files of table %s: %w", id, err)
	}
	p.deletes = deletes
	var span Span
	if c.Span != nil {
		if span, err = c.Span(ctx, id); err != nil {
			return nil, err
		}
	}
	merges, tooLarge := c.choose(files, span)
	p.tooLarge = tooLarge
	bytes := int64(0)
	for _, m := range merges {
		if bytes += m.Bytes; bytes > c.MaxBytes && len(p.merges) > 0 {
			p.later++
			continue
		}
		p.merges = append(p.merges, m)
	}
	return p, nil
}

// choose plans merges from metadata alone: of files that overlap, of those that are small, of each that has lost many rows. A
// file is in one of them at most. Those that save most files for their bytes come first.
func (c *Compactor) choose(files []table.File, span Span) (out []Merge, tooLarge int) {
	type key struct {
		spec  int
		tuple string
	}
	parts := map[key][]table.File{}
	until := c.Now().Add(-c.Quiet).UnixMilli()
	for _, f := range files {
		if f.AddedMS <= until {
			k := key{f.SpecID, fmt.Sprintf("%x", f.Partition)}
			parts[k] = append(parts[k], f)
		}
	}
	for _, part := range parts {
		for _, m := range c.overlaps(part, span) {
			if m.Bytes > c.MaxBytes {
				tooLarge++
				continue
			}
			out, part = append(out, m), without(part, m)
		}
		var small []table.File
		for _, f := range part {
			if f.Size < c.Target*3/4 {
				small = append(small, f)
			}
		}
		for _, m := range c.bins(small) {
			out, part = append(out, m), without(part, m)
		}
		out = append(out, c.deleted(part)...)
	}
	slices.SortFunc(out, func(a, b Merge) int {
		return cmp.Or(cmp.Compare(a.Bytes/int64(len(a.Sources)), b.Bytes/int64(len(b.Sources))), cmp.Compare(a.Sources[0].Path, b.Sources[0].Path))
	})
	return out, tooLarge
}

func without(files []table.File, m Merge) []table.File {
	return slices.DeleteFunc(slices.Clone(files), func(f table.File) bool {
		return slices.ContainsFunc(m.Sources, func(s table.File) bool { return s.Path == f.Path })
	})
}

// mostSources is how many files a merge takes at most, so that it takes some seconds: a run that is killed loses no more.
const mostSources = 1000

// bins fills files into merges of up to the target size, the smallest first. A file that is larger than all before it
// together is left to merge with its like: else a partition that grows file by file would be written again at every run.
func (c *Compactor) bins(files []table.File) (out []Merge) {
	slices.SortFunc(files, func(a, b table.File) int { return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Path, b.Path)) })
	var m Merge
	end := func() {
		if len(m.Sources) >= c.MinFiles {
			out = append(out, m)
		}
		m = Merge{}
	}
	for _, f := range files {
		if len(m.Sources) >= c.MinFiles && (m.Bytes+f.Size > c.Target || f.Size > m.Bytes || len(m.Sources) >= mostSources) {
			end()
		}
		m.Sources, m.Bytes = append(m.Sources, f), m.Bytes+f.Size
	}
	end()
	for i := range out { // rows stay in the order in which they came, as far as names tell
		slices.SortFunc(out[i].Sources, func(a, b table.File) int {
			return cmp.Or(cmp.Compare(a.AddedMS, b.AddedMS), cmp.Compare(a.Path, b.Path))
		})
	}
	return out
}
