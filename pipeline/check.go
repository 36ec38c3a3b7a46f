package pipeline

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/partitioner"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/views"
)

// Checked is what a pipeline's configuration means for records of a row type.
type Checked struct {
	Decoded *batch.Type // the columns that decoding gives
	Table   *batch.Type // the columns of the table
	Parts   []table.PartitionField
	// Expressions says how CEL expressions run.
	Expressions []cleanse.Explained
}

// Check checks pipeline i against the columns that its records have, and those of their keys among them; every problem has its place in the file.
// lookup finds lookups whose columns are known; nil where the pipeline has no joins.
func Check(cfg *configs.Config, pos *configs.Positions, i int, row, key *batch.Type, lookup func(name string) *enrich.Lookup) (*Checked, configs.Problems) {
	p := &cfg.Pipelines[i]
	at := fmt.Sprintf("pipelines[%d]", i)
	var problems configs.Problems
	chain, ps := compileChainAll(row, key, p, lookupsOf{named: lookup})
	for _, x := range ps {
		problems = append(problems, pos.Problem(at+"."+x.Path, x.Message, x.Hint))
	}
	if chain == nil {
		return nil, problems
	}
	full, err := auditType(chain.Row(), p.Include)
	if err != nil {
		return nil, append(problems, pos.Problem(at+".cleanse", err.Error(), ""))
	}
	c := &Checked{Decoded: row, Table: full, Expressions: chain.Explain()}
	for j, entry := range p.Table.PartitionBy {
		f, err := partitioner.Parse([]string{entry}, full)
		if err != nil {
			problems = append(problems, pos.Problem(fmt.Sprintf("%s.table.partition_by[%d]", at, j), err.Error(), ""))
			continue
		}
		c.Parts = append(c.Parts, f...)
	}
	if len(problems) == 0 { // together they may clash
		if _, err := partitioner.Parse(p.Table.PartitionBy, full); err != nil {
			problems = append(problems, pos.Problem(at+".table.partition_by", err.Error(), ""))
		}
	}
	if k := p.Table.Complete; k != nil && len(problems) == 0 {
		if hint, err := checkComplete(k, table.Info{Ident: table.Ident{Name: p.Table.Name}, Row: full, PartitionBy: c.Parts}); err != nil {
			problems = append(problems, pos.Problem(at+".table.complete", err.Error(), hint))
		}
	}
	columns := func(setting string, names []string) {
		for j, n := range names {
			if full.Index(n) < 0 {
				problems = append(problems, pos.Problem(fmt.Sprintf("%s.%s[%d]", at, setting, j), fmt.Sprintf("there is no column %q", n), "columns are: "+columnNames(full)))
			}
		}
	}
	var sort []string
	for _, s := range SortFields(p.Table.SortBy) {
		sort = append(sort, s.Source)
	}
	columns("table.sort_by", sort)
	columns("table.z_order", p.Table.ZOrder)
	for j, n := range p.Table.ZOrder {
		if i := full.Index(n); i >= 0 && full.Fields[i].Type.Nested() {
			problems = append(problems, pos.Problem(fmt.Sprintf("%s.table.z_order[%d]", at, j), fmt.Sprintf("column %q is a %s, which has no order", n, full.Fields[i].Type), ""))
		}
	}
	if r := p.Table.Route; r != nil {
		if err := newRouter(r, table.Ident{}, table.Ident{}, nil).bind(full); err != nil {
			problems = append(problems, pos.Problem(at+".table.route.by", err.Error(), "columns are: "+columnNames(full)))
		}
	}
	columns("files.bloom_filters", p.Files.Bloom)
	for j := range p.Views {
		set, err := views.New(p.Views[j : j+1])
		if err == nil {
			err = set.Bind(full)
		}
		if err != nil {
			problems = append(problems, pos.Problem(fmt.Sprintf("%s.views[%d]", at, j), err.Error(), "columns are: "+columnNames(full)))
		}
	}
	return c, problems
}

func columnNames(t *batch.Type) string {
	s := ""
	for i, f := range t.Fields {
		if i > 0 {
			s += ", "
		}
		s += f.Name
	}
	return s
}
