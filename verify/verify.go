// Package verify proves the accounting identity of a lake table: for every topic partition, each offset of the
// committed range is exactly one of a row, a filtered record, a dead letter, or a gap that Kafka itself shows. It
// builds the sets of offsets from data files and round objects, never from counters, and needs no broker.
package verify

import (
	"context"
	"errors"
	"fmt"
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
	Rows      int64  `json:"rows"` // of all tables
	Filtered  int64  `json:"filtered"`
	Dead      int64  `json:"dead_letters"`
	Gaps      int64  `json:"gaps"`
	Removed   int64  `json:"removed"` // rows that a rewind, a backfill, retention or forget has taken away
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
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"`
	Snapshot int64  `json:"snapshot"`
	Rounds   int64  `json:"rounds"`
	Pending  int    `json:"pending_rounds"`
	Files    int    `json:"files"`
	// Routed are the tables that rows were routed to, with the rows that the pipeline has in each.
	Routed     []Routed    `json:"routed_tables,omitempty"`
	Partitions []Partition `json:"partitions"`
	Problems   []Problem   `json:"problems"`
}

// Routed is a table that rows were routed to.
type Routed struct {
	Table string `json:"table"`
	// Value is what the table was named after; empty: the configuration names it.
	Value string `json:"value,omitempty"`
	Rows  int64  `json:"rows"`
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
	rec    table.Record
	known  bool
	rows   *offsets // of the primary table
	others map[string]*place
	pipeline.Decisions
	wrong bool // a problem was found
}

// place is what was found of an account in a table other than the primary.
type place struct {
	rows   *offsets
	unborn *roaring64.Bitmap // rows of pending rounds, which need not be in the table yet
	ghosts *roaring64.Bitmap // rows that pending rounds take away, which may be in the table still
}

type accountKey = pipeline.EpochKey

type verifier struct {
	in       Input
	report   *Report
	accounts map[accountKey]*account
	// settled: all tables were read at one moment. listed: they are those that the ledger lists.
	settled, listed bool
	// unread: a round object could not be read, so what it decided is not known.
	unread bool
}

// Run verifies one pipeline's tables as they are now; loaders may go on meanwhile. An error means that it could not
// look; what it found wrong is in the report.
func Run(ctx context.Context, in Input) (*Report, error) {
	v := &verifier{in: in, accounts: map[accountKey]*account{}, report: &Report{Pipeline: in.Pipeline, Table: in.Primary.String(), Partitions: []Partition{}, Problems: []Problem{}}}
	prim, ledger, others, err := v.bases(ctx)
	if err != nil {
		return nil, err
	}
	v.report.Snapshot, v.report.Rounds, v.report.Pending = prim.Snapshot, ledger.Number, len(ledger.Pending)
	for k, r := range ledger.Records {
		v.known(k, r)
	}
	for _, p := range ledger.Past {
		v.known(p.Key, p.Record)
	}
	if err := v.rounds(ctx, prim.UUID, ledger, others); err != nil {
		return nil, err
	}
	if err := v.files(ctx, in.Primary, prim.Snapshot, "", func(a *account) *offsets { return a.rows }); err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.base == nil {
			continue
		}
		marked := ""
		if o.id == in.DeadLetters {
			marked = pipeline.ColumnReplayedRound
		}
		if err := v.files(ctx, o.id, o.base.Snapshot, marked, func(a *account) *offsets { return a.other(o.id.String()).rows }); err != nil {
			return nil, err
		}
	}
	v.judge()
	for _, t := range ledger.Tables {
		r := Routed{Table: t.Ident.String(), Value: t.Value}
		for _, a := range v.accounts {
			r.Rows += size(a.other(r.Table).rows.set)
		}
		v.report.Routed = append(v.report.Routed, r)
	}
	return v.report, nil
}

// other is a table that is not the primary, as it was read; base is nil if there is none.
type other struct {
	id      table.Ident
	base    *table.Base
	applied table.Applied
}

// tries is how often all tables are read until none changed meanwhile.
const tries = 5

// bases reads all tables at one moment, as far as loaders let it: the others before the primary, so that whatever rounds they
// have the primary has as well, and again behind it. Which routed tables there are, the primary's ledger says.
func (v *verifier) bases(ctx context.Context) (prim *table.Base, l *table.Ledger, others []other, err error) {
	if _, l, err = v.primary(ctx); err != nil {
		return nil, nil, nil, err
	}
	for range tries {
		ids := v.otherTables(l)
		if others, err = v.others(ctx, ids); err != nil {
			return nil, nil, nil, err
		}
		if prim, l, err = v.primary(ctx); err != nil {
			return nil, nil, nil, err
		}
		again, err := v.others(ctx, ids)
		if err != nil {
			return nil, nil, nil, err
		}
		v.listed = slices.Equal(ids, v.otherTables(l))
		if v.settled = v.listed && slices.EqualFunc(others, again, same); v.settled {
			break
		}
	}
	if !v.listed {
		return nil, nil, nil, fmt.Errorf("table %s: loaders kept adding routed tables while they were read: try again", v.in.Primary)
	}
	return prim, l, others, nil
}

func (v *verifier) primary(ctx context.Context) (*table.Base, *table.Ledger, error) {
	o, err := v.base(ctx, v.in.Primary)
	if err != nil {
		return nil, nil, err
	}
	if o.base == nil {
		return nil, nil, fmt.Errorf("table %s: %w", v.in.Primary, table.ErrNoTable)
	}
	l, err := table.ParseLedger(v.in.Pipeline, o.base.Props)
	if err != nil {
		return nil, nil, err
	}
	if l == nil {
		return nil, nil, fmt.Errorf("table %s has no offsets of pipeline %q: nothing was committed to it yet, or they were removed", v.in.Primary, v.in.Pipeline)
	}
	return o.base, l, nil
}

// otherTables are the dead letters and the tables that the ledger lists.
func (v *verifier) otherTables(l *table.Ledger) []table.Ident {
	ids := []table.Ident{v.in.DeadLetters}
	for _, t := range l.Tables {
		ids = append(ids, t.Ident)
	}
	return ids
}

func (v *verifier) others(ctx context.Context, ids []table.Ident) ([]other, error) {
	all := make([]other, len(ids))
	var err error
	for i, id := range ids {
		if all[i], err = v.base(ctx, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func same(a, b other) bool {
	return a.base == nil && b.base == nil || a.base != nil && b.base != nil && a.base.UUID == b.base.UUID && a.base.Snapshot == b.base.Snapshot
}

func (v *verifier) base(ctx context.Context, id table.Ident) (other, error) {
	o := other{id: id}
	s, err := v.in.Catalog.Open(ctx, id)
	if errors.Is(err, table.ErrNoTable) {
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("opening table %s: %w", id, err)
	}
	b, err := s.Load(ctx)
	if errors.Is(err, table.ErrNoTable) {
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("reading table %s: %w", id, err)
	}
	o.base = b
	o.applied, err = table.ParseApplied(v.in.Pipeline, b.Props)
	return o, err
}

func newAccount() *account {
	return &account{rows: newOffsets(), others: map[string]*place{}, Decisions: pipeline.NewDecisions()}
}

// other is what was found in a table that is not the primary.
func (a *account) other(id string) *place {
	p := a.others[id]
	if p == nil {
		p = &place{rows: newOffsets(), unborn: roaring64.New(), ghosts: roaring64.New()}
		a.others[id] = p
	}
	return p
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

// rounds takes in what round objects say of routed, filtered, dead-lettered and gap offsets. others say up to which number
// they have the rounds' files.
func (v *verifier) rounds(ctx context.Context, uuid string, l *table.Ledger, others []other) error {
	objs := &pipeline.RoundObjects{Store: v.in.Objects, Root: v.in.Root, Pipeline: v.in.Pipeline}
	fold, decided, err := objs.Decided(ctx, uuid, l)
	if err != nil {
		return err
	}
	if fold != nil {
		for i := range fold.Epochs {
			v.account(fold.Epochs[i].Key, fold.Epochs[i].Epoch).Fold(&fold.Epochs[i])
		}
	}
	pending := map[int64]bool{}
	for _, p := range l.Pending {
		pending[p.Number] = true
	}
	for _, p := range decided {
		n := p.Number
		r, err := objs.Round(ctx, uuid, p.ID)
		if errors.Is(err, objects.ErrRetry) || ctx.Err() != nil {
			return fmt.Errorf("reading the object of round %d (%s): %w", n, p.ID, err)
		}
		if err != nil {
			v.unread = true
			v.problem(Problem{Kind: Unreadable, Table: v.in.Primary.String(), Message: fmt.Sprintf("the object of committed round %d (%s): %v", n, p.ID, err)})
			continue
		}
		// The other tables may lack a pending round, and one that was finished while the tables were being read.
		unborn := map[string]bool{}
		for _, o := range others {
			ours := o.applied.UUID == uuid
			unborn[o.id.String()] = (!ours || n > o.applied.Number) && (pending[n] || !v.settled && ours)
		}
		for i := range r.Moves {
			v.move(&r.Moves[i], unborn)
		}
		for i := range r.Edits {
			v.edit(&r.Edits[i], unborn)
		}
	}
	return nil
}

// move takes in one partition of a round. unborn says which tables need not have it yet.
func (v *verifier) move(m *pipeline.Move, unborn map[string]bool) {
	k := accountKey{Key: m.Key, Epoch: m.From.Epoch}
	a := v.account(k.Key, k.Epoch)
	decide := func(into *roaring64.Bitmap, more *pipeline.Offsets, id, what string) {
		v.offsets(a, Twice, v.in.Primary.String(), k, roaring64.And(into, &more.Bitmap), what)
		into.Or(&more.Bitmap)
		if unborn[id] {
			a.other(id).unborn.Or(&more.Bitmap)
		}
	}
	for _, o := range m.Filtered {
		decide(a.Filtered, o, "", "filtered by two rounds")
	}
	for _, o := range m.Dead {
		decide(a.Dead, o, v.in.DeadLetters.String(), "a dead letter in two rounds")
	}
	for id, o := range m.Routed {
		decide(a.RoutedTo(id), o, id, "routed to table "+id+" by two rounds")
	}
	if m.Gaps != nil {
		decide(a.Gaps, m.Gaps, "", "a gap in two rounds")
	}
}

// edit takes in a round that changed what was decided before it.
func (v *verifier) edit(e *pipeline.Edit, unborn map[string]bool) {
	a := v.account(e.Key, e.Epoch)
	changed := e.Changed()
	dead := v.in.DeadLetters.String()
	said := func(id string) *roaring64.Bitmap {
		if id == dead {
			return a.Dead
		}
		return a.RoutedTo(id)
	}
	for id := range unborn {
		// Until it is applied, the table has what it had.
		if unborn[id] {
			a.other(id).ghosts.Or(roaring64.And(said(id), changed))
			if id == dead && e.Purged != nil {
				a.other(id).ghosts.Or(&e.Purged.Bitmap)
			}
		}
		a.other(id).unborn.AndNot(changed)
	}
	a.Edit(e)
	for id := range unborn {
		if unborn[id] {
			a.other(id).unborn.Or(roaring64.And(said(id), changed))
		}
	}
}

func (v *verifier) problem(p Problem) { v.report.Problems = append(v.report.Problems, p) }

// offsets notes a problem with some offsets of an account, if there are any.
func (v *verifier) offsets(a *account, kind, id string, k accountKey, set *roaring64.Bitmap, message string) {
	if !set.IsEmpty() {
		a.wrong = true
		v.problem(Problem{Kind: kind, Table: id, Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch, Ranges: Ranges(set), Message: message})
	}
}
