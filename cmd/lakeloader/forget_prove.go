package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lakeloader/lakeloader/current"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// tables are those that the rows may be in.
func (x *forgetter) tables(ctx context.Context) ([]table.Ident, error) {
	ids, err := x.u.rowTables(ctx, x.p.Name, x.deps.Primary)
	if err != nil {
		return nil, err
	}
	ids = append(ids, x.deps.DeadLetters)
	if k := x.p.Table.Current; k != nil {
		ids = append(ids, named(x.u.cfg, k.Table))
	}
	return ids, nil
}

// unhide writes files anew in which delete files of other engines hide rows.
func (x *forgetter) unhide(ctx context.Context, rep *forgotten) error {
	all, err := x.u.tables(ctx)
	if err != nil {
		return err
	}
	ids, err := x.tables(ctx)
	if err != nil {
		return err
	}
	commit := &jobs.Rewriter{Tables: x.u.lake.catalog, Now: x.u.now, Wait: table.Backoff(2 * time.Second), OrphanAge: pipeline.OrphanAge}
	for _, t := range all {
		if t.Ident == x.deps.DeadLetters || !slices.Contains(ids, t.Ident) {
			continue
		}
		info, err := x.u.lake.catalog.Info(ctx, t.Ident)
		if err != nil {
			return err
		}
		m, err := forget.Bind(x.keys, info.Row, pipeline.ParseTexts)
		if errors.Is(err, forget.ErrNoColumn) {
			continue // it is named among those that were not searched
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Ident, err)
		}
		h := &jobs.Unhider{Tables: x.u.lake.catalog, Merge: x.u.merger(t), Commit: commit.Commit, Which: func(ctx context.Context, files []table.File, deletes []string) ([]table.File, error) {
			return m.Hidden(ctx, x.u.lake.objects, files, deletes)
		}}
		n, err := h.Run(ctx, t.Ident, x.options.DryRun)
		rep.Hidden += n
		if err != nil {
			return err
		}
	}
	return nil
}

// expire lets go of all snapshots before the tables' present ones. Each table is moved on first: the snapshot of the last move is needed for
// recovery, and lists the files that it took out.
func (x *forgetter) expire(ctx context.Context, rep *forgotten) error {
	n, before, err := pipeline.Reaffirm(ctx, x.p, x.deps)
	if err != nil {
		return err
	}
	if x.p.Table.Current != nil {
		a := x.u.applier(x.p)
		if _, err := a.Forget(ctx, nil, pipeline.ParseTexts, current.Edit{Number: n, Before: before}, false); err != nil {
			return err
		}
		if err := a.MoveOn(ctx); err != nil {
			return fmt.Errorf("table %s: %w", x.p.Table.Current.Table, err)
		}
	}
	ids, err := x.tables(ctx)
	if err != nil {
		return err
	}
	e := &jobs.Expirer{Tables: x.u.lake.catalog, Delete: x.u.remove, Now: x.u.now, Wait: table.Backoff(2 * time.Second), Last: 1}
	for _, id := range ids {
		done, err := e.Run(ctx, id)
		if errors.Is(err, table.ErrNoTable) {
			continue
		}
		if done != nil {
			rep.Expired, rep.Deleted = rep.Expired+len(done.Expired), rep.Deleted+done.Deleted
		}
		if err != nil {
			return fmt.Errorf("expiring the snapshots of table %s: %w", id, err)
		}
	}
	return nil
}

// prove looks for what still holds rows or values.
func (x *forgetter) prove(ctx context.Context, rep *forgotten) error {
	ids, err := x.tables(ctx)
	if err != nil {
		return err
	}
	p := &forget.Prover{Lake: x.u.lake.catalog, Objects: x.u.lake.objects, List: folders{x.u.lake}.List,
		Age: time.Duration(x.u.cfg.Jobs.Expire.Age), OrphanAge: time.Duration(x.u.cfg.Jobs.Orphans.Age)}
	looks := map[table.Ident]forget.Looks{}
	for _, id := range ids {
		l, unread, err := x.looks(ctx, id)
		if errors.Is(err, table.ErrNoTable) {
			continue
		}
		if errors.Is(err, forget.ErrNoColumn) {
			continue // it is named among those that were not searched
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", id, err)
		}
		proof, err := p.Table(ctx, id, l)
		if err != nil {
			return err
		}
		if unread != nil {
			proof.Unread = unread()
			for i := range proof.Holders {
				if h := &proof.Holders[i]; h.Main {
					h.Why = lettersHeld(proof.Unread)
				}
			}
		}
		looks[id] = l
		rep.Proofs, rep.Holders = append(rep.Proofs, proof), append(rep.Holders, proof.Holders...)
	}
	rounds, err := pipeline.RoundsHolding(ctx, x.p, x.deps, looks)
	if err != nil {
		return err
	}
	rep.Holders = append(rep.Holders, rounds...)
	if x.p.Table.Current != nil {
		states, err := x.u.applier(x.p).Remembering(ctx, x.keys, pipeline.ParseTexts)
		if err != nil {
			return err
		}
		for _, o := range states {
			rep.Holders = append(rep.Holders, forget.Holder{Table: x.p.Table.Current.Table, URI: o.URI, Until: o.Modified.Add(p.OrphanAge),
				Why: "it remembers a delete of the person's key: run the command again; if a run of job current left it, job orphans deletes it"})
		}
	}
	rep.Proved = len(rep.Holders) == 0 && len(rep.Unsearched) == 0 && (rep.Current == nil || rep.Current.Unsearched == "")
	return nil
}

// lettersHeld says of a file of the table with dead letters what helps.
func lettersHeld(unread *forget.Unread) string {
	why := "the table has it: run the command with --yes; where dead letters only have the values, look at them, then take --dead-letters remove or ignore"
	if unread == nil {
		return why
	}
	return why + "; what cannot be read may be anybody's: look at it, then take --dead-letters ignore, or dlq purge"
}

// looks finds rows in the files of a table. unread is for a table with dead letters: what of it could not be read, once it was looked into.
func (x *forgetter) looks(ctx context.Context, id table.Ident) (l forget.Looks, unread func() *forget.Unread, err error) {
	if id == x.deps.DeadLetters {
		l, unread, err := pipeline.LettersOf(ctx, x.p, x.deps, x.keys, x.options.Letters)
		if l == nil && err == nil {
			err = table.ErrNoTable
		}
		return l, unread, err
	}
	info, err := x.u.lake.catalog.Info(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	l, err = forget.Bind(x.keys, info.Row, pipeline.ParseTexts)
	return l, nil, err
}

// elsewhere is what may have the rows and is not reached.
func (x *forgetter) elsewhere() (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	say("Kafka: the topics of the pipeline have the records as long as they keep them; a rewind, a backfill or a new table loads them again")
	p := x.p
	for i := range x.u.cfg.Pipelines {
		if o := &x.u.cfg.Pipelines[i]; o.Name != p.Name && slices.ContainsFunc(o.Source.Topics, func(t string) bool { return slices.Contains(p.Source.Topics, t) }) {
			say("pipeline %s reads the same topics: run the command for it too", o.Name)
		}
	}
	if p.DeadLetters.Topic != "" {
		say("topic %s: dead letters that were sent there", p.DeadLetters.Topic)
	}
	for i := range p.Outlets {
		say("route %s: what was sent to its receiver", p.Outlets[i].Name)
	}
	for i := range x.u.cfg.Windows {
		if w := &x.u.cfg.Windows[i]; w.Pipeline == p.Name {
			say("window %s: its topic and its state; it recalculates with: lakeloader job run window-%s", w.Name, w.Name)
		}
	}
	for i := range x.u.cfg.Aggregates {
		if a := &x.u.cfg.Aggregates[i]; named(x.u.cfg, a.Source) == x.deps.Primary || p.Table.Current != nil && named(x.u.cfg, a.Source) == named(x.u.cfg, p.Table.Current.Table) {
			say("aggregate %s: its next run recalculates the days that changed; its older snapshots, and what it published, stay as they are", a.Name)
		}
	}
	for i := range x.u.cfg.Lookups {
		if l := &x.u.cfg.Lookups[i]; l.Table != nil && named(x.u.cfg, l.Table.Name) == x.deps.Primary {
			say("lookup %s: rows of other pipelines that were joined with it", l.Name)
		}
	}
	return list
}

func (r *forgotten) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "TABLE\tFILES\tBYTES\tROWS")
	for _, t := range r.Tables {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\n", t.Table, t.Files, t.Bytes, t.Rows)
	}
	if r.Current != nil {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\n", r.Current.Table, r.Current.Files, r.Current.Bytes, r.Current.Rows)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s, %s\n", count(r.Rows, "row"), count(r.Letters, "dead letter"))
	if r.Current != nil && r.Current.Deleted > 0 {
		fmt.Fprintf(w, "%s in %s\n", count(r.Current.Deleted, "remembered delete"), r.Current.Table)
	}
	if r.Hidden > 0 {
		fmt.Fprintf(w, "%s in which delete files hide rows\n", count(r.Hidden, "file"))
	}
	for _, o := range r.Offsets {
		fmt.Fprintf(w, "  of %s-%d: %s between %d and %d\n", o.Topic, o.Partition, count(o.Count, "offset"), o.First, o.Last)
	}
	r.printDoubts(w)
	changed := r.Done || r.Current != nil && r.Current.Done || r.Hidden > 0 && !r.planned
	some := r.Hidden > 0 || len(r.Offsets) > 0 || r.Current != nil && r.Current.Rows+int64(r.Current.Deleted) > 0
	switch {
	case r.Done:
		fmt.Fprintf(w, "Done, in round %d.\n", r.Round)
	case changed:
		fmt.Fprintln(w, "Done.")
	case some && r.planned:
		fmt.Fprintln(w, "Nothing was changed: add --yes to do it.")
	default:
		fmt.Fprintln(w, "There is nothing to do.")
	}
	if r.Expired > 0 {
		fmt.Fprintf(w, "%s expired, %s deleted.\n", count(r.Expired, "snapshot"), count(r.Deleted, "object"))
	}
	if changed && !r.asked {
		fmt.Fprintln(w, "Older snapshots have the rows until they expire: --prove says which, and until when.")
	}
	return r.printProof(w)
}

func (r *forgotten) printDoubts(w io.Writer) {
	for i, l := range r.Doubtful {
		if i == 20 {
			fmt.Fprintf(w, "  and %d more\n", len(r.Doubtful)-i)
			break
		}
		if i == 0 {
			fmt.Fprintln(w, "Dead letters with the values of a key that may be somebody else's: look with dlq show, then take --dead-letters remove or ignore:")
		}
		fmt.Fprintf(w, "  %s\n", l)
	}
	printUnread(w, "", r.Unread)
	for _, u := range r.Unsearched {
		fmt.Fprintf(w, "Not searched: %s\n", u)
	}
	if r.Current != nil && r.Current.Unsearched != "" {
		fmt.Fprintf(w, "Not searched: table %s: %s\n", r.Current.Table, r.Current.Unsearched)
	}
}

// proved is what --dead-letters ignore leaves of a proof, too.
func (r *forgotten) proved() string {
	const all = "Proved: no object of these tables holds the rows"
	if slices.ContainsFunc(r.Proofs, func(p *forget.Proof) bool { return p.Unread != nil }) {
		return all + ", but for dead letters that could not be read and, as --dead-letters ignore says, were looked at."
	}
	return all + "."
}

func printUnread(w io.Writer, of string, u *forget.Unread) {
	if u != nil {
		fmt.Fprintf(w, "%s%s could not be read, and searched for text and numbers only; the first is %s, %s\n", of, count(u.Letters, "dead letter"), u.First, u.Why)
	}
}

func (r *forgotten) printProof(w io.Writer) error {
	if r.asked {
		fmt.Fprintln(w)
		for _, p := range r.Proofs {
			fmt.Fprintf(w, "%s: %s of %s opened, %d bytes; %s\n", p.Table, count(p.Opened, "file"), count(p.Objects, "object"), p.Bytes, count(p.Snapshots, "snapshot"))
			printUnread(w, "  ", p.Unread)
		}
		for _, h := range r.Holders {
			rows := ""
			if h.Rows > 0 {
				rows = ", " + count(h.Rows, "row")
			}
			until := ""
			if !h.Until.IsZero() {
				until = " (not before " + h.Until.UTC().Format(time.RFC3339) + ")"
			}
			fmt.Fprintf(w, "  held: %s%s: %s%s\n", h.URI, rows, h.Why, until)
		}
		if r.Proved {
			fmt.Fprintln(w, r.proved())
		}
	}
	if len(r.Elsewhere) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nNot reached:\n  %s\n", strings.Join(r.Elsewhere, "\n  "))
	return err
}
