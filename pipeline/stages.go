package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/partitioner"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/views"
)

// stages brings records from bytes to open files. The row type may widen while it runs: then the table gets the columns
// first, open files are finished, and later ones have them.
type stages struct {
	cfg     *configs.Pipeline
	d       Deps
	decoder *schemas.Decoder
	b       *batch.Batch

	chain   *chain
	audit   *audit
	primary sink
	dead    sink
	letters *deadLetters
	routes  *routes     // nil: all rows go to the primary
	times   *eventTimes // nil: nobody asks for the rows' event times

	// sampling: what is tried is only a sample, and no row waits for a lookup.
	sampling bool
	// hold lets a moment pass while rows wait for a lookup, and serves rebalances; nil: nobody but this waits for the pipeline.
	hold func(ctx context.Context, wait time.Duration) error

	def table.Def // of the primary; routed tables have the same but for the name
	// topic gets dead letters besides the table; nil: none does.
	topic LetterTopic

	primaryTable, deadTable table.Ident
}

// Idents names the tables of a pipeline.
func Idents(cfg *configs.Config, p *configs.Pipeline) (primary, deadLetters table.Ident) {
	ident := func(name string) table.Ident {
		if ns, n, ok := strings.Cut(name, "."); ok {
			return table.Ident{Namespace: ns, Name: n}
		}
		return table.Ident{Namespace: cfg.Catalog.Namespace, Name: name}
	}
	if p.SQL != nil { // the name of the kind of database stands where that of a namespace is
		return table.Ident{Namespace: p.SQL.Kind(), Name: p.SQL.Table}, table.Ident{Namespace: p.SQL.Kind(), Name: p.DeadLetters.Table}
	}
	primary = ident(p.Table.Name)
	if p.DeadLetters.Table == "" {
		return primary, table.Ident{Namespace: primary.Namespace, Name: primary.Name + "_dead_letters"}
	}
	return primary, ident(p.DeadLetters.Table)
}

// newStages makes the stages and the tables.
func newStages(ctx context.Context, stop <-chan struct{}, cfg *configs.Pipeline, d Deps) (*stages, error) {
	rules, err := cfg.Fingerprint()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStop, err)
	}
	s := &stages{cfg: cfg, d: d, letters: newDeadLetters(cfg.Name, Version+" "+rules), primaryTable: d.Primary, deadTable: d.DeadLetters}
	// What the table is already, decides which schemas fit.
	info, err := d.Catalog.Info(ctx, s.primaryTable)
	if err != nil && !errors.Is(err, table.ErrNoTable) {
		return nil, fmt.Errorf("reading table %s: %w", s.primaryTable, err)
	}
	s.primary.info = info
	if cfg.Table.Route != nil {
		if s.routes, err = newRoutes(ctx, cfg, d); err != nil {
			return nil, err
		}
	}
	if err = barrier(ctx, stop, cfg, d); err != nil {
		return nil, err
	}
	if s.decoder, err = d.NewDecoder(s.accepts); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStop, err)
	}
	if err := s.bootstrap(ctx, stop); err != nil {
		return nil, err
	}
	dead := table.Def{Ident: s.deadTable, Row: deadLetterRow(), PartitionBy: deadLetterPartitioning()}
	if err := s.ensure(ctx, &s.dead, dead, nil); err != nil {
		return nil, err
	}
	return s, s.rebuild(ctx)
}

// rebuild makes everything that follows from the decoder's row type.
func (s *stages) rebuild(ctx context.Context) error {
	row := s.decoder.Row()
	chain, err := compileChain(row, s.decoder.KeyRow(), s.cfg, s.lookups())
	if err != nil {
		return fmt.Errorf("%w: pipeline %s: the steps do not fit the columns: %w", ErrStop, s.cfg.Name, err)
	}
	full, err := auditType(chain.Row(), s.cfg.Include)
	if err != nil {
		return fmt.Errorf("%w: pipeline %s: %w", ErrStop, s.cfg.Name, err)
	}
	parts, err := partitioner.Parse(s.cfg.Table.PartitionBy, full)
	if err != nil {
		return fmt.Errorf("%w: pipeline %s: table.partition_by: %w", ErrStop, s.cfg.Name, err)
	}
	def := table.Def{Ident: s.primaryTable, Row: full, PartitionBy: parts, SortBy: SortFields(s.cfg.Table.SortBy), Properties: s.cfg.Table.Properties}
	if err := s.ensure(ctx, &s.primary, def, def.SortBy); err != nil {
		return err
	}
	s.def = def
	if s.routes != nil {
		if err := s.routes.rebuild(ctx, s); err != nil {
			return err
		}
	}
	if s.d.replay != nil {
		s.d.replay.apply(chain)
	}
	if s.cfg.Table.Complete != nil {
		if s.times, err = newEventTimes(s.primary.info, full); err != nil {
			return fmt.Errorf("%w: pipeline %s: table.complete: %w", ErrStop, s.cfg.Name, err)
		}
	}
	if s.d.Views != nil {
		if err := s.d.Views.Bind(full); err != nil {
			return fmt.Errorf("%w: pipeline %s: %w", ErrStop, s.cfg.Name, err)
		}
	}
	s.chain, s.audit = chain, newAudit(chain.Row(), full, s.cfg.Include)
	s.b = batch.New(&batch.Records{}, row)
	return nil
}

// SortFields reads the setting table.sort_by.
func SortFields(list []string) (out []table.SortField) {
	for _, s := range list {
		name, dir, _ := strings.Cut(s, " ")
		out = append(out, table.SortField{Source: name, Desc: strings.EqualFold(strings.TrimSpace(dir), "desc")})
	}
	return out
}

// run brings records into the open files and returns what was decided about each. The batch is good until the next call.
func (s *stages) run(ctx context.Context, r *batch.Records, ts *tracks) (*batch.Batch, error) {
	s.b.Reset(r)
	b := s.b
	root := b.Root
	defer func() { b.Root = root }() // the decoder appends to its own columns again, also after a batch that was given up
	err := s.decoder.Decode(r, b)
	if err != nil {
		return nil, err
	}
	for _, x := range ts.runs {
		if x.t.stopped != nil {
			for i, rec := range b.Record {
				if int(rec) >= x.from && int(rec) < x.to {
					b.Fate[i] = batch.Filtered // not accounted for, not written
				}
			}
		}
	}
	if err := s.through(ctx, b); err != nil {
		return nil, err
	}
	s.audit.apply(b, ts.runs)
	if err := s.primary.refuse(b); err != nil {
		return nil, err
	}
	if s.d.Database != nil {
		s.d.Database.Refuse(b)
	}
	if s.routes == nil {
		err = s.primary.append(ctx, b)
	} else {
		err = s.routes.append(ctx, s, b, ts)
	}
	if err == nil && s.times != nil {
		s.times.observe(b, ts.runs, s.d.Now())
	}
	if err == nil && s.d.Views != nil {
		s.d.Views.Observe(b, seen(ts.runs), s.d.Now())
	}
	if err == nil {
		err = s.d.limit.take(s.d.Now(), b, ts)
	}
	if err != nil {
		return nil, err
	}
	if len(b.Rejects) > 0 && s.d.replay == nil { // a letter that is refused again stays where it is
		if err := s.dead.append(ctx, s.letters.rows(b, ts, s.d.Now())); err != nil {
			return nil, err
		}
		if err := s.send(ctx, b, ts); err != nil {
			return nil, err
		}
	}
	if s.d.Rows != nil {
		s.d.Rows(b)
	}
	return b, nil
}

// seen are the partitions of a fetch, for the views.
func seen(runs []run) []views.Partition {
	out := make([]views.Partition, len(runs))
	for i, x := range runs {
		out[i] = views.Partition{Topic: x.t.key.Topic, Partition: x.t.key.Partition, Epoch: x.t.from.Epoch, From: x.from, To: x.to}
	}
	return out
}

// begin takes in what the table says when a round begins. In the middle of one, when partitions are assigned, tables that have
// rows already go on being named after the values of those: the round is fenced if others have given the names away.
func (s *stages) begin(l *table.Ledger) {
	if s.routes != nil && slices.ContainsFunc(s.routes.sinks, func(k *sink) bool { return k.used }) {
		return
	}
	if s.routes != nil && !slices.Equal(s.routes.router.ledger, l.Tables) {
		s.routes.router.listed(l.Tables)
		s.d.Recorder.Routed(s.routes.reached(l.Tables))
	}
}

// prepare has every schema of the records at hand, widening the row type where one needs it. again: what the steps
// remember of the open round is gone, so the round must be dropped and read again.
func (s *stages) prepare(ctx context.Context, r *batch.Records) (again bool, err error) {
	changed, err := s.decoder.Prepare(ctx, r)
	if changed {
		s.d.Log.Info("the schema changed", "columns", s.decoder.Row().String())
		again = s.remembers()
		err = errors.Join(s.rebuild(ctx), err)
	}
	return again, err
}

// bootstrap waits until it is known what the columns are: the table cannot be made without them.
func (s *stages) bootstrap(ctx context.Context, stop <-chan struct{}) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		topics := s.cfg.Source.Topics
		if s.cfg.Source.Pattern != "" {
			ps, err := s.d.Topics.Partitions(ctx, s.cfg.Source)
			if err != nil {
				return fmt.Errorf("asking Kafka which topics match %q: %w", s.cfg.Source.Pattern, err)
			}
			topics = topicsOf(ps)
		}
		err := s.decoder.Bootstrap(ctx, topics)
		if err != nil && !errors.Is(err, schemas.ErrRegistry) {
			s.d.Log.Warn("some schemas cannot be used; their records become dead letters", "error", err)
		}
		if s.decoder.Known() {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("no schema is registered yet for the topics %v; the table is made when there is one", topics)
		}
		s.d.Recorder.Waiting(err.Error())
		s.d.Log.Warn("waiting for a schema", "error", err, "next_try", wait)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-stop:
			err = errStopped
		case <-t.C:
			err = nil
		}
		if t.Stop(); err != nil {
			return err
		}
	}
}

// errStopped: told to stop before there was anything to do.
var errStopped = errors.New("stopped while waiting")

func topicsOf(ps []source.Partition) []string {
	names := map[string]bool{}
	for _, p := range ps {
		names[p.Topic] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// keyRow are the columns of keys, as far as they are known.
func (s *stages) keyRow() *batch.Type {
	if s.decoder == nil { // its first row type is asked about while it is made
		return nil
	}
	return s.decoder.KeyRow()
}

// accepts refuses a row type that the configuration or the table cannot take, so that one bad version of a schema makes
// dead letters and does not stop the others.
func (s *stages) accepts(row *batch.Type) error {
	if s.cfg.Decode.Changes != nil && s.decoder != nil && !s.decoder.Known() {
		return nil // the table is made when the columns of values are known too
	}
	chain, err := compileChain(row, s.keyRow(), s.cfg, s.lookups())
	if err != nil {
		return err
	}
	full, err := auditType(chain.Row(), s.cfg.Include)
	if err != nil {
		return err
	}
	if s.primary.info.Row == nil {
		return nil
	}
	if s.routes != nil {
		if err := s.routes.accept(full); err != nil {
			return err
		}
	}
	merged, err := schemas.Merge(s.primary.info.Row, full)
	if evolve := s.cfg.Table.Evolve; err == nil && evolve != nil && !*evolve && !merged.Equal(s.primary.info.Row) {
		return fmt.Errorf("evolution is switched off (table.evolve), and table %s would have to change from %s to %s", s.primaryTable, s.primary.info.Row, merged)
	}
	return err
}
