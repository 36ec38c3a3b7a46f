package forget_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/hamba/avro/v2/ocf"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

func TestBounds(t *testing.T) {
	t.Parallel()
	row := batch.StructOf(batch.Field{Name: "id", ID: 1, Type: batch.Prim(batch.Long), Required: true}, batch.Field{Name: "name", ID: 2, Type: batch.Prim(batch.String)},
		batch.Field{Name: "x", ID: 3, Type: batch.Prim(batch.Double)})
	bind := func(keys ...forget.Key) *forget.Matcher {
		t.Helper()
		m, err := forget.Bind(keys, row, pipeline.ParseTexts)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	file := func(lo, hi int64, least, greatest string) *table.File {
		return &table.File{Rows: 1, LowerBounds: map[int][]byte{1: binary.LittleEndian.AppendUint64(nil, uint64(lo)), 2: []byte(least)},
			UpperBounds: map[int][]byte{1: binary.LittleEndian.AppendUint64(nil, uint64(hi)), 2: []byte(greatest)}}
	}
	const long = "Anna Gramm-Muster of Example"
	seven, name := bind(forget.Key{{Column: "id", Text: "7"}}), bind(forget.Key{{Column: "name", Text: long}})
	either := bind(forget.Key{{Column: "id", Text: "-3"}}, forget.Key{{Column: "name", Text: "Zoe"}, {Column: "id", Text: "5"}})
	old := file(0, 0, "", "")
	old.LowerBounds[1], old.UpperBounds[1] = binary.LittleEndian.AppendUint32(nil, 6), binary.LittleEndian.AppendUint32(nil, 7) // from when it was an int
	for i, c := range []struct {
		m            *forget.Matcher
		f            *table.File
		holds, bound bool
	}{
		{seven, file(-5, 9, "A", "Z"), true, false},
		{seven, file(8, 9, "A", "Z"), false, false},
		{seven, file(7, 9, "A", "Z"), true, true},
		{seven, old, true, true},
		{seven, &table.File{}, false, false},
		{seven, &table.File{Rows: 1}, true, false},
		{name, file(1, 2, "A", "B"), true, false},
		{name, file(1, 2, "A", "An"), true, false}, // some programs cut upper bounds
		{name, file(1, 2, long[:16], "Z"), true, true},
		{name, file(1, 2, "A", long[:15]+"f"), true, true}, // cut, and its last character raised
		{name, file(1, 2, "B", "Z"), false, false},
		{either, file(4, 6, "A", "B"), false, false},
		{either, file(4, 6, "Y", "Zz"), true, false},
		{either, file(-3, -3, "A", "B"), true, true},
	} {
		if holds, bound := c.m.MayHold(c.f), c.m.Bounds(c.f); holds != c.holds || bound != c.bound {
			t.Errorf("case %d: %v %v", i, holds, bound)
		}
	}
	for text, key := range map[string]forget.Key{"no such column: y": {{Column: "y", Text: "1"}}, "a double, which cannot be a key": {{Column: "x", Text: "1"}}} {
		_, err := forget.Bind([]forget.Key{key}, row, pipeline.ParseTexts)
		if err == nil || !strings.Contains(err.Error(), text) || strings.HasPrefix(text, "no such") != errors.Is(err, forget.ErrNoColumn) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}

// Manifests that nothing refers to are read by their bytes.
func TestBoundsInManifests(t *testing.T) {
	t.Parallel()
	row := batch.StructOf(batch.Field{Name: "name", ID: 2, Type: batch.Prim(batch.String)})
	m, err := forget.Bind([]forget.Key{{{Column: "name", Text: "Anna"}}}, row, pipeline.ParseTexts)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ lo, hi, want string }{{"Anna", "Zoe", "x.parquet"}, {"Aaron", "Anna", "x.parquet"}, {"Aaron", "Zoe", ""}} {
		var out bytes.Buffer
		e, err := ocf.NewEncoder(`{"type":"record","name":"manifest_entry","fields":[{"name":"status","type":"int"},{"name":"data_file","type":{"type":"record","name":"r2","fields":[
			{"name":"file_path","type":"string"},
			{"name":"lower_bounds","type":["null",{"type":"array","logicalType":"map","items":{"type":"record","name":"l","fields":[{"name":"key","type":"int"},{"name":"value","type":"bytes"}]}}]},
			{"name":"upper_bounds","type":["null",{"type":"array","logicalType":"map","items":{"type":"record","name":"u","fields":[{"name":"key","type":"int"},{"name":"value","type":"bytes"}]}}]}
		]}}]}`, &out)
		if err != nil {
			t.Fatal(err)
		}
		bounds := func(v string) any { return []any{map[string]any{"key": 2, "value": []byte(v)}} }
		entry := map[string]any{"status": 1, "data_file": map[string]any{"file_path": "x.parquet",
			"lower_bounds": map[string]any{"array": bounds(c.lo)}, "upper_bounds": map[string]any{"array": bounds(c.hi)}}}
		if err := errors.Join(e.Encode(entry), e.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := forget.BoundedIn(out.Bytes(), m); got != c.want || err != nil {
			t.Errorf("%q to %q: %q, %v", c.lo, c.hi, got, err)
		}
	}
}
