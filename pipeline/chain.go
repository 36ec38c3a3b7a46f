package pipeline

import (
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
)

// chain is what is done to decoded rows, one thing after the other, until they have all columns but those of the audit. Loaders,
// dry runs, replays, backfills and checks all have their rows from it, so what a row becomes does not depend on who brings it.
//
// A chain belongs to one goroutine: it keeps memory from batch to batch.
type chain struct {
	program *cleanse.Program
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

// compileChain checks the settings against the columns that decoding gives. The error joins all problems.
func compileChain(row *batch.Type, cfg *configs.Pipeline) (*chain, error) {
	c, problems := compileChainAll(row, cfg)
	var errs []error
	for _, p := range problems {
		errs = append(errs, p)
	}
	return c, errors.Join(errs...)
}

// compileChainAll is compileChain with every problem found; the chain is nil if there is one.
func compileChainAll(row *batch.Type, cfg *configs.Pipeline) (*chain, []chainProblem) {
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
	return &chain{program: program}, nil
}

// Apply brings a batch of the row type that the chain was compiled for through it. An error means that the batch cannot be used,
// not that a record is bad. What is said of memory at cleanse.Program.Apply holds here too.
func (c *chain) Apply(b *batch.Batch) error { return c.program.Apply(b) }

// Row is the row type behind the chain.
func (c *chain) Row() *batch.Type { return c.program.Row() }

// Dedups are the states of the deduplicate steps, in order.
func (c *chain) Dedups() []*cleanse.Dedup { return c.program.Dedups() }

// Explain lists the expressions of the steps in order.
func (c *chain) Explain() []cleanse.Explained { return c.program.Explain() }
