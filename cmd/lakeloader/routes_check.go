package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/routes"
)

// checkRoutes checks the routes of pipeline i against the columns of its table.
func checkRoutes(p *configs.Pipeline, pos *configs.Positions, i int, row *batch.Type) (problems configs.Problems) {
	for j := range p.Outlets {
		_, err := routes.Check(&p.Outlets[j], row)
		if err == nil {
			continue
		}
		path, message, hint := fmt.Sprintf("pipelines[%d].routes[%d]", i, j), err.Error(), ""
		var m *routes.Misfit
		if errors.As(err, &m) {
			path, message, hint = path+"."+m.Setting, m.Message, m.Hint
		}
		problems = append(problems, pos.Problem(path, message, hint))
	}
	return problems
}

// plannedRoute is what plan says of a route.
type plannedRoute struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Mode   string `json:"mode"`
	When   string `json:"when,omitempty"`
	// Rows are those of the sample that the route is for.
	Rows int64 `json:"rows"`
	// RowByRow says why the condition does not run over whole columns.
	RowByRow string `json:"row_by_row,omitempty"`

	sample *routes.Sample
}

// planned is a pipeline's plan with its routes.
type planned struct {
	*pipeline.PlanReport
	Routes []*plannedRoute `json:"routes,omitempty"`
}

// sampleRoutes has the routes of a pipeline count the rows of a sample.
func sampleRoutes(p *configs.Pipeline, deps *pipeline.Deps) (all []*plannedRoute) {
	for i := range p.Outlets {
		o := &p.Outlets[i]
		all = append(all, &plannedRoute{Name: o.Name, Target: o.Target(), Mode: o.Mode, When: o.When, sample: routes.NewSample(o)})
	}
	if len(all) > 0 {
		deps.Rows = func(b *batch.Batch) {
			for _, r := range all {
				r.sample.Take(b)
			}
		}
	}
	return all
}

// ended takes in what was counted.
func (r *plannedRoute) ended() error {
	r.Rows = r.sample.Rows
	if x := r.sample.Explained(); x != nil && !x.Kernels {
		r.RowByRow = x.Why
	}
	if r.sample.Err != nil {
		return fmt.Errorf("route %s: %w", r.Name, r.sample.Err)
	}
	return nil
}

func printRoutes(w io.Writer, all []*plannedRoute) {
	for i, r := range all {
		if i == 0 {
			fmt.Fprintln(w, "routes:")
		}
		when := ""
		if r.When != "" {
			when = " when " + r.When
		}
		fmt.Fprintf(w, "  %6d  %s: to %s (%s)%s\n", r.Rows, r.Name, r.Target, r.Mode, when)
		if r.RowByRow != "" {
			fmt.Fprintf(w, "          its condition runs row by row, since %s\n", r.RowByRow)
		}
	}
}
