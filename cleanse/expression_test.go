package cleanse

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
)

// drawBool and its like draw expressions of a type that kernels know, over the columns of kernelRow.
func drawBool(t *rapid.T, depth int) string {
	op := func(ops ...string) string { return rapid.SampledFrom(ops).Draw(t, "op") }
	all := []string{"==", "!=", "<", "<=", ">", ">="}
	kind := rapid.IntRange(0, 12).Draw(t, "bool")
	if depth == 0 {
		kind = min(kind, 9)
	}
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"b", "rb", "true"}).Draw(t, "leaf")
	case 1, 2:
		return fmt.Sprintf("%s %s %s", drawInt(t, depth), op(all...), drawInt(t, depth))
	case 3:
		return fmt.Sprintf("%s %s %s", drawFloat(t, depth), op(all...), drawFloat(t, depth))
	case 4:
		return fmt.Sprintf("%s %s %s", drawText(t), op(all...), drawText(t))
	case 5:
		return fmt.Sprintf("%s %s null", rapid.SampledFrom([]string{"i", "s", "d", "b", "at", "dec", "a.x"}).Draw(t, "nullable"), op("==", "!="))
	case 6:
		return fmt.Sprintf("%s in [1, 2, -1]", drawInt(t, depth))
	case 7:
		return fmt.Sprintf("%s in ['a', '']", drawText(t))
	case 8:
		if rapid.Bool().Draw(t, "date") {
			return fmt.Sprintf("day %s timestamp('2018-12-04T00:00:00Z')", op(all...))
		}
		return fmt.Sprintf("%s %s %s", rapid.SampledFrom([]string{"at", "rat", "timestamp('2018-12-04T00:00:00Z')"}).Draw(t, "time"), op(all...),
			rapid.SampledFrom([]string{"at", "timestamp('2018-12-04T00:00:00Z')", "timestamp('1970-01-01T00:00:00.000001+01:00')"}).Draw(t, "time"))
	case 9:
		return fmt.Sprintf("dec %s %s", op("<", "<=", ">", ">="), rapid.SampledFrom([]string{"decimal('0.5')", "0", "decimal(-3)", "dec", "decimal('12.5')"}).Draw(t, "decimal"))
	case 10:
		return fmt.Sprintf("%s.%s('a')", drawText(t), op("startsWith", "endsWith", "contains", "matches"))
	case 11:
		return fmt.Sprintf("!(%s)", drawBool(t, depth-1))
	}
	return fmt.Sprintf("(%s %s %s)", drawBool(t, depth-1), op("&&", "||"), drawBool(t, depth-1))
}

func drawInt(t *rapid.T, depth int) string {
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "int") == 0 {
		return fmt.Sprintf("(%s %s %s)", drawInt(t, depth-1), rapid.SampledFrom([]string{"+", "-", "*", "/", "%"}).Draw(t, "op"), drawInt(t, depth-1))
	}
	return rapid.SampledFrom([]string{"i", "ri", "n", "a.x", "0", "1", "-1", "9223372036854775807", "size(s)", "size(rs)"}).Draw(t, "int")
}

func drawFloat(t *rapid.T, depth int) string {
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "float") == 0 {
		return fmt.Sprintf("(%s %s %s)", drawFloat(t, depth-1), rapid.SampledFrom([]string{"+", "-", "*", "/"}).Draw(t, "op"), drawFloat(t, depth-1))
	}
	return rapid.SampledFrom([]string{"d", "rd", "fl", "0.0", "1.5", "-2.0"}).Draw(t, "float")
}

func drawText(t *rapid.T) string {
	return rapid.SampledFrom([]string{"s", "rs", "a.t", "'a'", "''", "'ba'"}).Draw(t, "text")
}

func kernelRow() *batch.Type {
	f := func(name string, t *batch.Type, required bool) batch.Field {
		return batch.Field{Name: name, Type: t, Required: required}
	}
	p := batch.Prim
	return batch.StructOf(f("i", p(batch.Long), false), f("ri", p(batch.Long), true), f("n", p(batch.Int), false), f("d", p(batch.Double), false),
		f("rd", p(batch.Double), true), f("fl", p(batch.Float), false), f("s", p(batch.String), false), f("rs", p(batch.String), true), f("b", p(batch.Boolean), false),
		f("rb", p(batch.Boolean), true), f("at", p(batch.TimestampTZ), false), f("rat", p(batch.Timestamp), true), f("day", p(batch.Date), false),
		f("dec", batch.DecimalOf(10, 2), false), f("a", batch.StructOf(f("x", p(batch.Long), false), f("t", p(batch.String), true)), false))
}

// appendRandom appends a slot of random content.
func appendRandom(t *rapid.T, r *batch.Records, c *batch.Column, required bool) {
	if !required && rapid.IntRange(0, 3).Draw(t, "null") == 0 {
		c.AppendNull()
		return
	}
	switch c.Type.Store() {
	case batch.StoreBool:
		c.AppendBool(rapid.Bool().Draw(t, "bool"))
	case batch.StoreInt32:
		c.AppendInt32(rapid.SampledFrom([]int32{0, 1, -1, 17869, math.MaxInt32}).Draw(t, "int32"))
	case batch.StoreInt64:
		c.AppendInt64(rapid.SampledFrom([]int64{0, 1, -1, 2, 50, 1250, 1543881600_000000, math.MaxInt64, math.MinInt64}).Draw(t, "int64"))
	case batch.StoreFloat32:
		c.AppendFloat32(rapid.SampledFrom([]float32{0, 1.5, float32(math.NaN())}).Draw(t, "float32"))
	case batch.StoreFloat64:
		c.AppendFloat64(rapid.SampledFrom([]float64{0, 1.5, -2, math.NaN(), math.Inf(1)}).Draw(t, "float64"))
	case batch.StoreView:
		c.AppendView(r.AppendString(rapid.SampledFrom([]string{"", "a", "ba", "ab", "ä"}).Draw(t, "text")))
	case batch.StoreStruct:
		for i, f := range c.Type.Fields {
			appendRandom(t, r, c.Children[i], f.Required)
		}
		c.AppendStruct()
	}
}

// TestKernelsAgreeWithCEL evaluates random expressions as kernels and in cel-go: values, nulls and errors must be the
// same for every row.
func TestKernelsAgreeWithCEL(t *testing.T) {
	row := kernelRow()
	evaluated := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawBool(t, 3)
		c := &compiler{root: newTree(row), prog: &Program{}, kind: "filter"}
		ch, ok := c.checkExpression(text)
		if !ok {
			return // some draws compare a literal with null
		}
		k, ok := c.compileExpression(text, ch)
		if !ok || k.kernel == nil {
			t.Fatalf("%s has no kernels: %+v", text, c.prog.explain)
		}
		prog, err := ch.env.Program(ch.ast, cel.EvalOptions(cel.OptOptimize))
		if err != nil {
			t.Fatal(err)
		}
		slow := &expression{text: text, prog: prog, row: celRow{typ: row}}

		r := &batch.Records{}
		b := batch.New(r, row)
		for i := range rapid.IntRange(1, 12).Draw(t, "rows") {
			appendRandom(t, r, b.Root, true)
			b.AppendRow(i, 0)
		}
		x := &run{b: b, root: b.Root}
		v := k.kernel.eval(x)
		slow.row.bind(x)
		for i := range b.Rows {
			st := stOK
			if v.states != nil {
				st = v.states[i]
			}
			want, wantState := slow.evalCEL(i)
			evaluated++
			switch {
			case min(st, stError) != wantState && !(st == stNull && wantState == stNullError):
				t.Fatalf("%s, row %d: kernels give state %d, cel-go %d (%s)", text, i, st, wantState, slow.failure)
			case st >= stError && !strings.Contains(slow.failure, kernelErrors[st]):
				t.Fatalf("%s, row %d: kernels fail with %q, cel-go with %q", text, i, kernelErrors[st], slow.failure)
			case st == stOK && types.Bool(v.bools[i]) != want:
				t.Fatalf("%s, row %d: kernels give %v, cel-go %v", text, i, v.bools[i], want)
			}
		}
	})
	if evaluated < 100 {
		t.Fatalf("only %d values were compared", evaluated)
	}
}
