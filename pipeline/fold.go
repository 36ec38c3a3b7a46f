package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Fold is what the committed rounds up to a number decided, all together, as the later ones left it. It takes the place of
// their objects, of which there would be one or two more with every commit.
//
// An old reader must not miss what a new fold has taken in. So readers list the marks of committed rounds before the folds; a
// fold is durable before anything that it stands for is removed; and a round is removed only when a fold that stands for it
// is older than FoldAge itself, which no reader takes. Folds never take in a round that is pending, or younger than FoldAge.
type Fold struct {
	Number int64       `json:"number"`
	Rounds int64       `json:"rounds"` // with objects, that it stands for
	Epochs []FoldEpoch `json:"epochs"`
}

// FoldAge is how old a round must be to be folded, and a fold to take the place of what it stands for.
const FoldAge = 24 * time.Hour

// FoldEpoch is what was decided about one epoch of a partition: the sets of Decisions, those that are not empty.
type FoldEpoch struct {
	Key      table.Key           `json:"partition"`
	Epoch    int32               `json:"epoch"`
	Filtered *Offsets            `json:"filtered,omitempty"`
	Dead     *Offsets            `json:"dead,omitempty"`
	Gaps     *Offsets            `json:"gaps,omitempty"`
	Removed  *Offsets            `json:"removed,omitempty"`
	Purged   *Offsets            `json:"purged,omitempty"`
	Routed   map[string]*Offsets `json:"routed,omitempty"`
}

// Fold takes in what was decided before later rounds.
func (d *Decisions) Fold(e *FoldEpoch) {
	for _, x := range d.folded(e) {
		if *x.folded != nil {
			x.set.Or(&(*x.folded).Bitmap)
		}
	}
	d.route(e.Routed)
}

// folded are the sets but Routed, and where a fold has them.
func (d *Decisions) folded(e *FoldEpoch) []foldedSet {
	return []foldedSet{{d.Filtered, &e.Filtered}, {d.Dead, &e.Dead}, {d.Gaps, &e.Gaps}, {d.Removed, &e.Removed}, {d.Purged, &e.Purged}}
}

// foldedSet is a set of decisions, and where a fold has it.
type foldedSet struct {
	set    *roaring64.Bitmap
	folded **Offsets
}

// newFold folds decisions.
func newFold(number, rounds int64, all map[EpochKey]*Decisions) *Fold {
	f := &Fold{Number: number, Rounds: rounds}
	for k, d := range all {
		e := FoldEpoch{Key: k.Key, Epoch: k.Epoch}
		some := false
		for _, x := range d.folded(&e) {
			if !x.set.IsEmpty() {
				*x.folded, some = &Offsets{Bitmap: *x.set}, true
			}
		}
		for id, set := range d.Routed {
			if !set.IsEmpty() {
				if e.Routed == nil {
					e.Routed = map[string]*Offsets{}
				}
				e.Routed[id], some = &Offsets{Bitmap: *set}, true
			}
		}
		if some {
			f.Epochs = append(f.Epochs, e)
		}
	}
	slices.SortFunc(f.Epochs, func(a, b FoldEpoch) int {
		return cmp.Or(cmpKey(a.Key, b.Key), cmp.Compare(a.Epoch, b.Epoch))
	})
	return f
}

// folds lists the folds of a table, ascending by number.
func (o *RoundObjects) folds(ctx context.Context, uuid string) (numbers []int64, infos map[int64]objects.Info, err error) {
	dir := o.dir(uuid, "folded")
	list, err := o.Store.List(ctx, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("listing folded rounds: %w", err)
	}
	infos = map[int64]objects.Info{}
	for _, i := range list {
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(i.URI, dir), ".json"), 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: the name is no round number", i.URI)
		}
		numbers, infos[n] = append(numbers, n), i
	}
	slices.Sort(numbers)
	return numbers, infos, nil
}

func (o *RoundObjects) foldURI(uuid string, number int64) string {
	return o.dir(uuid, "folded") + committedName(number) + ".json"
}

// lastFold reads the last fold that a ledger with a number knows all rounds of; nil: there is none.
func (o *RoundObjects) lastFold(ctx context.Context, uuid string, number int64) (*Fold, error) {
	numbers, _, err := o.folds(ctx, uuid)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	last := numbers[len(numbers)-1]
	if last > number {
		return nil, fmt.Errorf("the rounds up to %d are folded, but the table says that %d was the last: its properties were restored from an earlier metadata file; restore the warehouse of that time too", last, number)
	}
	uri := o.foldURI(uuid, last)
	data, err := objects.Read(ctx, o.Store, uri)
	if err != nil {
		return nil, fmt.Errorf("reading folded rounds: %w", err)
	}
	f := &Fold{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	if f.Number != last {
		return nil, fmt.Errorf("%s: it is the fold up to round %d", uri, f.Number)
	}
	return f, nil
}

// FoldReport is what folding did, or would do.
type FoldReport struct {
	Number  int64 // up to which rounds are folded now
	Folded  int   // rounds
	Removed int   // objects
}

// FoldRounds folds the old rounds of a pipeline's table, and removes what earlier folds stand for. A dry run changes nothing.
// Loaders go on meanwhile. It needs no Kafka.
func FoldRounds(ctx context.Context, cfg *configs.Pipeline, d Deps, dry bool) (*FoldReport, error) {
	s, err := d.Catalog.Open(ctx, d.Primary)
	if err != nil {
		return nil, fmt.Errorf("opening table %s: %w", d.Primary, err)
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", d.Primary, err)
	}
	l, err := table.ParseLedger(cfg.Name, base.Props)
	if err != nil || l == nil {
		return &FoldReport{}, err
	}
	r, err := (&RoundObjects{Store: d.Objects, Root: d.Root, Pipeline: cfg.Name}).fold(ctx, base.UUID, l, d.Now(), dry)
	if err != nil {
		return nil, fmt.Errorf("pipeline %s, table %s: %w", cfg.Name, d.Primary, err)
	}
	return r, nil
}

func (o *RoundObjects) fold(ctx context.Context, uuid string, l *table.Ledger, now time.Time, dry bool) (*FoldReport, error) {
	marks, err := o.Store.List(ctx, o.dir(uuid, "committed"))
	if err != nil {
		return nil, fmt.Errorf("listing committed rounds: %w", err)
	}
	committed, err := o.Committed(ctx, uuid)
	if err != nil {
		return nil, fmt.Errorf("listing committed rounds: %w", err)
	}
	old, decided, err := o.decided(ctx, uuid, l, committed)
	if err != nil {
		return nil, err
	}
	r := &FoldReport{}
	if old != nil {
		r.Number = old.Number
	}
	upTo := o.foldable(uuid, marks, l, now)
	if r.Removed, err = o.removeFolded(ctx, uuid, committed, now, dry); err != nil {
		return nil, err
	}
	decided = slices.DeleteFunc(decided, func(p table.Pending) bool { return p.Number > upTo })
	if len(decided) == 0 {
		return r, nil
	}
	r.Number, r.Folded = decided[len(decided)-1].Number, len(decided)
	if dry {
		return r, nil
	}
	all, err := o.decisions(ctx, uuid, old, decided)
	if err != nil {
		return nil, err
	}
	f := newFold(r.Number, int64(r.Folded), all)
	if old != nil {
		f.Rounds += old.Rounds
	}
	data, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	if err := o.Store.Put(ctx, o.foldURI(uuid, f.Number), data); err != nil && !errors.Is(err, objects.ErrExists) { // by another run, from the same rounds
		return nil, fmt.Errorf("writing folded rounds: %w", err)
	}
	return r, nil
}

// foldable is the last number up to which no round is pending or young.
func (o *RoundObjects) foldable(uuid string, marks []objects.Info, l *table.Ledger, now time.Time) int64 {
	upTo := l.Number
	for _, p := range l.Pending {
		upTo = min(upTo, p.Number-1)
	}
	for _, m := range marks {
		n, err := strconv.ParseInt(strings.TrimPrefix(m.URI, o.dir(uuid, "committed")), 10, 64)
		if err == nil && now.Sub(m.Modified) < FoldAge {
			upTo = min(upTo, n-1)
		}
	}
	return upTo
}

// removeFolded removes the objects of committed rounds that the last fold of sufficient age stands for, and the folds before it.
func (o *RoundObjects) removeFolded(ctx context.Context, uuid string, committed map[int64]string, now time.Time, dry bool) (int, error) {
	numbers, infos, err := o.folds(ctx, uuid)
	if err != nil {
		return 0, err
	}
	aged := slices.DeleteFunc(slices.Clone(numbers), func(n int64) bool { return now.Sub(infos[n].Modified) < FoldAge })
	if len(aged) == 0 {
		return 0, nil
	}
	upTo := aged[len(aged)-1]
	var rounds, rest []string
	for _, n := range slices.Sorted(maps.Keys(committed)) {
		if n <= upTo {
			rounds, rest = append(rounds, o.dir(uuid, "rounds")+committed[n]+".json"), append(rest, o.dir(uuid, "committed")+committedName(n))
		}
	}
	for _, n := range numbers {
		if n < upTo {
			rest = append(rest, o.foldURI(uuid, n))
		}
	}
	if !dry { // a round without its mark would look like one that was never committed
		if err := objects.DeleteAll(ctx, o.Store, rounds); err != nil {
			return 0, fmt.Errorf("removing folded rounds: %w", err)
		}
		if err := objects.DeleteAll(ctx, o.Store, rest); err != nil {
			return 0, fmt.Errorf("removing the marks of folded rounds: %w", err)
		}
	}
	return len(rounds) + len(rest), nil
}

// decisions are those of a fold, if there is one, and of rounds behind it.
func (o *RoundObjects) decisions(ctx context.Context, uuid string, f *Fold, rounds []table.Pending) (map[EpochKey]*Decisions, error) {
	out := map[EpochKey]*Decisions{}
	of := func(k table.Key, epoch int32) *Decisions { return decisionsOf(out, EpochKey{k, epoch}) }
	if f != nil {
		for i := range f.Epochs {
			of(f.Epochs[i].Key, f.Epochs[i].Epoch).Fold(&f.Epochs[i])
		}
	}
	for _, p := range rounds {
		r, err := o.Round(ctx, uuid, p.ID)
		if err != nil {
			return nil, fmt.Errorf("reading the object of round %d (%s): %w", p.Number, p.ID, err)
		}
		for i := range r.Moves {
			of(r.Moves[i].Key, r.Moves[i].From.Epoch).Move(&r.Moves[i])
		}
		for i := range r.Edits {
			of(r.Edits[i].Key, r.Edits[i].Epoch).Edit(&r.Edits[i])
		}
	}
	return out, nil
}

func decisionsOf(all map[EpochKey]*Decisions, k EpochKey) *Decisions {
	if all[k] == nil {
		d := NewDecisions()
		all[k] = &d
	}
	return all[k]
}
