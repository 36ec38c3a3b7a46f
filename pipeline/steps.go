package pipeline

import (
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Steps are what becomes of decoded rows, without joins: for who reads a pipeline's topics beside it, and must come to the same
// rows at any time. What a join gives depends on when it is asked.
type Steps struct{ c *chain }

// CompileSteps checks the settings against the columns that decoding gives; key are those of the record's key among them.
func CompileSteps(row, key *batch.Type, cfg *configs.Pipeline) (*Steps, error) {
	alone := *cfg
	alone.Enrich = nil
	c, err := compileChain(row, key, &alone, lookupsOf{})
	if err != nil {
		return nil, err
	}
	return &Steps{c}, nil
}

// Row is the row type behind the steps.
func (s *Steps) Row() *batch.Type { return s.c.Row() }

// Apply brings a batch of the decoder's row type through the steps. What is said of memory at cleanse.Program.Apply holds here too.
func (s *Steps) Apply(b *batch.Batch) error { return s.c.Apply(b) }
