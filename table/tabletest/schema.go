package tabletest

import (
	"strings"
	"sync"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

func createRace(t *testing.T, h Harness) {
	d := def(ident())
	const n = 6
	infos, errs := make([]table.Info, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		c := h.Catalog(t)
		wg.Go(func() { infos[i], errs[i] = c.Ensure(t.Context(), d) })
	}
	wg.Wait()
	for i := range n {
		if errs[i] != nil {
			t.Errorf("creator %d: %v", i, errs[i])
		}
		if infos[i].UUID == "" || infos[i].UUID != infos[0].UUID {
			t.Errorf("creator %d got table %q, creator 0 %q", i, infos[i].UUID, infos[0].UUID)
		}
	}
}

// every kind of type, nested.
func everyType() *batch.Type {
	var fields []batch.Field
	for k := batch.Boolean; k <= batch.Binary; k++ {
		typ := batch.Prim(k)
		switch k {
		case batch.Decimal:
			typ = batch.DecimalOf(38, 10)
		case batch.Fixed:
			typ = batch.FixedOf(7)
		}
		fields = append(fields, batch.Field{Name: "c_" + k.String(), Type: typ, Required: k%2 == 0, Doc: "column of " + k.String()})
	}
	inner := batch.StructOf(fields...)
	return batch.StructOf(append(fields,
		batch.Field{Name: "s", Type: inner},
		batch.Field{Name: "l", Type: batch.ListOf(inner, true), Required: true},
		batch.Field{Name: "ll", Type: batch.ListOf(batch.ListOf(batch.Prim(batch.String), false), true)},
		batch.Field{Name: "m", Type: batch.MapOf(batch.Prim(batch.String), batch.MapOf(batch.Prim(batch.Int), inner, true), false)})...)
}

// collect returns the ids by path.
func collect(t *batch.Type, path string, out map[string]int) map[string]int {
	for _, f := range t.Fields {
		out[path+f.Name] = f.ID
		collect(f.Type, path+f.Name+".", out)
	}
	return out
}

func docs(t *batch.Type, path string, out map[string]string) map[string]string {
	for _, f := range t.Fields {
		if t.Kind == batch.Struct {
			out[path+f.Name] = f.Doc
		}
		docs(f.Type, path+f.Name+".", out)
	}
	return out
}

func types(t *testing.T, h Harness) {
	c := h.Catalog(t)
	id := ident()
	if _, err := c.Info(t.Context(), id); err == nil {
		t.Fatal("Info of no table")
	} else {
		wantErr(t, err, table.ErrNoTable)
	}
	_, err := c.Open(t.Context(), id)
	wantErr(t, err, table.ErrNoTable)

	d := table.Def{Ident: id, Row: everyType(), Properties: map[string]string{"owner": "me"},
		PartitionBy: []table.PartitionField{{Source: "c_timestamptz", Transform: "day", Name: "c_day"}, {Source: "s.c_string", Transform: "bucket[16]", Name: "s_bucket"}},
		SortBy:      []table.SortField{{Source: "c_long"}, {Source: "c_string", Desc: true}}}
	made, _ := ensure(t, c, d)
	read, err := h.Catalog(t).Info(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []table.Info{made, read} {
		if !i.Row.Equal(d.Row) {
			t.Errorf("row type\n%s, want\n%s", i.Row, d.Row)
		}
		seen := map[int]string{}
		for path, fid := range collect(i.Row, "", map[string]int{}) {
			if fid <= 0 || seen[fid] != "" {
				t.Errorf("%s has id %d, like %q", path, fid, seen[fid])
			}
			seen[fid] = path
		}
		want := docs(d.Row, "", map[string]string{})
		for path, doc := range docs(i.Row, "", map[string]string{}) {
			if doc != want[path] {
				t.Errorf("%s has doc %q, want %q", path, doc, want[path])
			}
		}
		if i.UUID == "" || i.Location == "" || strings.HasSuffix(i.Location, "/") || i.SortOrderID == 0 || i.Properties["owner"] != "me" || i.Ident != id {
			t.Errorf("%+v", i)
		}
		if len(i.PartitionBy) != 2 {
			t.Fatalf("partitioning %+v", i.PartitionBy)
		}
		ids := collect(i.Row, "", map[string]int{})
		for n, p := range i.PartitionBy {
			w := d.PartitionBy[n]
			if p.Source != w.Source || p.Transform != w.Transform || p.Name != w.Name || p.SourceID != ids[w.Source] || p.FieldID < 1000 {
				t.Errorf("partition field %+v, want %+v of column %d", p, w, ids[w.Source])
			}
		}
	}

	for want, change := range map[string]func(*table.Def){
		"no_such": func(d *table.Def) {
			d.PartitionBy = []table.PartitionField{{Source: "no_such", Transform: "day", Name: "x"}}
		},
		"c_string": func(d *table.Def) {
			d.PartitionBy = []table.PartitionField{{Source: "c_string", Transform: "day", Name: "x"}}
		},
		"weekly": func(d *table.Def) {
			d.PartitionBy = []table.PartitionField{{Source: "c_date", Transform: "weekly", Name: "x"}}
		},
		"column s": func(d *table.Def) { d.SortBy = []table.SortField{{Source: "s"}} },
		"(fixed[7] and decimal": func(d *table.Def) {
			d.PartitionBy = []table.PartitionField{{Source: "c_fixed", Transform: "identity", Name: "x"}, {Source: "s.c_decimal", Transform: "identity", Name: "y"}}
		},
		"c.d": func(d *table.Def) {
			d.Row = batch.StructOf(batch.Field{Name: "c", Type: batch.StructOf(batch.Field{Name: "d", Type: batch.DecimalOf(50, 1)})})
			d.PartitionBy, d.SortBy = nil, nil
		},
	} {
		bad := d
		bad.Ident = ident()
		change(&bad)
		if _, err := c.Ensure(t.Context(), bad); err == nil || !strings.Contains(err.Error(), want) || table.Passing(err) {
			t.Errorf("want an error about %s: %v", want, err)
		}
	}
}

func evolve(t *testing.T, h Harness) {
	c := h.Catalog(t)
	id := ident()
	one := def(id,
		batch.Field{Name: "a", Type: batch.Prim(batch.Int), Required: true},
		batch.Field{Name: "f", Type: batch.Prim(batch.Float)},
		batch.Field{Name: "d", Type: batch.DecimalOf(10, 2)},
		batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "x", Type: batch.Prim(batch.String), Required: true}), Required: true},
		batch.Field{Name: "l", Type: batch.ListOf(batch.StructOf(batch.Field{Name: "y", Type: batch.Prim(batch.Int)}), true)},
		batch.Field{Name: "m", Type: batch.MapOf(batch.Prim(batch.String), batch.StructOf(batch.Field{Name: "z", Type: batch.Prim(batch.Int)}), true)})
	first, _ := ensure(t, c, one)
	two := def(id,
		batch.Field{Name: "new", Type: batch.StructOf(batch.Field{Name: "in", Type: batch.Prim(batch.Date), Required: true}), Required: true, Doc: "new one"},
		batch.Field{Name: "a", Type: batch.Prim(batch.Long)},
		batch.Field{Name: "f", Type: batch.Prim(batch.Double)},
		batch.Field{Name: "d", Type: batch.DecimalOf(20, 2)},
		batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "x", Type: batch.Prim(batch.String)}, batch.Field{Name: "x2", Type: batch.Prim(batch.UUID)})},
		batch.Field{Name: "l", Type: batch.ListOf(batch.StructOf(batch.Field{Name: "y", Type: batch.Prim(batch.Long)}, batch.Field{Name: "y2", Type: batch.Prim(batch.Time)}), false)},
		batch.Field{Name: "m", Type: batch.MapOf(batch.Prim(batch.String), batch.StructOf(batch.Field{Name: "z2", Type: batch.Prim(batch.Int), Required: true}), false)})
	want := batch.StructOf(
		batch.Field{Name: "a", Type: batch.Prim(batch.Long)},
		batch.Field{Name: "f", Type: batch.Prim(batch.Double)},
		batch.Field{Name: "d", Type: batch.DecimalOf(20, 2)},
		batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "x", Type: batch.Prim(batch.String)}, batch.Field{Name: "x2", Type: batch.Prim(batch.UUID)})},
		batch.Field{Name: "l", Type: batch.ListOf(batch.StructOf(batch.Field{Name: "y", Type: batch.Prim(batch.Long)}, batch.Field{Name: "y2", Type: batch.Prim(batch.Time)}), false)},
		batch.Field{Name: "m", Type: batch.MapOf(batch.Prim(batch.String), batch.StructOf(batch.Field{Name: "z", Type: batch.Prim(batch.Int)}, batch.Field{Name: "z2", Type: batch.Prim(batch.Int)}), false)},
		batch.Field{Name: "new", Type: batch.StructOf(batch.Field{Name: "in", Type: batch.Prim(batch.Date), Required: true})})
	second, _ := ensure(t, c, two)
	if !second.Row.Equal(want) {
		t.Fatalf("evolved to\n%s, want\n%s", second.Row, want)
	}
	if second.SchemaID == first.SchemaID || second.UUID != first.UUID {
		t.Errorf("schema %d -> %d, table %s -> %s", first.SchemaID, second.SchemaID, first.UUID, second.UUID)
	}
	was, is := collect(first.Row, "", map[string]int{}), collect(second.Row, "", map[string]int{})
	used := map[int]bool{}
	for path, fid := range is {
		if old, ok := was[path]; ok && old != fid {
			t.Errorf("%s changed its id from %d to %d", path, old, fid)
		}
		if fid == 0 || used[fid] {
			t.Errorf("%s has id %d", path, fid)
		}
		used[fid] = true
	}
	// Again, and by a pipeline that still has the old schema: nothing changes.
	for _, d := range []table.Def{two, one} {
		if i, _ := ensure(t, c, d); i.SchemaID != second.SchemaID {
			t.Errorf("schema %d -> %d without need", second.SchemaID, i.SchemaID)
		}
	}
}

func evolveRefuses(t *testing.T, h Harness) {
	c := h.Catalog(t)
	id := ident()
	str := batch.Prim(batch.String)
	d := def(id, batch.Field{Name: "a", Type: batch.Prim(batch.Long), Required: true}, batch.Field{Name: "d", Type: batch.DecimalOf(10, 2)},
		batch.Field{Name: "l", Type: batch.ListOf(batch.StructOf(batch.Field{Name: "y", Type: str}), true)}, batch.Field{Name: "ts", Type: batch.Prim(batch.TimestampTZ)})
	d.PartitionBy = []table.PartitionField{{Source: "ts", Transform: "day", Name: "ts_day"}}
	first, _ := ensure(t, c, d)
	set := func(i int, typ *batch.Type) table.Def {
		e := d
		fields := append([]batch.Field(nil), d.Row.Fields...)
		fields[i].Type = typ
		e.Row = batch.StructOf(fields...)
		return e
	}
	for want, bad := range map[string]table.Def{
		"column a is":          set(0, str),
		"column a is long":     set(0, batch.ListOf(str, true)),
		"column d is":          set(1, batch.DecimalOf(12, 3)),
		"column l is":          set(2, str),
		"column l.element.y":   set(2, batch.ListOf(batch.StructOf(batch.Field{Name: "y", Type: batch.Prim(batch.Int)}), true)),
		"column ts is":         set(3, batch.Prim(batch.Timestamp)),
		"column a is required": def(id, d.Row.Fields[1:]...),
		"column ts_day cannot": def(id, append([]batch.Field{{Name: "ts_day", Type: str}}, d.Row.Fields...)...),
	} {
		if _, err := c.Ensure(t.Context(), bad); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), id.String()) || table.Passing(err) {
			t.Errorf("want an error with %q: %v", want, err)
		}
	}
	if i, _ := ensure(t, c, d); i.SchemaID != first.SchemaID {
		t.Errorf("schema %d -> %d", first.SchemaID, i.SchemaID)
	}
}

func evolveRace(t *testing.T, h Harness) {
	id := ident()
	d := def(id)
	ensure(t, h.Catalog(t), d)
	names := []string{"c0", "c1", "c2", "c3"}
	var wg sync.WaitGroup
	for _, n := range names {
		c := h.Catalog(t)
		mine := def(id, append(append([]batch.Field(nil), d.Row.Fields...), batch.Field{Name: n, Type: batch.Prim(batch.Date)})...)
		wg.Go(func() {
			i, err := c.Ensure(t.Context(), mine)
			if err != nil {
				t.Errorf("%s: %v", n, err)
			} else if i.Row.Index(n) < 0 {
				t.Errorf("%s: not in %s", n, i.Row)
			}
		})
	}
	wg.Wait()
	i, err := h.Catalog(t).Info(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if i.Row.Index(n) < 0 {
			t.Errorf("%s is not in %s", n, i.Row)
		}
	}
}
