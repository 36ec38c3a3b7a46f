package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// amender plans and commits rounds that change what was decided, on behalf of a person, beside loaders that go on.
type amender struct {
	cfg       *configs.Pipeline
	d         Deps
	committer *Committer
	ledger    *table.Ledger
	decisions map[EpochKey]*Decisions
}

// begin reads the ledger, finishes what is pending, so that every table has what was decided, and reads the decisions.
func (a *amender) begin(ctx context.Context) error {
	if a.committer == nil {
		a.committer = newCommitter(a.cfg, a.d, a.d.Catalog)
	}
	l, err := a.committer.Load(ctx)
	if err != nil {
		return err
	}
	all := map[table.Key]bool{}
	for k := range l.Records {
		all[k] = true
	}
	for n := 0; n == 0 || len(a.ledger.Pending) > 0 && n < editTries; n++ { // a loader may have committed meanwhile
		if a.ledger, err = a.committer.Settle(ctx, all); err != nil {
			return err
		}
	}
	a.decisions, err = readDecisions(ctx, &RoundObjects{Store: a.d.Objects, Root: a.d.Root, Pipeline: a.cfg.Name}, a.committer.uuid, a.ledger)
	return err
}

// readDecisions reads what all rounds of a ledger decided, as the later ones left it.
func readDecisions(ctx context.Context, rounds *RoundObjects, uuid string, l *table.Ledger) (map[EpochKey]*Decisions, error) {
	fold, decided, err := rounds.Decided(ctx, uuid, l)
	if err != nil {
		return nil, err
	}
	out, err := rounds.decisions(ctx, uuid, fold, decided)
	if err != nil {
		return nil, err
	}
	for k, r := range l.Records {
		decisionsOf(out, EpochKey{k, r.Epoch})
	}
	for _, p := range l.Past {
		decisionsOf(out, EpochKey{p.Key, p.Epoch})
	}
	return out, nil
}

// tables are the primary one and those that rows are routed to.
func (a *amender) tables() []table.Ident {
	out := []table.Ident{a.d.Primary}
	for _, t := range a.ledger.Tables {
		out = append(out, t.Ident)
	}
	return out
}

// epochs are the records of all epochs of a partition that belong to a topic id, in ascending order.
func (a *amender) epochs(k table.Key, topicID string) []table.Record {
	var out []table.Record
	for _, p := range a.ledger.Past {
		if p.Key == k && p.TopicID == topicID {
			out = append(out, p.Record)
		}
	}
	if r, ok := a.ledger.Records[k]; ok && r.TopicID == topicID {
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y table.Record) int { return int(x.Epoch - y.Epoch) })
	return out
}

// remove makes the edits that take the rows and dead letters of offsets [from, to) out of the epochs.
func (a *amender) remove(k table.Key, epochs []table.Record, from, to int64, job string) (edits []Edit, was table.Counts) {
	for _, rec := range epochs {
		set := span(max(from, rec.First), min(to, rec.Next))
		d := a.decisions[EpochKey{k, rec.Epoch}]
		set.AndNot(d.Removed)
		if set.IsEmpty() {
			continue
		}
		e := Edit{Key: k, TopicID: rec.TopicID, Epoch: rec.Epoch, First: rec.First, Was: d.Count(set), Removed: map[string]*Offsets{job: {Bitmap: *set}}}
		was = was.Plus(e.Was)
		edits = append(edits, e)
	}
	return edits, was
}

func span(from, to int64) *roaring64.Bitmap {
	set := roaring64.New()
	if from < to {
		set.AddRange(uint64(from), uint64(to))
	}
	return set
}

// round is a round of all tables that the pipeline has ever had rows in. tables are those with new files, in the order of
// Round.Tables; empty: none has any.
func (a *amender) round(tables []RoundFile) *Round {
	if len(tables) == 0 {
		tables = []RoundFile{{Table: a.d.Primary}, {Table: a.d.DeadLetters}}
	}
	now := a.d.Now().UnixMilli()
	r := &Round{ID: uuid.Must(uuid.NewV7()).String(), Pipeline: a.cfg.Name, Version: Version, Seen: a.ledger.Edit, AtMS: now, OldestMS: now, Tables: tables}
	for _, t := range a.ledger.Tables {
		if !slices.ContainsFunc(tables, func(f RoundFile) bool { return f.Table == t.Ident }) {
			r.Tables = slices.Insert(r.Tables, len(r.Tables)-1, RoundFile{Table: t.Ident, Routed: true})
		}
	}
	for _, t := range tables {
		for _, f := range t.Files {
			r.OldestMS = min(r.OldestMS, f.CreatedMS)
		}
	}
	return r
}

// land commits a round and returns its number; 0: it did not land. An error beside a number says that the round, which did
// what the words tell, is not finished yet.
func (a *amender) land(ctx context.Context, r *Round, did string) (int64, error) {
	l, err := a.committer.Edit(ctx, r)
	if l == nil {
		return 0, err
	}
	if err != nil {
		err = fmt.Errorf("round %d %s, but is not finished; a loader or the next command finishes it: %w", l.Number, did, err)
	}
	return l.Number, err
}

// editTries is how often a round is planned anew when loaders or another edit came in between.
const editTries = 10

// again carries out try until the table does not move on meanwhile.
func (a *amender) again(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := a.begin(ctx)
		if err == nil {
			err = try()
		}
		if !errors.Is(err, ErrFenced) || n == editTries {
			return err
		}
		a.d.Log.Info("the table moved on; planning again", "reason", err)
		if err := a.committer.Wait(ctx, n); err != nil {
			return err
		}
	}
}

// partitions are those of the pipeline's topics that a person has chosen, with their topic ids; no topic means all.
func (a *amender) partitions(ctx context.Context, topic string, numbers []int32) ([]source.Partition, map[string]string, error) {
	all, err := a.d.Topics.Partitions(ctx, a.cfg.Source)
	if err != nil {
		return nil, nil, err
	}
	left := map[int32]bool{}
	for _, n := range numbers {
		left[n] = true
	}
	var out []source.Partition
	for _, p := range all {
		if (topic == "" || p.Topic == topic) && (len(numbers) == 0 || slices.Contains(numbers, p.Partition)) {
			out = append(out, p)
			delete(left, p.Partition)
		}
	}
	if len(left) > 0 || len(out) == 0 {
		return nil, nil, fmt.Errorf("pipeline %s reads no topic %q with partitions %v; it reads %v", a.cfg.Name, topic, slices.Sorted(maps.Keys(left)), topicsOf(all))
	}
	ids, err := a.d.Topics.TopicIDs(ctx, topicsOf(out))
	if err != nil {
		return nil, nil, fmt.Errorf("asking Kafka for topic ids: %w", err)
	}
	return out, ids, nil
}

// Position is where in a partition: at its beginning, at its end, at an offset, or at the first record with a timestamp.
type Position struct {
	Earliest, Latest bool
	Offset           int64
	Time             time.Time
}

// resolve says which offset a position is in each partition.
func (a *amender) resolve(ctx context.Context, p Position, ps []source.Partition, marks map[source.Partition]source.Watermarks) (map[source.Partition]int64, error) {
	if !p.Time.IsZero() {
		at, err := a.d.Topics.OffsetsForTime(ctx, ps, p.Time)
		if err != nil {
			return nil, fmt.Errorf("asking Kafka for the offsets at %s: %w", p.Time.Format(time.RFC3339), err)
		}
		return at, nil
	}
	at := map[source.Partition]int64{}
	for _, x := range ps {
		switch {
		case p.Earliest:
			at[x] = marks[x].Low
		case p.Latest:
			at[x] = marks[x].High
		default:
			at[x] = p.Offset
		}
	}
	return at, nil
}
