package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// PurgeOptions says which dead letters are removed.
type PurgeOptions struct {
	// Filter chooses. Where its Replayed is nil, letters that were never replayed are removed too, and lost for ever.
	Filter LetterFilter
	DryRun bool
}

// PurgeReport says what is, or would be, removed.
type PurgeReport struct {
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"` // of the dead letters
	Done     bool   `json:"done"`
	Round    int64  `json:"round,omitempty"` // its number, when done
	Letters  int64  `json:"letters"`
	// Replayed are those of them that have become rows.
	Replayed int64 `json:"replayed"`
}

// Purge takes dead letters out of their table, in one round. What was decided about their offsets stays: verify knows that
// they were purged. Loaders go on meanwhile. It needs no Kafka.
func Purge(ctx context.Context, cfg *configs.Pipeline, d Deps, o PurgeOptions) (*PurgeReport, error) {
	a := &amender{cfg: cfg, d: d}
	var rep *PurgeReport
	err := a.again(ctx, func() (err error) {
		rep, err = a.purge(ctx, o)
		return err
	})
	return rep, err
}

func (a *amender) purge(ctx context.Context, o PurgeOptions) (*PurgeReport, error) {
	r, err := newLetterReader(ctx, a.d)
	if err != nil {
		return nil, err
	}
	rep := &PurgeReport{Pipeline: a.cfg.Name, Table: a.d.DeadLetters.String()}
	purged := map[EpochKey]*Offsets{}
	err = r.each(ctx, 0, &o.Filter, func(c letterColumns, b *batch.Batch, rows []int32) error {
		for _, row := range rows {
			i := int(row)
			k, off := c.key(b, i), uint64(c[ColumnOffset].Int64[i])
			replayed := !c[ColumnReplayedRound].IsNull(i)
			if said := a.decisions[k]; said == nil || !replayed && !said.Dead.Contains(off) {
				continue // written by a round that landed after the decisions were read
			}
			if purged[k] == nil {
				purged[k] = &Offsets{}
			}
			purged[k].Add(off)
			rep.Letters++
			if replayed {
				rep.Replayed++
			}
		}
		return nil
	})
	if err != nil || o.DryRun || rep.Letters == 0 {
		return rep, err
	}
	round := a.round(nil)
	for _, k := range slices.SortedFunc(maps.Keys(purged), EpochKey.compare) {
		rec := epochOf(a.ledger, k.Key, k.Epoch)
		if rec == nil {
			return nil, fmt.Errorf("table %s has dead letters of %s in epoch %d, which the offsets of %s do not know", a.d.DeadLetters, k.Key, k.Epoch, a.d.Primary)
		}
		round.Edits = append(round.Edits, Edit{Key: k.Key, TopicID: rec.TopicID, Epoch: k.Epoch, First: rec.First, Purged: purged[k]})
	}
	n, err := a.land(ctx, round, "purges the letters")
	if n == 0 {
		return nil, err
	}
	rep.Done, rep.Round = true, n
	return rep, err
}
