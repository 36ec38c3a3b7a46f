package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/table"
)

// LetterRule says which dead letters are a person's, as they have no columns.
type LetterRule string

// The rules. Whichever holds, the letters of rows that are forgotten go with them.
const (
	LettersMatch  LetterRule = "match"  // records with members of the key's names and values; what only may be one is named
	LettersRemove LetterRule = "remove" // those that have the values anywhere, too
	LettersIgnore LetterRule = "ignore" // as match, and what may be one was looked at
)

// ForgetOptions says whose rows are deleted.
type ForgetOptions struct {
	Keys    []forget.Key
	Letters LetterRule
	// Reason goes into the round and the snapshots. It must not name anybody.
	Reason string
	DryRun bool
}

// ForgetReport is what was deleted, or would be.
type ForgetReport struct {
	Pipeline string          `json:"pipeline"`
	Done     bool            `json:"done"`
	Round    int64           `json:"round,omitempty"` // its number, when done
	Before   int64           `json:"-"`               // the number of the round with edits before it
	Rows     int64           `json:"rows"`
	Letters  int64           `json:"dead_letters"`
	Tables   []ForgetTable   `json:"tables"`
	Offsets  []ForgetOffsets `json:"offsets"`
	// Unsearched are tables that lack a column of the keys.
	Unsearched []string `json:"unsearched,omitempty"`
	// Doubtful are dead letters with the values of a key that may be somebody else's: topic-partition-offset.
	Doubtful []string `json:"doubtful_dead_letters,omitempty"`
	// Unread are dead letters that could not be read; nil: there is none.
	Unread *forget.Unread `json:"unread_dead_letters,omitempty"`
}

// ForgetTable is what a table has of the persons.
type ForgetTable struct {
	Table string `json:"table"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Rows  int64  `json:"rows"`
}

// ForgetOffsets are the records that the rows were made of: Kafka may have them still.
type ForgetOffsets struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Epoch     int32  `json:"epoch"`
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Count     int64  `json:"count"`
}

// forgetting is the name by which offsets are removed.
const forgetting = "forget"

// Forget takes the rows of persons out of the primary table, out of those that rows are routed to, and their dead letters, in one round.
// For verify their offsets are removed. The round says which offsets those are, and nothing of the persons. Loaders go on meanwhile; rows
// that they add while it runs are found by the next one. It needs no Kafka.
func Forget(ctx context.Context, cfg *configs.Pipeline, d Deps, o ForgetOptions) (*ForgetReport, error) {
	a := &amender{cfg: cfg, d: d}
	var rep *ForgetReport
	err := a.again(ctx, func() (err error) {
		rep, err = a.forget(ctx, o)
		return err
	})
	return rep, err
}

// ParseTexts makes values of text, by the rules of the step default: a batch with one row.
func ParseTexts(fields []batch.Field, texts []string) (*batch.Batch, error) {
	return parseRow(fields, texts)
}

func (a *amender) forget(ctx context.Context, o ForgetOptions) (*ForgetReport, error) {
	rep := &ForgetReport{Pipeline: a.cfg.Name, Tables: []ForgetTable{}, Offsets: []ForgetOffsets{}}
	rows := map[EpochKey]*roaring64.Bitmap{}
	for _, id := range a.tables() {
		err := a.forgetIn(ctx, id, o.Keys, rep, rows)
		switch {
		case errors.Is(err, table.ErrNoTable) && id != a.d.Primary: // dropped, with all its rows
		case errors.Is(err, forget.ErrNoColumn) && id != a.d.Primary:
			rep.Unsearched = append(rep.Unsearched, fmt.Sprintf("table %s: %v", id, err))
		case err != nil:
			return nil, fmt.Errorf("table %s: %w", id, err)
		}
	}
	letters, err := a.forgetLetters(ctx, o, rows, rep)
	if err != nil {
		return nil, err
	}
	r, err := a.forgetRound(rows, letters, rep)
	if err != nil || o.DryRun || len(r.Edits) == 0 {
		return rep, err
	}
	r.Reason = o.Reason
	n, err := a.land(ctx, r, "takes the rows out")
	if n == 0 {
		return nil, err
	}
	rep.Done, rep.Round, rep.Before = true, n, r.Seen
	return rep, err
}

// forgetIn adds the offsets of a table's rows.
func (a *amender) forgetIn(ctx context.Context, id table.Ident, keys []forget.Key, rep *ForgetReport, rows map[EpochKey]*roaring64.Bitmap) error {
	info, err := a.d.Catalog.Info(ctx, id)
	if err != nil {
		return err
	}
	m, err := forget.Bind(keys, info.Row, parseRow)
	if err != nil {
		return err
	}
	found, err := m.Table(ctx, a.d.Catalog, a.d.Objects, id, 0, func(r forget.Row) {
		addOffset(rows, EpochKey{table.Key{Topic: r.Topic, Partition: r.Partition}, r.Epoch}, r.Offset)
	})
	if err != nil {
		return err
	}
	rep.Tables = append(rep.Tables, ForgetTable{Table: id.String(), Files: len(found.Files), Bytes: found.Bytes, Rows: found.Rows})
	rep.Rows += found.Rows
	return nil
}

func addOffset(to map[EpochKey]*roaring64.Bitmap, k EpochKey, offset int64) {
	if to[k] == nil {
		to[k] = roaring64.New()
	}
	to[k].Add(uint64(offset))
}

// forgetLetters finds the dead letters that go, beside those of rows that do: these were replayed.
func (a *amender) forgetLetters(ctx context.Context, o ForgetOptions, rows map[EpochKey]*roaring64.Bitmap, rep *ForgetReport) (map[EpochKey]*roaring64.Bitmap, error) {
	out := map[EpochKey]*roaring64.Bitmap{}
	r, err := newLetterReader(ctx, a.d)
	if errors.Is(err, table.ErrNoTable) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	all, search := AnyLetter(), newLetterSearch(a.cfg, a.d, o.Keys)
	err = r.each(ctx, 0, &all, func(c letterColumns, b *batch.Batch, chosen []int32) error {
		for _, row := range chosen {
			i := int(row)
			k, off := c.key(b, i), c[ColumnOffset].Int64[i]
			if set := rows[k]; set != nil && set.Contains(uint64(off)) {
				rep.Letters++
				continue
			}
			m, _, err := search.mentioned(ctx, c, b, i)
			if err != nil {
				return err
			}
			switch {
			case m == forget.Is, m == forget.May && o.Letters == LettersRemove:
				addOffset(out, k, off)
				rep.Letters++
			case m == forget.May && o.Letters != LettersIgnore:
				rep.Doubtful = append(rep.Doubtful, letterName(c, b, i))
			}
		}
		return nil
	})
	rep.Unread = search.unread
	return out, err
}

// forgetRound is the round that takes rows and letters out. Those of rounds that landed meanwhile are left for the next run.
func (a *amender) forgetRound(rows, letters map[EpochKey]*roaring64.Bitmap, rep *ForgetReport) (*Round, error) {
	keys := map[EpochKey]bool{}
	for k := range rows {
		keys[k] = true
	}
	for k := range letters {
		keys[k] = true
	}
	round := a.round(nil)
	for _, k := range slices.SortedFunc(maps.Keys(keys), EpochKey.compare) {
		rec, d := epochOf(a.ledger, k.Key, k.Epoch), a.decisions[k]
		if rec == nil || d == nil {
			return nil, fmt.Errorf("the tables have rows of %s in epoch %d, which the offsets of %s do not know", k.Key, k.Epoch, a.d.Primary)
		}
		e := Edit{Key: k.Key, TopicID: rec.TopicID, Epoch: k.Epoch, First: rec.First}
		known := span(rec.First, rec.Next)
		all := roaring64.New()
		if set := rows[k]; set != nil {
			set.And(known)
			if !set.IsEmpty() {
				e.Was, e.Removed = d.Count(set), map[string]*Offsets{forgetting: {Bitmap: *set}}
				all.Or(set)
			}
		}
		if set := letters[k]; set != nil {
			set.And(known)
			if !set.IsEmpty() {
				e.Purged = &Offsets{Bitmap: *set}
				all.Or(set)
			}
		}
		if all.IsEmpty() {
			continue
		}
		round.Edits = append(round.Edits, e)
		rep.Offsets = append(rep.Offsets, ForgetOffsets{Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch,
			First: int64(all.Minimum()), Last: int64(all.Maximum()), Count: int64(all.GetCardinality())})
	}
	return round, nil
}

// Reaffirm says once more, in a round of its own, what was decided about one offset that was removed or purged. Nothing changes by it but
// the snapshot in which each table was moved last: an expiry may then take all before it. It returns the round's number; 0: there is no
// such offset. The tables' manifests then list no files that are gone. before is the number of the round with edits before it.
func Reaffirm(ctx context.Context, cfg *configs.Pipeline, d Deps) (n, before int64, err error) {
	a := &amender{cfg: cfg, d: d}
	err = a.again(ctx, func() error {
		for _, k := range slices.SortedFunc(maps.Keys(a.decisions), EpochKey.compare) {
			rec, said := epochOf(a.ledger, k.Key, k.Epoch), a.decisions[k]
			if rec == nil || said.Removed.IsEmpty() && said.Purged.IsEmpty() {
				continue
			}
			e := Edit{Key: k.Key, TopicID: rec.TopicID, Epoch: k.Epoch, First: rec.First}
			if said.Removed.IsEmpty() {
				e.Purged = &Offsets{}
				e.Purged.Add(said.Purged.Minimum())
			} else {
				one := span(int64(said.Removed.Minimum()), int64(said.Removed.Minimum())+1)
				e.Was, e.Removed = said.Count(one), map[string]*Offsets{forgetting: {Bitmap: *one}}
			}
			r := a.round(nil)
			r.Edits, r.Tidy = []Edit{e}, true
			before = r.Seen
			n, err = a.land(ctx, r, "moves the tables on")
			return err
		}
		return nil
	})
	return n, before, err
}
