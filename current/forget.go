package current

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Forgotten is what the target has, or had, of persons.
type Forgotten struct {
	Table string `json:"table"`
	Done  bool   `json:"done"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Rows  int64  `json:"rows"`
	// Deleted are keys that are remembered as deleted, so that a late change does not bring them back. They are only told where a person's
	// key is made of columns of the target's.
	Deleted int `json:"remembered_deletes"`
	// Unsearched: the target lacks a column of the keys.
	Unsearched string `json:"unsearched,omitempty"`
}

// Edit is a round that took changes out of the source and added none.
type Edit struct {
	Number int64 // 0: there is none
	Before int64 // the number of the round with edits before it
}

// Forget takes the rows of persons out of the target, and their keys out of what is remembered of deletes, in one swap. Their changes must
// be gone from the source before: else the next run would apply them again. If all edits before e are known, e is from then on: for it, the
// changes need not be looked at again, by which all rows would come back that another engine has deleted. Where there is nothing to do,
// nothing is changed.
func (a *Applier) Forget(ctx context.Context, keys []forget.Key, parse forget.Parse, e Edit, dry bool) (*Forgotten, error) {
	for failed := 0; ; failed++ {
		f, err := a.forgetOnce(ctx, keys, parse, e, dry)
		if (errors.Is(err, ErrStale) || errors.Is(err, errGone)) && failed < tries {
			continue
		}
		if err != nil {
			return f, fmt.Errorf("forgetting rows of %s: %w", a.Target, err)
		}
		return f, nil
	}
}

func (a *Applier) forgetOnce(ctx context.Context, keys []forget.Key, parse forget.Parse, e Edit, dry bool) (*Forgotten, error) {
	out := &Forgotten{Table: a.Target.String()}
	p := &plan{}
	var err error
	if p.target, err = a.Catalog.Info(ctx, a.Target); errors.Is(err, table.ErrNoTable) {
		return out, nil
	} else if err != nil {
		return nil, err
	}
	if p.base, err = a.base(ctx); err != nil {
		return nil, err
	}
	if p.mark, err = parseMark(a.Pipeline, p.base.Props); err != nil {
		return nil, err
	}
	if p.state, err = a.states().read(ctx, p.mark.State); err != nil {
		return nil, err
	}
	f, err := a.forgetRows(ctx, p, keys, parse)
	if errors.Is(err, forget.ErrNoColumn) {
		out.Unsearched = err.Error()
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Files, out.Bytes, out.Rows = len(f.files), f.bytes, f.rows
	gone, err := a.keyParts(p.target.Row, keys, parse)
	if err != nil {
		return nil, err
	}
	if out.Deleted, err = a.remembered(ctx, p.state, gone); err != nil {
		return nil, err
	}
	passes := e.Number > 0 && p.mark.State != "" && p.state.Edit == e.Before
	some := len(f.files) > 0 || out.Deleted > 0
	if dry || !some && !passes {
		return out, nil
	}
	p.edit = p.state.Edit
	if passes {
		p.edit = e.Number
	}
	if err := a.forgetSwap(ctx, p, f, gone, out.Deleted > 0); err != nil {
		return nil, err
	}
	out.Done = some
	return out, nil
}

// forgetRows finds the rows of the target.
func (a *Applier) forgetRows(ctx context.Context, p *plan, keys []forget.Key, parse forget.Parse) (*found, error) {
	m, err := forget.Bind(keys, p.target.Row, parse)
	f := &found{deleted: map[string]*roaring64.Bitmap{}}
	if err != nil || p.base.Snapshot == 0 {
		return f, err
	}
	rows, err := m.Table(ctx, a.Catalog, a.Objects, a.Target, p.base.Snapshot, nil)
	if err != nil {
		return nil, err
	}
	f.files, f.rows, f.bytes, f.deleted = rows.Files, rows.Rows, rows.Bytes, rows.Positions
	return f, nil
}

// persons are the values of the columns of the target's key, of persons' keys: see keyParts.
type persons [][][]byte

func (p persons) have(key []byte) bool {
	return slices.ContainsFunc(p, func(want [][]byte) bool { return partsAre(key, want) })
}

// remembered says how many keys of persons are among the deletes that are remembered.
func (a *Applier) remembered(ctx context.Context, st *state, gone persons) (int, error) {
	found := map[string]struct{}{}
	if len(gone) == 0 {
		return 0, nil
	}
	err := a.states().readDeleted(ctx, st, a.share().part(), func(d *deletedReader) error {
		key, err := d.key()
		if err == nil && gone.have(key) {
			found[string(key)] = struct{}{}
		}
		return err
	})
	return len(found), err
}

// keyParts are the values of the columns of the target's key, by column, of those persons' keys that have no other columns; nil stands for
// any value.
func (a *Applier) keyParts(row *batch.Type, keys []forget.Key, parse forget.Parse) (all persons, err error) {
	for n, k := range keys {
		if slices.ContainsFunc(k, func(v forget.Value) bool { return !slices.Contains(a.Key, v.Column) }) {
			continue
		}
		parts := make([][]byte, len(a.Key))
		for _, v := range k {
			f := row.Fields[row.Index(v.Column)]
			f.Required = false
			b, err := parse([]batch.Field{f}, []string{v.Text})
			if err != nil || b.Rows != 1 || b.Root.Children[0].IsNull(0) {
				return nil, fmt.Errorf("key %d does not fit the column %s (%s)", n+1, f.Name, f.Type)
			}
			parts[slices.Index(a.Key, v.Column)] = b.Root.Children[0].AppendKey([]byte{}, b.Records, 0)
		}
		all = append(all, parts)
	}
	return all, nil
}

// partsAre compares a key (see keys.append) with values.
func partsAre(key []byte, want [][]byte) bool {
	for _, w := range want {
		if len(key) < 4 {
			return false
		}
		n := int(binary.BigEndian.Uint32(key))
		if len(key) < 4+n || w != nil && !bytes.Equal(key[4:4+n], w) {
			return false
		}
		key = key[4+n:]
	}
	return true
}

// forgetSwap lands what is left. The cursor stays where it was.
func (a *Applier) forgetSwap(ctx context.Context, p *plan, f *found, gone persons, fewer bool) error {
	if p.mark.State == "" {
		return fmt.Errorf("the table has no property %s: it was not made of changes, or was rolled back; make it anew with: lakeloader job run current --table %s --rebuild",
			Property(a.Pipeline), a.Target)
	}
	st := *p.state
	st.Edit = p.edit
	d := &applied{state: &st, made: a.Now()}
	if fewer {
		left, err := a.states().mergeDeleted(ctx, p.state.Deleted, nil, a.share().part(), func(t *tombstone) bool { return !gone.have(t.Key) })
		if err != nil {
			return err
		}
		if st.Deleted = nil; left.Rows > 0 {
			st.Deleted = []deletedPart{left}
		}
	}
	if len(f.files) > 0 {
		if err := a.write(ctx, p, &window{}, f, d); err != nil {
			return err
		}
	}
	r := &Report{}
	if err := a.swap(ctx, p, d, r); err != nil {
		return err
	}
	if len(r.Left) > 0 {
		return fmt.Errorf("what was remembered of deletes could not be removed: %s", strings.Join(r.Left, "; "))
	}
	return nil
}

// Remembering are the objects in the folder of states, named by the target or left by a run that was given up, that have keys of the persons
// among the deletes that they remember.
func (a *Applier) Remembering(ctx context.Context, keys []forget.Key, parse forget.Parse) ([]objects.Info, error) {
	info, err := a.Catalog.Info(ctx, a.Target)
	if errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	gone, err := a.keyParts(info.Row, keys, parse)
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	all, err := StateObjects(ctx, a.Objects, a.Root)
	if err != nil {
		return nil, err
	}
	var out []objects.Info
	for _, o := range all {
		if o.Pipeline != a.Pipeline || !strings.HasSuffix(o.ID, deletedSuffix) {
			continue
		}
		has := false
		err := a.states().eachDeleted(ctx, o.URI, a.share().part(), func(d *deletedReader) error {
			key, err := d.key()
			has = has || err == nil && gone.have(key)
			return err
		})
		if errors.Is(err, objects.ErrNotFound) {
			continue // a run has just moved on
		}
		if err != nil {
			return nil, fmt.Errorf("reading deleted keys (%s): %w", path.Base(o.URI), err)
		}
		if has {
			out = append(out, o.Info)
		}
	}
	return out, nil
}

// MoveOn commits a snapshot of the same files to the target, so that what metadata say of files that are gone leaves with the snapshots before.
func (a *Applier) MoveOn(ctx context.Context) error {
	s, err := a.Catalog.Open(ctx, a.Target)
	if err == nil {
		err = table.Commit(ctx, s, a.Wait, func(*table.Base) (table.Change, bool, error) {
			return table.Change{Snapshot: true, Tidy: true, Summary: map[string]string{table.SummaryJob: "forget"}, Props: func(snapshot int64) map[string]string {
				return map[string]string{table.Prefix + "fence": strconv.FormatInt(snapshot, 10)} // so that the tag of the last move moves on too
			}}, false, nil
		})
	}
	if errors.Is(err, table.ErrNoTable) {
		return nil
	}
	return err
}
