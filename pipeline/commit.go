package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/table"
)

// The exactly-once protocol.
//
// A round is one loader's consistent cut over all partitions that it owns. It is committed whole or dropped whole.
//
//  1. All files of all tables of the round are durable under unique names. Nothing is ever overwritten.
//  2. The round object is written (unless the swap itself can say everything): From and To of each partition, the
//     files of each table, and the filtered, dead-lettered and gap offsets.
//  3. One swap on the primary table adds its files, moves the offsets From -> To, gives the round the next number n,
//     and appends (n, id) to pending if it has an object. From must equal what the table says in the base of the very
//     attempt. This swap decides what each offset became; it is never decided again.
//  4. Every other table (those that rows were routed to, the dead letters) adds its files, in ascending order of rounds. Its property applied holds (primary's uuid, n,
//     snapshot), and the swap requires applied < n, or that it names an earlier primary and ours is still the present
//     one. Anyone may do it; who owns a partition of a pending round does it before its own next swap, and when idle.
//  5. committed/<n> -> id is written (never overwritten), and only then may the round leave pending, in a later swap.
//  6. Kafka's group offsets follow (in loader.go); nothing rests on them.
//
// A round with edits (Edit) changes what was decided before it: its swap takes the rows of the offsets that it names out of
// the primary table and adds their new ones; step 4 does the same to every other table. Edits follow one another: one
// that was planned before another landed is fenced.
//
// Checked against the base of every attempt in step 3, each for a reason:
//   - uuid: the table is the one that the offsets were read from;
//   - rollback: the snapshot of the last move is still main or an ancestor of it (the same in step 4);
//   - own id: a swap whose reply was lost may have landed;
//   - age: files older than half the orphan age may be deleted as orphans before they are live;
//   - From: a loader that lost its partitions, or whose partitions were rewound, is fenced;
//   - last edit: what the round's decisions rest on (the memory of deduplicate steps, the decisions to be changed) holds still.
//
// Whatever goes wrong before step 3 leaves orphan files and offsets that are read again; after it, a pending round
// that someone finishes. Files are never deleted here, since an outcome may be unknown.

// ErrFenced means that the table moved on without this loader: its round is dropped and it reads the table again.
var ErrFenced = errors.New("fenced")

// ErrStop marks errors that need a person: the pipeline stops and says why; trying again cannot help.
var ErrStop = errors.New("stopped")

// Tables opens tables for commits.
type Tables interface {
	Open(ctx context.Context, id table.Ident) (table.Store, error)
}

// Rounds keeps round objects, apart for each primary table (by its uuid: rounds are numbered per table). Both puts
// succeed when the same content is there already.
type Rounds interface {
	PutRound(ctx context.Context, uuid string, r *Round) error
	Round(ctx context.Context, uuid, id string) (*Round, error)
	PutCommitted(ctx context.Context, uuid string, number int64, id string) error
}

// Rewriter makes the files that take the place of those which hold rows of edited offsets.
type Rewriter interface {
	// Rewrite looks for rows of the offsets that round number n edits in a snapshot of a table, and says which files must
	// leave it and which, durable already, replace them. It is asked again in every attempt, and after a crash by others.
	Rewrite(ctx context.Context, id table.Ident, snapshot int64, n int64, r *Round) (remove []string, add []table.File, err error)
}

// Committer carries out the protocol for one pipeline. It is not safe for concurrent use.
type Committer struct {
	Pipeline string
	Primary  table.Ident
	Tables   Tables
	Rounds   Rounds
	Now      func() time.Time
	Wait     table.Wait
	// MadeTables is how many routed tables may be named after values.
	MadeTables int
	// OrphanAge is the age at which an orphan job may delete a file that no table knows.
	OrphanAge time.Duration
	// Audit proves that the table holds what its ledger says. It is asked when the snapshot of the last move has expired,
	// so that a rollback could not be told from an expiry.
	Audit func(ctx context.Context) error
	// Lost is told of rows that were lost with a table that somebody dropped; nil: nobody is.
	Lost func(what string)
	// Rewriter takes rows out of tables for rounds with edits.
	Rewriter Rewriter

	uuid   string          // of the primary table that files are made for; empty: of the first one that Load meets
	done   map[string]bool // pending rounds known to be finished
	stores map[table.Ident]table.Store
}

// Load reads the ledger and binds the committer to the table, for good: what a loader has at hand fits no other one, whose
// columns may have other field ids. A table without a ledger gives an empty one, but only
// if it has no rows: offsets that were lost must never be taken for a first start.
func (c *Committer) Load(ctx context.Context) (*table.Ledger, error) {
	s, err := c.open(ctx, c.Primary)
	if err != nil {
		return nil, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", c.Primary, err)
	}
	if c.uuid == "" {
		c.uuid = base.UUID
	}
	if base.UUID != c.uuid {
		return nil, c.another()
	}
	l, err := c.ledger(base)
	if err != nil {
		return nil, err
	}
	if err := c.notRolledBack(ctx, c.Primary, base, l.Move); err != nil {
		return nil, err
	}
	return l, nil
}

// another is not ErrFenced: the loader has to end, and the next one starts with the new table.
func (c *Committer) another() error {
	return fmt.Errorf("table %s was dropped and created again while it was being loaded", c.Primary)
}

func (c *Committer) open(ctx context.Context, id table.Ident) (table.Store, error) {
	if s := c.stores[id]; s != nil {
		return s, nil
	}
	s, err := c.Tables.Open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("opening table %s: %w", id, err)
	}
	if c.stores == nil {
		c.stores = map[table.Ident]table.Store{}
	}
	c.stores[id] = s
	return s, nil
}

func (c *Committer) ledger(base *table.Base) (*table.Ledger, error) {
	l, err := table.ParseLedger(c.Pipeline, base.Props)
	if err != nil {
		return nil, fmt.Errorf("%w: table %s: %w", ErrStop, c.Primary, err)
	}
	if l != nil {
		return l, nil
	}
	if base.Rows > 0 || base.Props[markerKey(c.Pipeline)] != "" {
		return nil, fmt.Errorf("%w: table %s has %d rows but no offsets of pipeline %q: it was filled by something else, or its properties were lost; "+
			"load into another table, or restore the table's properties from an earlier metadata file", ErrStop, c.Primary, base.Rows, c.Pipeline)
	}
	return &table.Ledger{Records: map[table.Key]table.Record{}}, nil
}

// markerKey is a property outside of the ledger that every move sets, so that a ledger taken away is noticed.
func markerKey(pipeline string) string { return "lakeloader.pipeline." + pipeline }

func (c *Committer) notRolledBack(ctx context.Context, id table.Ident, base *table.Base, move int64) error {
	switch {
	case move == 0 || base.IsAncestor(move):
		return nil
	case base.LeftBehind(move):
		return fmt.Errorf("%w: table %s was rolled back: its main snapshot is %d, and snapshot %d, which moved the offsets last, is no ancestor of it; "+
			"roll forward to it, or move the offsets back on purpose", ErrStop, id, base.Snapshot, move)
	}
	if err := c.Audit(ctx); err != nil {
		return fmt.Errorf("%w: snapshot %d of table %s, which moved the offsets last, has expired, and the table does not hold what its offsets say: %w", ErrStop, move, id, err)
	}
	return nil
}

// Commit carries out steps 2 to 5 for a round whose files are durable, and returns the ledger that it made.
// ErrFenced: the round is dropped for good, the ledger must be read again. ErrStop: a person is needed. Any other
// error: the outcome may be unknown; drop the round and read the ledger again, which is right in either case.
func (c *Committer) Commit(ctx context.Context, r *Round, owned map[table.Key]bool) (*table.Ledger, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := c.ready(ctx, r); err != nil {
		return nil, err
	}
	if r.needsObject() {
		point.Hit(point.BeforeRoundObject)
		if err := c.Rounds.PutRound(ctx, c.uuid, r); err != nil {
			return nil, fmt.Errorf("writing the object of round %s: %w", r.ID, err)
		}
		point.Hit(point.AfterRoundObject)
	}
	primary, err := c.open(ctx, c.Primary)
	if err != nil {
		return nil, err
	}
	var l *table.Ledger
	err = table.Commit(ctx, primary, c.Wait, func(base *table.Base) (table.Change, bool, error) {
		var ch table.Change
		var landed bool
		var err error
		l, ch, landed, err = c.step3(ctx, base, r)
		return ch, landed, err
	})
	if err != nil {
		return nil, fmt.Errorf("committing round %s to %s: %w", r.ID, c.Primary, err)
	}
	point.Hit(point.AfterSwap)
	return l, c.Finish(ctx, l, owned)
}

// present reads the ledger from a base and makes the checks that every move of it needs.
func (c *Committer) present(ctx context.Context, base *table.Base) (*table.Ledger, error) {
	if base.UUID != c.uuid {
		return nil, c.another()
	}
	l, err := c.ledger(base)
	if err != nil {
		return nil, err
	}
	return l, c.notRolledBack(ctx, c.Primary, base, l.Move)
}

// step3 makes the checks above against one base and builds the swap.
func (c *Committer) step3(ctx context.Context, base *table.Base, r *Round) (l *table.Ledger, ch table.Change, landed bool, err error) {
	if l, err = c.present(ctx, base); err != nil {
		return nil, ch, false, err
	}
	if l.CommitID == r.ID || slices.ContainsFunc(l.Pending, func(p table.Pending) bool { return p.ID == r.ID }) {
		return l, ch, true, nil
	}
	if age := c.Now().Sub(time.UnixMilli(r.OldestMS)); age > c.OrphanAge/2 {
		return nil, ch, false, fmt.Errorf("%w: its oldest file is %v old, more than half the orphan age %v", ErrFenced, age.Round(time.Second), c.OrphanAge)
	}
	if r.Seen >= 0 && r.Seen != l.Edit {
		return nil, ch, false, fmt.Errorf("%w: round %d changed what was decided about offsets of %s after this round began", ErrFenced, l.Edit, c.Primary)
	}
	next := l.Clone()
	for _, m := range r.Moves {
		now, known := l.Records[m.Key]
		if known != m.Known || known && !now.Same(m.From) {
			return nil, ch, false, fmt.Errorf("%w: %s was read from offset %d (epoch %d), but the table is at %d (epoch %d)", ErrFenced, m.Key, m.From.Next, m.From.Epoch, now.Next, now.Epoch)
		}
		next.Records[m.Key] = m.onto(now)
	}
	if err = c.list(next, r); err != nil {
		return nil, ch, false, err
	}
	next.Number++
	next.CommitID = r.ID
	if err := applyEdits(next, r); err != nil {
		return nil, ch, false, err
	}
	next.Pending = slices.DeleteFunc(next.Pending, func(p table.Pending) bool { return c.done[p.ID] })
	if len(next.Pending) < len(l.Pending) {
		point.Hit(point.BeforeLeavePending)
	}
	if r.needsObject() {
		next.Pending = append(next.Pending, table.Pending{Number: next.Number, ID: r.ID})
	}
	ch = c.move(base, next)
	ch.Add = r.Tables[0].Files
	err = c.rewrite(ctx, &ch, c.Primary, base, next.Number, r)
	point.Hit(point.BeforeSwap)
	return next, ch, false, err
}

// rewrite adds to a change what a round with edits takes out of a table.
func (c *Committer) rewrite(ctx context.Context, ch *table.Change, id table.Ident, base *table.Base, n int64, r *Round) error {
	if len(r.Edits) == 0 {
		return nil
	}
	remove, add, err := c.Rewriter.Rewrite(ctx, id, base.Snapshot, n, r)
	if err != nil {
		return fmt.Errorf("taking the rows of edited offsets out of %s: %w", id, err)
	}
	for _, f := range add {
		if age := c.Now().Sub(time.UnixMilli(f.CreatedMS)); age > c.OrphanAge/2 {
			return fmt.Errorf("%s replaces another file, but is %v old, more than half the orphan age %v", f.Path, age.Round(time.Second), c.OrphanAge)
		}
	}
	ch.Remove, ch.Add = remove, append(slices.Clone(ch.Add), add...)
	ch.Tidy = r.Tidy
	if r.Reason != "" {
		ch.Summary["lakeloader.reason"] = r.Reason
	}
	return nil
}

// applied says how far the rounds are in a table, after the checks that every base of it must pass.
func (c *Committer) applied(ctx context.Context, t RoundFile, base *table.Base) (table.Applied, error) {
	a, err := table.ParseApplied(c.Pipeline, base.Props)
	switch {
	case err != nil:
		return a, fmt.Errorf("%w: table %s: %w", ErrStop, t.Table, err)
	case a.UUID == c.uuid:
		return a, c.notRolledBack(ctx, t.Table, base, a.Snapshot)
	}
	return a, nil
}

// move builds the swap that writes a ledger whose offsets have moved.
func (c *Committer) move(base *table.Base, next *table.Ledger) table.Change {
	_, unset := next.Properties(c.Pipeline, base.Props)
	return table.Change{
		Snapshot: true,
		Unset:    unset,
		Summary:  map[string]string{"lakeloader.round": fmt.Sprint(next.Number), "lakeloader.commit-id": next.CommitID, "lakeloader.pipeline": c.Pipeline},
		Props: func(snapshot int64) map[string]string {
			next.Move = snapshot
			set, _ := next.Properties(c.Pipeline, base.Props)
			set[markerKey(c.Pipeline)] = "1"
			return set
		},
	}
}

// Finish carries out steps 4 and 5 for every pending round of l that moves an owned partition, and before it for
// all rounds with lower numbers, since tables apply rounds in ascending order.
func (c *Committer) Finish(ctx context.Context, l *table.Ledger, owned map[table.Key]bool) error {
	last := -1
	rounds := make([]*Round, len(l.Pending))
	done := map[string]bool{} // what has left pending need not be remembered
	for _, p := range l.Pending {
		if c.done[p.ID] {
			done[p.ID] = true
		}
	}
	c.done = done
	for i, p := range l.Pending {
		if c.done[p.ID] {
			continue
		}
		r, err := c.Rounds.Round(ctx, c.uuid, p.ID)
		if err != nil {
			return fmt.Errorf("reading the object of pending round %d (%s): %w", p.Number, p.ID, err)
		}
		if rounds[i] = r; r.movesAny(owned) {
			last = i
		}
	}
	for i, p := range l.Pending[:last+1] {
		if rounds[i] == nil {
			continue
		}
		for _, t := range rounds[i].Tables[1:] {
			if len(t.Files) == 0 && len(rounds[i].Edits) == 0 {
				continue
			}
			point.Hit(point.BeforeApply)
			if err := c.apply(ctx, p, rounds[i], t); err != nil {
				return fmt.Errorf("adding round %d (%s) to %s: %w", p.Number, p.ID, t.Table, err)
			}
			point.Hit(point.AfterApply)
		}
		point.Hit(point.BeforeCommitted)
		if err := c.Rounds.PutCommitted(ctx, c.uuid, p.Number, p.ID); err != nil {
			return fmt.Errorf("noting that round %d (%s) was committed: %w", p.Number, p.ID, err)
		}
		point.Hit(point.AfterCommitted)
		c.done[p.ID] = true
	}
	return nil
}

// apply is step 4 for one round and table.
func (c *Committer) apply(ctx context.Context, p table.Pending, r *Round, t RoundFile) error {
	s, err := c.open(ctx, t.Table)
	if err == nil {
		err = table.Commit(ctx, s, c.Wait, func(base *table.Base) (table.Change, bool, error) { return c.step4(ctx, p, r, t, base) })
	}
	if errors.Is(err, table.ErrNoTable) && len(t.Files) == 0 {
		return nil // it was dropped with all its rows: there are none to be taken out
	}
	return err
}

// step4 makes the checks against one base of another table and builds the swap.
func (c *Committer) step4(ctx context.Context, p table.Pending, r *Round, t RoundFile, base *table.Base) (ch table.Change, done bool, err error) {
	if t.replaced(base) {
		// Whoever dropped the table and made another has given up its rows. These would have been among them, and the new
		// table may number its columns differently.
		if c.Lost == nil {
			return ch, true, nil
		}
		c.Lost(fmt.Sprintf("%d rows of round %d went to table %s, which was dropped with all its rows and created again", rows(t.Files), p.Number, t.Table))
		return ch, true, nil
	}
	a, err := c.applied(ctx, t, base)
	if err != nil {
		return ch, false, err
	}
	if a.UUID != c.uuid {
		if pending, err := c.stillPending(ctx, p); err != nil || !pending {
			return ch, err == nil, err
		}
	} else if a.Number >= p.Number {
		return ch, true, nil
	}
	ch = table.Change{
		Add:      t.Files,
		Snapshot: true,
		Summary:  map[string]string{"lakeloader.round": fmt.Sprint(p.Number), "lakeloader.commit-id": p.ID, "lakeloader.pipeline": c.Pipeline},
		Props: func(snapshot int64) map[string]string {
			return table.Applied{UUID: c.uuid, Number: p.Number, Snapshot: snapshot}.Property(c.Pipeline)
		},
	}
	// A round with edits is applied also where there was nothing to take out: a rollback to before it could bring back rows
	// that another engine had deleted.
	return ch, false, c.rewrite(ctx, &ch, t.Table, base, p.Number, r)
}

// stillPending is asked for a table that does not say how far the rounds of our primary are in it. A loader that slept may
// come with a round that was finished long ago, before the table, or the primary too, was dropped and created again: it
// would add files that may be gone, or overwrite how far the rounds of the new primary are.
func (c *Committer) stillPending(ctx context.Context, p table.Pending) (bool, error) {
	s, err := c.open(ctx, c.Primary)
	if err != nil {
		return false, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return false, fmt.Errorf("reading table %s: %w", c.Primary, err)
	}
	if base.UUID != c.uuid {
		return false, c.another()
	}
	l, err := c.ledger(base)
	if err != nil {
		return false, err
	}
	return slices.Contains(l.Pending, p), nil
}
