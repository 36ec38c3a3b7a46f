package schemas

import (
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"pgregory.net/rapid"
)

func req(name string, t *batch.Type) batch.Field {
	return batch.Field{Name: name, Type: t, Required: true}
}
func opt(name string, t *batch.Type) batch.Field { return batch.Field{Name: name, Type: t} }

func TestMerge(t *testing.T) {
	p := batch.Prim
	for _, c := range []struct {
		name       string
		a, b, want *batch.Type
	}{
		{"same", batch.StructOf(req("a", p(batch.Int))), batch.StructOf(req("a", p(batch.Int))), batch.StructOf(req("a", p(batch.Int)))},
		{"int widens", batch.StructOf(req("a", p(batch.Int))), batch.StructOf(req("a", p(batch.Long))), batch.StructOf(req("a", p(batch.Long)))},
		{"long stays", batch.StructOf(req("a", p(batch.Long))), batch.StructOf(req("a", p(batch.Int))), batch.StructOf(req("a", p(batch.Long)))},
		{"float widens", batch.StructOf(req("a", p(batch.Float))), batch.StructOf(req("a", p(batch.Double))), batch.StructOf(req("a", p(batch.Double)))},
		{"decimal widens", batch.StructOf(req("a", batch.DecimalOf(5, 2))), batch.StructOf(req("a", batch.DecimalOf(20, 2))), batch.StructOf(req("a", batch.DecimalOf(20, 2)))},
		{"decimal stays", batch.StructOf(req("a", batch.DecimalOf(20, 2))), batch.StructOf(req("a", batch.DecimalOf(5, 2))), batch.StructOf(req("a", batch.DecimalOf(20, 2)))},
		{"optional wins", batch.StructOf(req("a", p(batch.Int))), batch.StructOf(opt("a", p(batch.Int))), batch.StructOf(opt("a", p(batch.Int)))},
		{"new fields at the end, lacking ones optional",
			batch.StructOf(req("x", p(batch.Int)), req("a", p(batch.Date))), batch.StructOf(req("n", p(batch.String)), req("a", p(batch.Date))),
			batch.StructOf(opt("x", p(batch.Int)), req("a", p(batch.Date)), opt("n", p(batch.String)))},
		{"nested struct, list and map",
			batch.StructOf(req("s", batch.StructOf(req("a", p(batch.Int)))), req("l", batch.ListOf(p(batch.Int), true)), opt("m", batch.MapOf(p(batch.String), p(batch.Float), true))),
			batch.StructOf(req("s", batch.StructOf(req("a", p(batch.Int)), req("b", p(batch.UUID)))), req("l", batch.ListOf(p(batch.Long), false)), req("m", batch.MapOf(p(batch.String), p(batch.Double), true))),
			batch.StructOf(req("s", batch.StructOf(req("a", p(batch.Int)), opt("b", p(batch.UUID)))), req("l", batch.ListOf(p(batch.Long), false)), opt("m", batch.MapOf(p(batch.String), p(batch.Double), true)))},
		{"unknown a", nil, batch.StructOf(req("a", p(batch.Int))), batch.StructOf(req("a", p(batch.Int)))},
		{"unknown b", batch.StructOf(req("a", p(batch.Int))), nil, batch.StructOf(req("a", p(batch.Int)))},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Merge(c.a, c.b)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if c.a != nil && got.Equal(c.a) && got != c.a {
				t.Error("nothing was added, yet the type is another one")
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	p := batch.Prim
	for _, c := range []struct {
		a, b *batch.Type
		want []string
	}{
		{batch.StructOf(req("a", p(batch.Int))), batch.StructOf(req("a", p(batch.String))), []string{"field a", "int", "string"}},
		{batch.StructOf(req("a", batch.DecimalOf(5, 2))), batch.StructOf(req("a", batch.DecimalOf(5, 3))), []string{"field a", "decimal(5,2)", "decimal(5,3)"}},
		{batch.StructOf(req("a", batch.FixedOf(2))), batch.StructOf(req("a", batch.FixedOf(3))), []string{"field a", "fixed[2]", "fixed[3]"}},
		{batch.StructOf(req("s", batch.StructOf(req("t", p(batch.Timestamp))))), batch.StructOf(req("s", batch.StructOf(req("t", p(batch.TimestampTZ))))), []string{"field s.t", "timestamp with timestamptz"}},
		{batch.StructOf(req("l", batch.ListOf(p(batch.Int), true))), batch.StructOf(req("l", batch.ListOf(p(batch.Float), true))), []string{"field l.element", "int", "float"}},
		{batch.StructOf(req("m", batch.MapOf(p(batch.String), p(batch.Int), true))), batch.StructOf(req("m", batch.MapOf(p(batch.Int), p(batch.Int), true))), []string{"field m.key"}},
		{batch.StructOf(), p(batch.Int), []string{"the whole record"}},
	} {
		_, err := Merge(c.a, c.b)
		if err == nil {
			t.Errorf("%s with %s: no error", c.a, c.b)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
}

// rowType draws types that always merge, because their kinds follow from the field's name.
func rowType(t *rapid.T, depth int) *batch.Type {
	s := batch.StructOf()
	for _, n := range []string{"int", "float", "dec", "text", "sub", "list"} {
		if !rapid.Bool().Draw(t, "has "+n) {
			continue
		}
		f := batch.Field{Name: n, Required: rapid.Bool().Draw(t, "required")}
		switch n {
		case "int":
			f.Type = batch.Prim(rapid.SampledFrom([]batch.Kind{batch.Int, batch.Long}).Draw(t, n))
		case "float":
			f.Type = batch.Prim(rapid.SampledFrom([]batch.Kind{batch.Float, batch.Double}).Draw(t, n))
		case "dec":
			f.Type = batch.DecimalOf(rapid.IntRange(2, 38).Draw(t, n), 2)
		case "text":
			f.Type = batch.Prim(batch.String)
		case "sub":
			if depth == 0 {
				continue
			}
			f.Type = rowType(t, depth-1)
		case "list":
			if depth == 0 {
				continue
			}
			f.Type = batch.ListOf(rowType(t, depth-1), rapid.Bool().Draw(t, "element"))
		}
		s.Fields = append(s.Fields, f)
	}
	return s
}

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rowType(t, 2), rowType(t, 2)
		m, err := Merge(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []*batch.Type{a, b, m} {
			again, err := Merge(m, x)
			if err != nil {
				t.Fatal(err)
			}
			if again != m {
				t.Fatalf("merging %s into %s again gives %s", x, m, again)
			}
		}
		n, err := Merge(b, a)
		if err != nil {
			t.Fatal(err)
		}
		if len(n.Fields) != len(m.Fields) {
			t.Fatalf("the order of versions decides what fields there are: %s, %s", m, n)
		}
	})
}
