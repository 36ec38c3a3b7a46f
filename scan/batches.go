package scan

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/lakeloader/lakeloader/batch"
)

const (
	// arenaGoal ends a batch that has so many bytes of values, whatever the number of rows that was asked for.
	arenaGoal = 16 << 20
	// leastArena is the least that a small budget leaves of it.
	leastArena = 1 << 20
	// step is how much the arena may grow by rows that are read at once, as far as the rows before them tell.
	step = 2 << 20
	// maxStep is the greatest number of rows that are read at once.
	maxStep = 1024
	// blockBudget is what the blocks of all columns that are read may take.
	blockBudget = 32 << 20
	minBlock    = 64 << 10
	maxBlock    = 4 << 20
)

// Batches reads the rows of a file in order, as batches of a table's row type. It is for one goroutine.
type Batches struct {
	f      *File
	root   *node
	leaves []*leaf

	group int   // next row group
	end   int   // the first that is not read
	left  int64 // rows of the open one
	at    int64
	step  int
}

// Batches matches the columns of a row type with the file, by field ids: by names where the row type or the whole file has
// none. A column that the file lacks is null; numbers that the table has widened since are widened. The row type may have
// a part of the table's columns. The caller must Close the Batches, before the File.
func (f *File) Batches(row *batch.Type) (*Batches, error) {
	return f.GroupBatches(row, 0, f.Groups())
}

// GroupBatches is Batches for the row groups from one up to another, which is not read.
func (f *File) GroupBatches(row *batch.Type, from, to int) (*Batches, error) {
	if from < 0 || from > to || to > f.Groups() {
		return nil, fmt.Errorf("there are no row groups %d to %d, of %d", from, to, f.Groups())
	}
	r := &Batches{f: f, group: from, end: to, root: &node{field: batch.Field{Type: row, Required: true}}, step: 16}
	if row.Kind != batch.Struct {
		return nil, fmt.Errorf("a row is a struct, not a %s", row)
	}
	b := &binder{byName: !f.root.hasIDs(), leaves: map[int]*leaf{}}
	if err := b.fields(r.root, f.root); err != nil {
		return nil, err
	}
	r.leaves = b.order
	for g := range from {
		r.at += f.p.RowGroup(g).NumRows()
	}
	return r, nil
}

// Position is the position in the file of the row that Next reads first.
func (r *Batches) Position() int64 { return r.at }

// Close releases what is open of the file.
func (r *Batches) Close() error {
	var errs []error
	for _, l := range r.leaves {
		errs = append(errs, r.f.sound(l.close))
	}
	return errors.Join(errs...)
}

// Next empties b, a batch of the row type, and its records, and fills it with the next rows: at most n, and fewer where
// they are long. The bytes of values lie in the records' arena. At the end of the file it returns io.EOF and no rows. After
// another error, which says what is wrong with the file, b is to be dropped.
func (r *Batches) Next(b *batch.Batch, n int) error {
	if b.Root.Type != r.root.field.Type {
		return errors.New("the batch has another row type")
	}
	b.Records.Reset()
	b.Reset(b.Records)
	for _, l := range r.leaves {
		l.last = batch.View{}
		l.chunk.dict.forget()
	}
	return r.f.sound(func() error {
		for b.Rows < n && len(b.Mem) < r.f.arena() {
			if r.left == 0 {
				err := r.nextGroup()
				if errors.Is(err, io.EOF) && b.Rows > 0 {
					return nil
				}
				if err != nil {
					return err
				}
			}
			before, rows := len(b.Mem), int(min(int64(r.step), int64(n-b.Rows), r.left))
			if err := r.read(b, rows); err != nil {
				return err
			}
			r.left -= int64(rows)
			r.at += int64(rows)
			if grown := len(b.Mem) - before; grown > step {
				r.step = max(1, r.step/2)
			} else if grown < step/4 {
				r.step = min(maxStep, 2*r.step)
			}
		}
		return nil
	})
}

// nextGroup ends the open row group and opens the next one that has rows.
func (r *Batches) nextGroup() error {
	for r.left == 0 {
		for _, l := range r.leaves {
			if l.group == nil {
				continue
			}
			if err := l.more(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("column %s: %w: row group %d has more rows than its metadata says", l.name, errDamaged, r.group-1)
			}
			if err := l.close(); err != nil {
				return err
			}
		}
		if r.group == r.end {
			return io.EOF
		}
		if err := r.openGroup(r.f.p.RowGroup(r.group)); err != nil {
			return err
		}
		r.group++
	}
	return nil
}

func (r *Batches) openGroup(g *file.RowGroupReader) error {
	r.left = g.NumRows()
	r.f.blocks(len(r.leaves))
	for _, l := range r.leaves {
		if err := l.open(r.f, g); err != nil {
			return fmt.Errorf("column %s: %w", l.name, err)
		}
	}
	return nil
}

// read appends rows to the batch: first the values, then the structs and lists around them.
func (r *Batches) read(b *batch.Batch, n int) error {
	if err := r.root.values(n, b.Root, b.Records); err != nil {
		return err
	}
	for _, l := range r.leaves {
		if l.node != nil {
			continue
		}
		if err := l.take(n, nil, nil); err != nil {
			return fmt.Errorf("column %s, from row %d on: %w", l.name, r.at, err)
		}
	}
	for range n {
		b.Root.AppendStruct()
		b.AppendRow(b.Rows, 0)
	}
	return r.root.around(b.Root)
}

// values reads the leaves below a node.
func (n *node) values(rows int, c *batch.Column, rec *batch.Records) error {
	for i, k := range n.kids {
		if k.value != nil {
			if err := k.value.take(rows, c.Children[i], rec); err != nil {
				return fmt.Errorf("column %s: %w", k.value.name, err)
			}
		} else if err := k.values(rows, c.Children[i], rec); err != nil {
			return err
		}
	}
	return nil
}

// around completes the columns below a struct or list that has all its slots.
func (n *node) around(c *batch.Column) error {
	want := c.Len
	if c.Type.Store() == batch.StoreList {
		want = int(c.Starts[c.Len])
	}
	for i, k := range n.kids {
		col := c.Children[i]
		switch {
		case k.shape != nil:
			if err := k.slots(col); err != nil {
				return fmt.Errorf("column %s: %w", k.shape.name, err)
			}
			if err := k.around(col); err != nil {
				return err
			}
		case k.value == nil:
			for col.Len < want {
				col.AppendNull()
			}
		}
		if col.Len != want {
			return fmt.Errorf("column %s: %w: it has %d values, of %d", k.path, errDamaged, col.Len, want)
		}
	}
	return nil
}

// slots appends the slots of a struct or list, as the levels of a leaf below it tell.
func (n *node) slots(c *batch.Column) error {
	list := c.Type.Store() == batch.StoreList
	end, filled := int32(0), false
	if list {
		end = c.Starts[c.Len]
	}
	null := func() {
		c.AppendStruct()
		c.SetNull(c.Len - 1)
	}
	for i, rep := range n.shape.reps {
		def := int(n.shape.defs[i])
		begins := int(rep) <= n.rep
		if begins && def >= n.slot {
			if list {
				c.Starts = append(c.Starts, end)
			}
			if def >= n.def {
				c.AppendStruct() // it counts the slot, of lists too
			} else if err := n.absent(def, null, c.AppendStruct); err != nil {
				return err
			}
		}
		if !list {
			continue
		}
		if filled = filled && !begins || begins && def > n.def; def > n.def && int(rep) <= n.rep+1 {
			if !filled {
				return fmt.Errorf("%w: an element is in no list", errDamaged)
			}
			end++
			c.Starts[c.Len] = end
		}
	}
	return nil
}
