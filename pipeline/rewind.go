package pipeline

import (
	"context"
	"fmt"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// RewindOptions says which partitions move, where to, and what happens to the rows that are loaded a second time.
type RewindOptions struct {
	Topic      string  // empty: all
	Partitions []int32 // empty: all
	To         Position
	// Keep the rows that the table has of the offsets to be read again; they will be there twice, with different epochs.
	Keep bool
	// Skip allows positions ahead of what was loaded: the records in between are never loaded.
	Skip bool
	// DryRun plans only.
	DryRun bool
}

// RewindReport is what a rewind does, or did.
type RewindReport struct {
	Pipeline   string            `json:"pipeline"`
	Table      string            `json:"table"`
	Done       bool              `json:"done"`
	Keep       bool              `json:"keep_rows"`
	Round      int64             `json:"round,omitempty"` // its number, when done
	Partitions []RewindPartition `json:"partitions"`
}

// RewindPartition is one partition of a rewind.
type RewindPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Epoch     int32  `json:"epoch"` // that ends
	From      int64  `json:"from"`  // where the table is
	To        int64  `json:"to"`
	// Reread are offsets to be read again, Skipped those that will never be loaded.
	Reread  int64 `json:"reread"`
	Skipped int64 `json:"skipped"`
	// Rows and DeadLetters are what the table has of those to be read again, in all epochs: removed, or there twice.
	Rows        int64 `json:"rows"`
	DeadLetters int64 `json:"dead_letters"`
}

// Rewind moves the offsets of a pipeline on purpose. Its loaders may be running: they are fenced, and go on from there.
func Rewind(ctx context.Context, cfg *configs.Pipeline, d Deps, o RewindOptions) (*RewindReport, error) {
	a := &amender{cfg: cfg, d: d}
	var rep *RewindReport
	err := a.again(ctx, func() (err error) {
		rep, err = a.rewind(ctx, o)
		return err
	})
	return rep, err
}

func (a *amender) rewind(ctx context.Context, o RewindOptions) (*RewindReport, error) {
	ps, ids, err := a.partitions(ctx, o.Topic, o.Partitions)
	if err != nil {
		return nil, err
	}
	marks, err := a.d.Topics.Watermarks(ctx, ps)
	if err != nil {
		return nil, fmt.Errorf("asking for the first and last offsets: %w", err)
	}
	to, err := a.resolve(ctx, o.To, ps, marks)
	if err != nil {
		return nil, err
	}
	rep := &RewindReport{Pipeline: a.cfg.Name, Table: a.d.Primary.String(), Keep: o.Keep, Partitions: []RewindPartition{}}
	r := a.round(nil)
	for _, p := range ps {
		if err := a.rewindOne(r, rep, o, p, ids[p.Topic], to[p], marks[p]); err != nil {
			return nil, err
		}
	}
	if o.DryRun || len(r.Begins) == 0 {
		return rep, nil
	}
	n, err := a.land(ctx, r, "moved the offsets")
	if n == 0 {
		return nil, err
	}
	rep.Done, rep.Round = true, n
	return rep, err
}

func (a *amender) rewindOne(r *Round, rep *RewindReport, o RewindOptions, p source.Partition, id string, to int64, marks source.Watermarks) error {
	k := table.Key(p)
	rec, known := a.ledger.Records[k]
	switch {
	case !known:
		return fmt.Errorf("%s was never loaded: there is nothing to move; source.start says where it begins", k)
	case rec.TopicID != id:
		return fmt.Errorf("topic %s was deleted and created again since %s was loaded (its id was %s and is now %s): set on_reset to earliest or latest instead", k.Topic, k, rec.TopicID, id)
	case to < marks.Low || to > marks.High:
		return fmt.Errorf("%s cannot be moved to offset %d: Kafka has %d to %d", k, to, marks.Low, marks.High)
	case to > rec.Next && !o.Skip:
		return fmt.Errorf("%s is at offset %d; moving it to %d means that %d offsets are never loaded: say that they may be skipped", k, rec.Next, to, to-rec.Next)
	case to == rec.Next:
		return nil
	}
	edits, was := a.remove(k, a.epochs(k, id), to, rec.Next, "rewind")
	if !o.Keep {
		r.Edits = append(r.Edits, edits...)
	}
	r.Begins = append(r.Begins, Begin{Key: k, From: rec, To: table.Record{Cluster: rec.Cluster, TopicID: rec.TopicID, First: to, Next: to, MaxTimestamp: -1}})
	rep.Partitions = append(rep.Partitions, RewindPartition{Topic: k.Topic, Partition: k.Partition, Epoch: rec.Epoch, From: rec.Next, To: to,
		Reread: max(0, rec.Next-to), Skipped: max(0, to-rec.Next), Rows: was.Rows, DeadLetters: was.Dead})
	return nil
}
