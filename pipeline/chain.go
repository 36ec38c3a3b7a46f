package pipeline

import (
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
)

// chain is what is done to decoded rows, one thing after the other, until they have all columns but those of the audit. Loaders,
// dry runs, replays, backfills and checks all have their rows from it, so what a row becomes does not depend on who brings it.
//
// A chain belongs to one goroutine: it keeps memory from batch to batch.
type chain struct {
	changes *changes.Unwrapper // nil: records are rows
	program *cleanse.Program
	joins   *enrich.Program // nil: there are none
	// cleansed: the batch has been through the steps, and waits for a lookup.
	cleansed bool
}

// lookupsOf says what a chain joins rows with.
type lookupsOf struct {
	named func(name string) *enrich.Lookup
	now   func() time.Time // nil: no row waits for a lookup
}

// chainProblem is a setting of a pipeline that does not fit the columns.
type chainProblem struct {
	Path    string // of the setting, below that of its pipeline: cleanse[3].cast.to
	Message string
	Hint    string
}

func (p chainProblem) Error() string {
	if p.Hint == "" {
		return p.Path + ": " + p.Message
	}
	return fmt.Sprintf("%s: %s (%s)", p.Path, p.Message, p.Hint)
}

// compileChain checks the settings against the columns that decoding gives; key are those of the record's key among them
// (schemas.Decoder.KeyRow). The error joins all problems.
func compileChain(row, key *batch.Type, cfg *configs.Pipeline, l lookupsOf) (*chain, error) {
	c, problems := compileChainAll(row, key, cfg, l)
	var errs []error
	for _, p := range problems {
		errs = append(errs, p)
	}
	return c, errors.Join(errs...)
}

// compileChainAll is compileChain with every problem found; the chain is nil if there is one.
func compileChainAll(row, key *batch.Type, cfg *configs.Pipeline, l lookupsOf) (*chain, []chainProblem) {
	var unwrap *changes.Unwrapper
	if cfg.Decode.Changes != nil {
		if key == nil && cfg.Decode.Key != nil {
			key = batch.StructOf() // not known yet
		}
		var err error
		if unwrap, err = changes.New(*cfg.Decode.Changes, row, key); err != nil {
			return nil, []chainProblem{{"decode.changes", err.Error(), ""}}
		}
		row = unwrap.Row()
	}
	program, list := cleanse.CompileAll(row, cfg.Cleanse)
	var problems []chainProblem
	for _, x := range list {
		path := fmt.Sprintf("cleanse[%d]", x.Step)
		if x.Field != "" {
			path += "." + x.Field
		}
		problems = append(problems, chainProblem{path, x.Message, x.Hint})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	c := &chain{changes: unwrap, program: program}
	if len(cfg.Enrich) == 0 {
		return c, nil
	}
	named := l.named
	if named == nil {
		named = func(string) *enrich.Lookup { return nil }
	}
	joins, wrong := enrich.Compile(program.Row(), cfg.Enrich, enrich.Options{Lookup: named, Parse: parseRow, Now: l.now})
	for _, x := range wrong {
		path := fmt.Sprintf("enrich[%d]", x.Join)
		if x.Field != "" {
			path += "." + x.Field
		}
		problems = append(problems, chainProblem{path, x.Message, x.Hint})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	c.joins = joins
	return c, nil
}

// parseRow makes values of text, by the rules of the step default: a batch with one row.
func parseRow(fields []batch.Field, texts []string) (*batch.Batch, error) {
	b := batch.New(&batch.Records{}, batch.StructOf(fields...))
	steps := make([]configs.Step, len(fields))
	for i, f := range fields {
		steps[i].Default = &configs.DefaultStep{Columns: []string{f.Name}, Value: texts[i]}
		b.Root.Children[i].AppendNull()
	}
	b.Root.AppendStruct()
	b.AppendRow(0, 0)
	p, err := cleanse.Compile(b.Root.Type, steps)
	if err != nil {
		return nil, err
	}
	return b, p.Apply(b)
}

// Apply brings a batch of the row type that the chain was compiled for through it. An error means that the batch cannot be used,
// not that a record is bad; but after one of type *enrich.Wait it is called again, with the same batch, when the lookup may have what
// rows wait for. What is said of memory at cleanse.Program.Apply holds here too.
func (c *chain) Apply(b *batch.Batch) error {
	if !c.cleansed && c.changes != nil {
		if err := c.changes.Apply(b); err != nil {
			return err
		}
	}
	if !c.cleansed {
		if err := c.program.Apply(b); err != nil {
			return err
		}
	}
	c.cleansed = false
	if c.joins == nil {
		return nil
	}
	err := c.joins.Apply(b)
	var w *enrich.Wait
	c.cleansed = errors.As(err, &w)
	return err
}

// forget says that the batch that waits was given up.
func (c *chain) forget() {
	if c.cleansed = false; c.joins != nil {
		c.joins.Forget()
	}
}

// counts says how rows fared in the joins since the last call.
func (c *chain) counts() []enrich.JoinCounts {
	if c.joins == nil {
		return nil
	}
	return c.joins.Counts()
}

// Row is the row type behind the chain.
func (c *chain) Row() *batch.Type {
	if c.joins == nil {
		return c.program.Row()
	}
	return c.joins.Row()
}

// Dedups are the states of the deduplicate steps, in order.
func (c *chain) Dedups() []*cleanse.Dedup { return c.program.Dedups() }

// Explain lists the expressions of the steps in order.
func (c *chain) Explain() []cleanse.Explained { return c.program.Explain() }
