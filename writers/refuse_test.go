package writers

import (
	"math"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
)

// one makes a batch of a column c from one function per row, with the fate Keep.
func one(typ *batch.Type, appends ...func(*batch.Records, *batch.Column)) *batch.Batch {
	r := &batch.Records{Mem: []byte("somewhere in an arena there is text")}
	b := batch.New(r, batch.StructOf(batch.Field{Name: "c", Type: typ}))
	for i, f := range appends {
		f(r, b.Root.Children[0])
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	return b
}

func null(_ *batch.Records, c *batch.Column) { c.AppendNull() }

func long(v int64) func(*batch.Records, *batch.Column) {
	return func(_ *batch.Records, c *batch.Column) { c.AppendInt64(v) }
}

func bytesOf(s string) func(*batch.Records, *batch.Column) {
	return func(r *batch.Records, c *batch.Column) { c.AppendView(r.AppendString(s)) }
}

// list appends a list of structs with one field x.
func list(xs ...int64) func(*batch.Records, *batch.Column) {
	return func(_ *batch.Records, c *batch.Column) {
		for _, x := range xs {
			c.Children[0].Children[0].AppendInt64(x)
			c.Children[0].AppendStruct()
		}
		c.AppendList()
	}
}

// A value that the table cannot hold is refused by its row and column; after that Append takes the rest.
func TestRefuse(t *testing.T) {
	max18 := int64(999_999_999_999_999_999)
	ten38 := "\x4b\x3b\x4c\xa8\x5a\x86\xc4\x7a\x09\x8a\x22\x40\x00\x00\x00\x00" // 10^38
	less := "\x4b\x3b\x4c\xa8\x5a\x86\xc4\x7a\x09\x8a\x22\x3f\xff\xff\xff\xff"
	minus := "\xb4\xc4\xb3\x57\xa5\x79\x3b\x85\xf6\x75\xdd\xc0\x00\x00\x00\x00"
	xs := batch.ListOf(batch.StructOf(batch.Field{Name: "x", Type: batch.DecimalOf(2, 0), Required: true}), true)
	for name, c := range map[string]struct {
		have, table *batch.Type
		required    bool
		rows        []func(*batch.Records, *batch.Column)
		bad         []int32
		step        string
		reason      string
	}{
		"decimal as int": {have: batch.DecimalOf(9, 2), rows: []func(*batch.Records, *batch.Column){long(999_999_999), long(1_000_000_000), long(-1_000_000_000), null, long(math.MinInt64)},
			bad: []int32{1, 2, 4}, step: "c", reason: "column c: a value has more digits than the type decimal(9,2)"},
		"decimal as long": {have: batch.DecimalOf(18, 0), rows: []func(*batch.Records, *batch.Column){long(max18), long(-max18), long(max18 + 1)}, bad: []int32{2}, step: "c", reason: "digits"},
		"decimal widened": {have: batch.DecimalOf(9, 0), table: batch.DecimalOf(20, 0), rows: []func(*batch.Records, *batch.Column){long(math.MaxInt64)}},
		"wide decimal": {have: batch.DecimalOf(38, 0), rows: []func(*batch.Records, *batch.Column){bytesOf(less), bytesOf(ten38), bytesOf(minus), bytesOf("short"), null},
			bad: []int32{1, 2, 3}, step: "c", reason: "more digits than the type decimal(38,0)"},
		"fixed": {have: batch.FixedOf(3), rows: []func(*batch.Records, *batch.Column){bytesOf("abc"), bytesOf("ab"), null}, bad: []int32{1}, step: "c", reason: "a value has 2 bytes, the type fixed[3] needs 3"},
		"time":  {have: batch.Prim(batch.Time), rows: []func(*batch.Records, *batch.Column){long(0), long(86_399_999_999), long(86_400_000_000), long(-1)}, bad: []int32{2, 3}, step: "c", reason: "no time of a day"},
		"oversize": {have: batch.Prim(batch.String), rows: []func(*batch.Records, *batch.Column){bytesOf(strings.Repeat("x", 100)), bytesOf(strings.Repeat("x", 101)), null},
			bad: []int32{1}, step: "c", reason: "a value of 101 bytes is longer than the 100 bytes"},
		"null":   {have: batch.Prim(batch.Long), required: true, rows: []func(*batch.Records, *batch.Column){long(1), null}, bad: []int32{1}, step: "c", reason: "requires a value"},
		"nested": {have: xs, rows: []func(*batch.Records, *batch.Column){list(1, 99), list(), list(5, 100, 101), null, list(-100)}, bad: []int32{2, 4}, step: "c[].x", reason: "column c[].x: a value has more digits"},
	} {
		t.Run(name, func(t *testing.T) {
			typ := c.table
			if typ == nil {
				typ = c.have
			}
			b := one(c.have, c.rows...)
			w := newWriter(t, Options{Info: info(number(batch.StructOf(batch.Field{Name: "c", Type: typ, Required: c.required}))), Store: newMemory(), MaxValue: 100})
			if err := w.Refuse(b); err != nil {
				t.Fatal(err)
			}
			var bad []int32
			for _, r := range b.Rejects {
				bad = append(bad, r.Record)
				if r.Stage != "encode" || r.Step != c.step || !strings.Contains(r.Reason, c.reason) {
					t.Errorf("%+v", r)
				}
			}
			part := Part{}
			for row, f := range b.Fate {
				if f == batch.Keep {
					part.Rows = append(part.Rows, int32(row))
				}
			}
			if len(bad) != len(c.bad) || len(part.Rows) != len(c.rows)-len(c.bad) {
				t.Fatalf("refused %v, want %v", bad, c.bad)
			}
			for i := range bad {
				if bad[i] != c.bad[i] {
					t.Fatalf("refused %v, want %v", bad, c.bad)
				}
			}
			if err := w.Append(t.Context(), b, part); err != nil {
				t.Fatal(err)
			}
			if files := finish(t, w); len(part.Rows) > 0 && files[0].Rows != int64(len(part.Rows)) {
				t.Errorf("%v", files)
			}
		})
	}
}

// What is below a null is not looked at, and rows with another fate are left alone.
func TestRefuseLeavesOthersAlone(t *testing.T) {
	inner := batch.StructOf(batch.Field{Name: "x", Type: batch.FixedOf(3), Required: true})
	b := one(inner, null, func(r *batch.Records, c *batch.Column) {
		c.Children[0].AppendView(r.AppendString("long"))
		c.AppendStruct()
	})
	b.Filter(1, "step")
	w := newWriter(t, Options{Info: info(number(b.Root.Type)), Store: newMemory()})
	if err := w.Refuse(b); err != nil || len(b.Rejects) > 0 {
		t.Errorf("%v %v", err, b.Rejects)
	}
	b = one(batch.Prim(batch.String), null)
	if err := w.Refuse(b); err == nil || !strings.Contains(err.Error(), "table lake.t: column c") {
		t.Errorf("columns that do not fit: %v", err)
	}
}
