package window

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"unsafe"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/scan"
)

// piece is an amount of a row, and where its key is.
type piece struct {
	// head is what follows in the key on what all keys of the run begin with, so that most are told apart by it.
	head   uint64
	key    batch.View
	slot   int32
	day    Day
	amount Amount
}

// rebuilder reads files, and brings their rows into the state in sorted runs, which it merges by key.
type rebuilder struct {
	o      *Owner
	row    *batch.Type
	floor  Day
	mine   []bool
	gone   map[string]*roaring64.Bitmap
	room   int   // for what is sorted at once, bytes
	rows   int64 // that may count
	view   *view
	keys   []byte
	pieces []piece
}

const (
	// leastRun is what is sorted at once at least, bytes; pieceSize is what a row takes of it beside its key.
	leastRun  = 1 << 20
	pieceSize = int(unsafe.Sizeof(piece{}))
)

func (r *rebuilder) run(ctx context.Context, todo <-chan part) (err error) {
	if r.view, err = r.o.o.newView(r.row); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil // whoever failed has said why
		case f, ok := <-todo:
			if !ok {
				return r.flush()
			}
			before := r.rows
			if err := r.file(ctx, f); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
			done := 0
			if f.from == 0 { // that of the first part stands for the file
				done = 1
			}
			r.o.d.Meter.rebuilt(done, r.rows-before)
		}
	}
}

func (r *rebuilder) file(ctx context.Context, of part) (err error) {
	f, err := scan.Open(ctx, r.o.d.Lake.Objects, of.Path, of.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	f.Budget(int64(r.room))
	if of.to == 0 {
		of.to = f.Groups()
	}
	rows, err := f.GroupBatches(r.row, of.from, of.to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	b := batch.New(&batch.Records{}, r.row)
	for {
		at := rows.Position()
		if err := rows.Next(b, 8192); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if gone := r.gone[of.Path]; gone != nil {
			for i := range b.Rows {
				if gone.Contains(uint64(at) + uint64(i)) {
					b.Fate[i] = batch.Filtered
				}
			}
		}
		if err := r.add(b); err != nil {
			return err
		}
	}
}

func (r *rebuilder) add(b *batch.Batch) error {
	amounts, err := r.view.amounts(b)
	if err != nil {
		return err
	}
	times := b.Root.Children[r.view.time]
	for i, keep := range r.view.keep {
		if !keep {
			continue
		}
		day := r.view.days.of(times, i)
		if day <= r.floor {
			continue
		}
		key := r.view.keyText(b, i)
		n := Slot(key, int32(len(r.mine)))
		if !r.mine[n] {
			continue
		}
		a, ok := amounts[i].times(r.view.lift)
		if !ok {
			return errOverflow
		}
		r.pieces = append(r.pieces, piece{0, batch.View{Off: uint32(len(r.keys)), Len: uint32(len(key))}, n, day, a})
		r.keys = append(r.keys, key...)
		r.rows++
	}
	if len(r.pieces)*pieceSize+len(r.keys) < r.room*2/3 { // slices grow by more than is needed
		return nil
	}
	return r.flush()
}

func (r *rebuilder) key(p piece) []byte { return r.keys[p.key.Off : p.key.Off+p.key.Len] }

// heads fills in those of all pieces.
func (r *rebuilder) heads() {
	if len(r.pieces) == 0 {
		return
	}
	common := r.key(r.pieces[0])
	for i := range r.pieces {
		key := r.key(r.pieces[i])
		if len(key) < len(common) {
			common = common[:len(key)]
		}
		if !bytes.HasPrefix(key, common) {
			n := 0
			for key[n] == common[n] {
				n++
			}
			common = common[:n]
		}
	}
	for i := range r.pieces {
		var head [8]byte // shorter ones are told apart by their whole keys
		copy(head[:], r.key(r.pieces[i])[len(common):])
		r.pieces[i].head = binary.BigEndian.Uint64(head[:])
	}
}

// mergeBatch is how much is written at once, bytes: so little that the store copies it into its own memory.
const mergeBatch = 256 << 10

// flush merges what was read into the state.
func (r *rebuilder) flush() error {
	r.heads()
	slices.SortFunc(r.pieces, func(a, b piece) int {
		if a.slot != b.slot {
			return int(a.slot) - int(b.slot)
		}
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		if c := bytes.Compare(r.key(a), r.key(b)); c != 0 {
			return c
		}
		return int(a.day) - int(b.day)
	})
	b := r.o.d.State.db.NewBatch()
	var bs buckets
	var key, value []byte
	for i, p := range r.pieces {
		var err error
		if bs, err = bs.add(p.day, p.amount); err != nil {
			return fmt.Errorf("key %q: %w", r.key(p), err)
		}
		if i+1 < len(r.pieces) && r.pieces[i+1].slot == p.slot && bytes.Equal(r.key(r.pieces[i+1]), r.key(p)) {
			continue
		}
		key, value = stateKey(key, p.slot, kindKey, r.key(p)), bs.append(value[:0])
		if err := b.Merge(key, value, nil); err != nil {
			return err
		}
		bs = bs[:0]
		if b.Len() > mergeBatch {
			if err := r.o.d.State.commit(b); err != nil {
				return err
			}
			b = r.o.d.State.db.NewBatch()
		}
	}
	r.pieces, r.keys = r.pieces[:0], r.keys[:0]
	return r.o.d.State.commit(b)
}
