// Package verify proves the accounting identity of a lake table: for every topic partition, each offset of the
// committed range is exactly one of a row, a filtered record, a dead letter, or a gap that Kafka itself shows. It
// builds the sets of offsets from data files and round objects, never from counters, and needs no broker.
package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// Catalog is what verify asks of a catalog.
type Catalog interface {
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
}

// Input says what to verify.
type Input struct {
	Pipeline    string
	Primary     table.Ident
	DeadLetters table.Ident
	Catalog     Catalog
	Objects     objects.Store
	Root        string // of the warehouse
}

// Range is offsets [First, Next).
type Range struct {
	First int64 `json:"first"`
	Next  int64 `json:"next"`
}

func (r Range) String() string {
	if r.Next == r.First+1 {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Next-1)
}

// Partition is the account of one topic partition in one epoch.
type Partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Epoch     int32  `json:"epoch"`
	First     int64  `json:"first"`
	Next      int64  `json:"next"` // committed are the offsets [First, Next)
	Rows      int64  `json:"rows"`
	Filtered  int64  `json:"filtered"`
	Dead      int64  `json:"dead_letters"`
	Gaps      int64  `json:"gaps"`
	Removed   int64  `json:"removed"` // rows that a rewind, a backfill or retention has taken away
}

// The kinds of problems.
const (
	Lost        = "lost"        // committed, but nowhere
	Duplicated  = "duplicated"  // more than one row
	Uncommitted = "uncommitted" // a row beyond what is committed, or of an unknown partition
	Twice       = "twice"       // decided in two ways: row and filtered, say
	Counter     = "counter"     // the ledger's counters differ from the sets
	Unreadable  = "unreadable"  // a file or round object is missing or broken
)

// Problem is one thing that is wrong.
type Problem struct {
	Kind      string  `json:"kind"`
	Table     string  `json:"table"`
	Topic     string  `json:"topic,omitempty"`
	Partition int32   `json:"partition"`
	Epoch     int32   `json:"epoch"`
	Ranges    []Range `json:"ranges,omitempty"`
	Message   string  `json:"message"`
}

func (p Problem) String() string {
	if p.Topic == "" {
		return fmt.Sprintf("%s: %s: %s", p.Kind, p.Table, p.Message)
	}
	var rs []string
	for i, r := range p.Ranges {
		if i == 20 {
			rs = append(rs, fmt.Sprintf("and %d more ranges", len(p.Ranges)-i))
			break
		}
		rs = append(rs, r.String())
	}
	return fmt.Sprintf("%s: %s: %s-%d epoch %d offsets %s: %s", p.Kind, p.Table, p.Topic, p.Partition, p.Epoch, strings.Join(rs, ", "), p.Message)
}

// Report is the outcome.
type Report struct {
	Pipeline   string      `json:"pipeline"`
	Table      string      `json:"table"`
	Snapshot   int64       `json:"snapshot"`
	Rounds     int64       `json:"rounds"`
	Pending    int         `json:"pending_rounds"`
	Files      int         `json:"files"`
	Partitions []Partition `json:"partitions"`
	Problems   []Problem   `json:"problems"`
}

// OK reports whether every offset is accounted for exactly once.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Err is nil when the report is OK, else an error that names the first problems.
func (r *Report) Err() error {
	if r.OK() {
		return nil
	}
	var errs []error
	for i, p := range r.Problems {
		if i == 5 {
			errs = append(errs, fmt.Errorf("and %d more problems", len(r.Problems)-i))
			break
		}
		errs = append(errs, errors.New(p.String()))
	}
	return errors.Join(errs...)
}

// account is what was found of one partition and epoch.
type account struct {
	rec      table.Record
	known    bool
	rows     *offsets // of the primary table
	deadRows *offsets // of the dead-letter table
	pipeline.Decisions
	unborn *roaring64.Bitmap // dead letters of pending rounds, which need not be in their table yet
	ghosts *roaring64.Bitmap // dead letters that pending rounds take away, which may be in their table still
	wrong  bool              // a problem was found
}

type accountKey = pipeline.EpochKey

type verifier struct {
	in       Input
	report   *Report
	accounts map[accountKey]*account
	// settled: both tables were read at one moment.
	settled bool
	// unread: a round object could not be read, so what it decided is not known.
	unread bool
}

// Run verifies one pipeline's tables as they are now; loaders may go on meanwhile. An error means that it could not
// look; what it found wrong is in the report.
func Run(ctx context.Context, in Input) (*Report, error) {
	v := &verifier{in: in, accounts: map[accountKey]*account{}, report: &Report{Pipeline: in.Pipeline, Table: in.Primary.String(), Partitions: []Partition{}, Problems: []Problem{}}}
	prim, dead, applied, err := v.bases(ctx)
	if err != nil {
		return nil, err
	}
	if prim == nil {
		return nil, fmt.Errorf("table %s: %w", in.Primary, table.ErrNoTable)
	}
	ledger, err := table.ParseLedger(in.Pipeline, prim.Props)
	if err != nil {
		return nil, err
	}
	if ledger == nil {
		return nil, fmt.Errorf("table %s has no offsets of pipeline %q: nothing was committed to it yet, or they were removed", in.Primary, in.Pipeline)
	}
	v.report.Snapshot, v.report.Rounds, v.report.Pending = prim.Snapshot, ledger.Number, len(ledger.Pending)
	for k, r := range ledger.Records {
		v.known(k, r)
	}
	for _, p := range ledger.Past {
		v.known(p.Key, p.Record)
	}
	if applied.UUID != prim.UUID {
		applied.Number = 0
	}
	if err := v.rounds(ctx, prim.UUID, ledger, applied); err != nil {
		return nil, err
	}
	if err := v.files(ctx, in.Primary, prim.Snapshot, "", func(a *account) *offsets { return a.rows }); err != nil {
		return nil, err
	}
	if dead != nil {
		if err := v.files(ctx, in.DeadLetters, dead.Snapshot, pipeline.ColumnReplayedRound, func(a *account) *offsets { return a.deadRows }); err != nil {
			return nil, err
		}
	}
	v.judge()
	return v.report, nil
}

// tries is how often both tables are read until neither changed meanwhile.
const tries = 5

// bases reads both tables at one moment, as far as loaders let it: the dead letters before the primary, so that whatever
// rounds they have the primary has as well, and again behind it.
func (v *verifier) bases(ctx context.Context) (prim, dead *table.Base, applied table.Applied, err error) {
	for range tries {
		if dead, applied, err = v.base(ctx, v.in.DeadLetters); err != nil {
			return nil, nil, applied, err
		}
		if prim, _, err = v.base(ctx, v.in.Primary); err != nil || prim == nil {
			return nil, nil, applied, err
		}
		again, _, err := v.base(ctx, v.in.DeadLetters)
		if err != nil {
			return nil, nil, applied, err
		}
		if same(dead, again) {
			v.settled = true
			break
		}
	}
	return prim, dead, applied, nil
}

func same(a, b *table.Base) bool {
	return a == nil && b == nil || a != nil && b != nil && a.UUID == b.UUID && a.Snapshot == b.Snapshot
}

func (v *verifier) base(ctx context.Context, id table.Ident) (*table.Base, table.Applied, error) {
	var a table.Applied
	s, err := v.in.Catalog.Open(ctx, id)
	if errors.Is(err, table.ErrNoTable) {
		return nil, a, nil
	}
	if err != nil {
		return nil, a, fmt.Errorf("opening table %s: %w", id, err)
	}
	b, err := s.Load(ctx)
	if errors.Is(err, table.ErrNoTable) {
		return nil, a, nil
	}
	if err != nil {
		return nil, a, fmt.Errorf("reading table %s: %w", id, err)
	}
	a, err = table.ParseApplied(v.in.Pipeline, b.Props)
	return b, a, err
}

func newAccount() *account {
	return &account{rows: newOffsets(), deadRows: newOffsets(), Decisions: pipeline.NewDecisions(), unborn: roaring64.New(), ghosts: roaring64.New()}
}

func (v *verifier) known(k table.Key, r table.Record) {
	a := newAccount()
	a.rec, a.known = r, true
	v.accounts[accountKey{Key: k, Epoch: r.Epoch}] = a
}

func (v *verifier) account(k table.Key, epoch int32) *account {
	a := v.accounts[accountKey{Key: k, Epoch: epoch}]
	if a == nil {
		a = newAccount()
		v.accounts[accountKey{Key: k, Epoch: epoch}] = a
	}
	return a
}

// rounds takes in what round objects say of filtered, dead-lettered and gap offsets. applied says up to which number the
// dead-letter table has the rounds' files.
func (v *verifier) rounds(ctx context.Context, uuid string, l *table.Ledger, applied table.Applied) error {
	objs := &pipeline.RoundObjects{Store: v.in.Objects, Root: v.in.Root, Pipeline: v.in.Pipeline}
	ids, err := objs.Committed(ctx, uuid)
	if err != nil {
		return fmt.Errorf("listing committed rounds: %w", err)
	}
	pending := map[int64]bool{}
	for _, p := range l.Pending {
		ids[p.Number], pending[p.Number] = p.ID, true
	}
	for _, n := range slices.Sorted(maps.Keys(ids)) {
		if n > l.Number {
			continue // committed after the primary was read
		}
		r, err := objs.Round(ctx, uuid, ids[n])
		if errors.Is(err, objects.ErrRetry) || ctx.Err() != nil {
			return fmt.Errorf("reading the object of round %d (%s): %w", n, ids[n], err)
		}
		if err != nil {
			v.unread = true
			v.problem(Problem{Kind: Unreadable, Table: v.in.Primary.String(), Message: fmt.Sprintf("the object of committed round %d (%s): %v", n, ids[n], err)})
			continue
		}
		// A pending round may lack its dead letters; so may one that was finished while the tables were being read.
		unborn := n > applied.Number && (pending[n] || !v.settled && applied.UUID == uuid)
		for i := range r.Moves {
			v.move(&r.Moves[i], unborn)
		}
		for i := range r.Edits {
			v.edit(&r.Edits[i], unborn)
		}
	}
	return nil
}

func (v *verifier) move(m *pipeline.Move, unborn bool) {
	k := accountKey{Key: m.Key, Epoch: m.From.Epoch}
	a := v.account(k.Key, k.Epoch)
	decide := func(into *roaring64.Bitmap, more *pipeline.Offsets, what string) {
		v.offsets(a, Twice, v.in.Primary, k, roaring64.And(into, &more.Bitmap), what)
		into.Or(&more.Bitmap)
	}
	for _, o := range m.Filtered {
		decide(a.Filtered, o, "filtered by two rounds")
	}
	for _, o := range m.Dead {
		decide(a.Dead, o, "a dead letter in two rounds")
		if unborn {
			a.unborn.Or(&o.Bitmap)
		}
	}
	if m.Gaps != nil {
		decide(a.Gaps, m.Gaps, "a gap in two rounds")
	}
}

// edit takes in a round that changed what was decided before it.
func (v *verifier) edit(e *pipeline.Edit, unborn bool) {
	a := v.account(e.Key, e.Epoch)
	changed := e.Changed()
	if unborn {
		// Until it is applied, the dead-letter table has what it had.
		a.ghosts.Or(roaring64.And(a.Dead, changed))
		if e.Purged != nil {
			a.ghosts.Or(&e.Purged.Bitmap)
		}
	}
	a.unborn.AndNot(changed)
	a.Edit(e)
	if unborn {
		a.unborn.Or(roaring64.And(a.Dead, changed))
	}
}

func (v *verifier) problem(p Problem) { v.report.Problems = append(v.report.Problems, p) }

// offsets notes a problem with some offsets of an account, if there are any.
func (v *verifier) offsets(a *account, kind string, t table.Ident, k accountKey, set *roaring64.Bitmap, message string) {
	if !set.IsEmpty() {
		a.wrong = true
		v.problem(Problem{Kind: kind, Table: t.String(), Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch, Ranges: ranges(set), Message: message})
	}
}
