package cleanse

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
)

// maxCost bounds what an expression may cost for one row, in CEL's own units: about one for each operation, and a tenth for
// each byte of text that is gone through. It is some 100 ms of CPU; a row that needs more breaks the step like any other
// error. Only expressions that go through lists or maps can cost more than their length, so only these are counted.
const maxCost = 1_000_000

// programOptions are those under which a checked expression runs.
func programOptions(ch *checked) []cel.ProgramOption {
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if loops(ch.ast.NativeRep().Expr()) {
		opts = append(opts, cel.CostLimit(maxCost))
	}
	return opts
}

// loops says whether an expression goes through lists or maps (all, exists, map, filter).
func loops(x ast.Expr) bool {
	found := false
	ast.PreOrderVisit(x, ast.NewExprVisitor(func(e ast.Expr) { found = found || e.Kind() == ast.ComprehensionKind }))
	return found
}

// checkCost refuses what a record could make cost without bound, and what costs too much for every record.
func (c *compiler) checkCost(ch *checked) bool {
	ok := true
	ast.PreOrderVisit(ch.ast.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		args := call.Args()
		if len(args) == 0 {
			return
		}
		if last := args[len(args)-1]; call.FunctionName() == "matches" && last.Kind() != ast.LiteralKind {
			c.problem("expression", "write it as text", "the pattern of matches comes from the row: records could bring patterns that take long")
			ok = false
		}
		if call.FunctionName() == "replace" && len(args) >= 2 && args[1].Kind() != ast.LiteralKind {
			c.problem("expression", "write it as text", "the replacement of replace comes from the row: records could make the result many times as long")
			ok = false
		}
	}))
	if !ok {
		return false
	}
	estimate, err := ch.env.EstimateCost(ch.ast, unknownSizes{})
	if err != nil {
		c.problem("expression", "", "its cost cannot be estimated: %s", err)
		return false
	}
	if estimate.Min > maxCost {
		c.problem("expression", "split it into several steps", "%s", fmt.Sprintf("it costs at least %d for every row, more than %d", estimate.Min, maxCost))
		return false
	}
	return true
}

// unknownSizes leaves the sizes of columns open.
type unknownSizes struct{}

func (unknownSizes) EstimateSize(cost.AstNode) *cost.SizeEstimate { return nil }

func (unknownSizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
