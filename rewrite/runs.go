package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
)

// run is rows that are sorted: row groups of a file, one after the other.
type run struct {
	groups
	store   objects.Store
	scratch bool  // it lies on the local disk, and its rows were counted before
	weight  int64 // memory that reading it takes, about
}

// unsortedError says that a file's rows are not in the order that it claims.
type unsortedError struct{ path string }

func (e *unsortedError) Error() string {
	return e.path + " is not sorted as its footer or the table's metadata says"
}

// runRows is how many rows of a run are read at once.
const runRows = 1024

// cursor reads a run.
type cursor struct {
	run
	f       *scan.File
	r       *scan.Batches
	b       *batch.Batch
	deleted *roaring64.Bitmap
	order   *order
	keys    keys
	last    []byte  // key of the row before
	rows    []int32 // of the batch, those that are not deleted
	at      int     // in rows
	read    *rowSum // of the rows that come from the table
	removed int64   // rows that are deleted
}

func (m *merger) openRun(ctx context.Context, r run, o *order, read *rowSum, budget int64) (_ *cursor, err error) {
	f, err := scan.Open(ctx, r.store, r.Path, r.Size)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", r.Path, err), f.Close())
		}
	}()
	f.Budget(budget)
	if r.to < 0 {
		r.to = f.Groups()
	}
	c := &cursor{run: r, f: f, order: o, b: batch.New(&batch.Records{}, m.Info.Row), read: read}
	if !r.scratch {
		c.deleted = m.Deleted[r.Path]
	}
	c.r, err = f.GroupBatches(m.Info.Row, r.from, r.to)
	return c, err
}

func (c *cursor) close() error { return errors.Join(c.r.Close(), c.f.Close()) }

// fill reads the next rows; false: there are none.
func (c *cursor) fill(ctx context.Context) (bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if n := len(c.keys.ends); n > 0 {
			c.last = append(c.last[:0], c.keys.key(n-1)...)
		}
		at := c.r.Position()
		if err := c.r.Next(c.b, runRows); errors.Is(err, io.EOF) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("%s: %w", c.Path, err)
		}
		c.order.fill(c.b, &c.keys)
		if !c.keys.ascend(c.last) {
			return false, &unsortedError{c.Path}
		}
		c.rows, c.at = c.rows[:0], 0
		for i := range c.b.Rows {
			if c.deleted != nil && c.deleted.Contains(uint64(at)+uint64(i)) {
				c.removed++
				continue
			}
			c.rows = append(c.rows, int32(i))
		}
		if !c.scratch {
			c.read.some(c.b, c.rows)
		}
		if len(c.rows) > 0 {
			return true, nil
		}
	}
}

// ascend reports whether the keys do, and begin no lower than last; nil: there is none before.
func (k *keys) ascend(last []byte) bool {
	if last != nil && bytes.Compare(last, k.key(0)) > 0 {
		return false
	}
	for i := 1; i < len(k.heads); i++ {
		switch {
		case k.heads[i-1] != k.heads[i]:
			if k.heads[i-1] > k.heads[i] {
				return false
			}
		case k.tails[i-1] != k.tails[i]:
			if k.tails[i-1] > k.tails[i] {
				return false
			}
		case bytes.Compare(k.key(i-1), k.key(i)) > 0:
			return false
		}
	}
	return true
}

// merging takes the least row of several runs, again and again. It is a tree of losers: each inner node holds the run that lost
// there, and the winner's way up is all that has to be played again.
type merging struct {
	runs  []*cursor
	heads []uint64 // of the runs' next rows
	tails []uint64
	done  []bool
	tree  []int32 // tree[0] is the winner
	left  int
}

func newMerging(runs int) *merging {
	return &merging{heads: make([]uint64, runs), tails: make([]uint64, runs), done: make([]bool, runs), left: runs}
}

func (t *merging) less(a, b int32) bool {
	if t.heads[a] != t.heads[b] {
		return t.heads[a] < t.heads[b]
	}
	if t.tails[a] != t.tails[b] {
		return t.tails[a] < t.tails[b]
	}
	if t.done[a] || t.done[b] {
		return !t.done[a] && t.done[b]
	}
	return t.before(a, 0, b)
}

// before reports whether a row of a run, so many after its next one, comes before another run's next row.
func (t *merging) before(a int32, skip int, b int32) bool {
	x, y := t.runs[a], t.runs[b]
	row := x.rows[x.at+skip]
	if h := x.keys.heads[row]; h != t.heads[b] {
		return h < t.heads[b]
	}
	if h := x.keys.tails[row]; h != t.tails[b] {
		return h < t.tails[b]
	}
	if d := bytes.Compare(x.keys.key(int(row)), y.keys.key(int(y.rows[y.at]))); d != 0 {
		return d < 0
	}
	return a < b
}

// load notes the next row of a run, or that there is none.
func (t *merging) load(i int32, more bool) {
	if c := t.runs[i]; more {
		row := c.rows[c.at]
		t.heads[i], t.tails[i] = c.keys.heads[row], c.keys.tails[row]
	} else {
		t.heads[i], t.tails[i], t.done[i] = math.MaxUint64, math.MaxUint64, true
		t.left--
	}
}

// stretch is how many rows of the winner's come before the next rows of all others, as far as they are at hand: at least one.
func (t *merging) stretch() int {
	winner := t.tree[0]
	c := t.runs[winner]
	n, next := len(c.rows)-c.at, int32(-1)
	for at := (winner + int32(len(t.runs))) / 2; at > 0; at /= 2 { // who is next has lost to the winner
		if next < 0 || t.less(t.tree[at], next) {
			next = t.tree[at]
		}
	}
	if next < 0 || t.done[next] {
		return n
	}
	known, end := 0, 1
	for end < n && t.before(winner, end, next) {
		known, end = end, 2*end
	}
	end = min(end, n)
	return known + 1 + sort.Search(end-known-1, func(i int) bool { return !t.before(winner, known+1+i, next) })
}

func (t *merging) begin() {
	n := int32(len(t.runs))
	t.tree = make([]int32, n)
	for i := range t.tree {
		t.tree[i] = -1
	}
	for i := range n {
		winner := i
		for at := (i + n) / 2; at > 0; at /= 2 {
			if t.tree[at] < 0 { // nobody to play against yet
				t.tree[at], winner = winner, -1
				break
			}
			if t.less(t.tree[at], winner) {
				t.tree[at], winner = winner, t.tree[at]
			}
		}
		if winner >= 0 {
			t.tree[0] = winner
		}
	}
}

// replay lets the winner's next row play.
func (t *merging) replay() {
	winner := t.tree[0]
	for at := (winner + int32(len(t.runs))) / 2; at > 0; at /= 2 {
		if t.less(t.tree[at], winner) {
			t.tree[at], winner = winner, t.tree[at]
		}
	}
	t.tree[0] = winner
}

// mergeRuns passes the rows of runs on in order, in batches that are good during a call only.
func (m *merger) mergeRuns(ctx context.Context, runs []run, o *order, read *rowSum, pass func(b *batch.Batch, rows []int32) error) (err error) {
	t := newMerging(len(runs))
	defer func() {
		for _, c := range t.runs {
			err = errors.Join(err, c.close())
		}
	}()
	g := gatherer{}
	for i, r := range runs {
		c, err := m.openRun(ctx, r, o, read, m.BlocksBudget/int64(len(runs)))
		if err != nil {
			return err
		}
		t.runs, g.from = append(t.runs, c), append(g.from, c.b)
		more, err := c.fill(ctx)
		if err != nil {
			return err
		}
		t.load(int32(i), more)
	}
	t.begin()
	out := &passing{gatherer: g, pass: pass, b: batch.New(&batch.Records{}, m.Info.Row)}
	last := int32(-1)
	for t.left > 0 {
		w := t.tree[0]
		c := t.runs[w]
		n := 1
		if w == last { // files of one time after the other give long stretches
			n = t.stretch()
		}
		last = w
		if err := out.add(w, c.rows[c.at:c.at+n]); err != nil {
			return err
		}
		more := true
		if c.at += n; c.at == len(c.rows) {
			if err := out.flush(); err != nil { // the rows lie in the batch that is filled again
				return err
			}
			if more, err = c.fill(ctx); err != nil {
				return err
			}
		}
		t.load(w, more)
		t.replay()
	}
	for _, c := range t.runs {
		m.out.Deleted += c.removed
	}
	return out.flush()
}

// passing gathers the rows that were picked.
type passing struct {
	gatherer
	b     *batch.Batch
	picks []pick
	rows  []int32
	begun bool // something was passed on: who writes chooses encodings by the first piece
	pass  func(b *batch.Batch, rows []int32) error
}

// stretchRows is how many rows of one run are passed on as they lie in its batch: each piece costs as much as gathering some.
const stretchRows = 128

// add picks rows of a batch.
func (p *passing) add(from int32, rows []int32) error {
	if len(rows) >= stretchRows && p.begun {
		if err := p.flush(); err != nil {
			return err
		}
		return p.pass(p.from[from], rows)
	}
	for _, r := range rows {
		p.picks = append(p.picks, pick{from, r})
	}
	if len(p.picks) >= rowsAtOnce {
		return p.flush()
	}
	return nil
}

func (p *passing) flush() error {
	if len(p.picks) == 0 {
		return nil
	}
	p.gather(p.b, p.picks)
	for len(p.rows) < len(p.picks) {
		p.rows = append(p.rows, int32(len(p.rows)))
	}
	rows := p.rows[:len(p.picks)]
	p.picks, p.begun = p.picks[:0], true
	return p.pass(p.b, rows)
}
