package forget_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

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
