package rewrite

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

func long(v int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }
func short(v int32) []byte {
	return binary.LittleEndian.AppendUint32(nil, uint32(v))
}

func TestMayHold(t *testing.T) {
	p := batch.Prim
	row := batch.StructOf(batch.Field{ID: 7, Name: table.ColumnTopic, Type: p(batch.String)}, batch.Field{ID: 8, Name: table.ColumnPartition, Type: p(batch.Int)},
		batch.Field{ID: 9, Name: table.ColumnOffset, Type: p(batch.Long)})
	file := func(topics [2]string, parts [2]int32, offsets [2]int64) table.File {
		return table.File{Rows: 1, LowerBounds: map[int][]byte{7: []byte(topics[0]), 8: short(parts[0]), 9: long(offsets[0])},
			UpperBounds: map[int][]byte{7: []byte(topics[1]), 8: short(parts[1]), 9: long(offsets[1])}}
	}
	without := func(f table.File, lower, upper int) table.File {
		delete(f.LowerBounds, lower)
		delete(f.UpperBounds, upper)
		return f
	}
	one := file([2]string{"b", "d"}, [2]int32{1, 3}, [2]int64{100, 200})
	name := "orders-of-europe-2026" // its first 16 characters are orders-of-europe
	cut := file([2]string{name[:16], "orders-of-europf"}, [2]int32{0, 0}, [2]int64{0, 9})
	prefix := file([2]string{name[:16], name[:16]}, [2]int32{0, 0}, [2]int64{0, 9})
	narrow := one
	narrow.LowerBounds = map[int][]byte{7: []byte("b"), 8: short(1), 9: short(100)}
	broken := one
	broken.UpperBounds = map[int][]byte{7: []byte("d"), 8: {1}, 9: {}}
	span := func(topic string, part int32, first, next int64) batch.Span {
		return batch.Span{Topic: topic, Partition: part, First: first, Next: next}
	}
	for _, c := range []struct {
		what  string
		f     table.File
		spans []batch.Span
		want  bool
	}{
		{"inside", one, []batch.Span{span("c", 2, 150, 151)}, true},
		{"none", one, nil, false},
		{"an empty span", one, []batch.Span{span("c", 2, 150, 150)}, false},
		{"the ends", one, []batch.Span{span("b", 1, 0, 101)}, true},
		{"the other ends", one, []batch.Span{span("d", 3, 200, 1000)}, true},
		{"before", one, []batch.Span{span("c", 2, 0, 100)}, false},
		{"behind", one, []batch.Span{span("c", 2, 201, 1000)}, false},
		{"one of several", one, []batch.Span{span("c", 2, 201, 1000), span("c", 2, 0, 1000)}, true},
		{"a lower partition", one, []batch.Span{span("c", 0, 0, 1000)}, false},
		{"a higher partition", one, []batch.Span{span("c", 4, 0, 1000)}, false},
		{"a lesser topic", one, []batch.Span{span("a", 2, 0, 1000)}, false},
		{"a greater topic", one, []batch.Span{span("e", 2, 0, 1000)}, false},
		{"no rows", table.File{}, []batch.Span{span("c", 2, 0, 1000)}, false},
		{"no metrics", table.File{Rows: 1}, []batch.Span{span("c", 2, 0, 1000)}, true},
		{"no lower offset", without(file([2]string{"b", "d"}, [2]int32{1, 3}, [2]int64{100, 200}), 9, 0), []batch.Span{span("c", 2, 0, 1)}, true},
		{"no upper offset", without(file([2]string{"b", "d"}, [2]int32{1, 3}, [2]int64{100, 200}), 0, 9), []batch.Span{span("c", 2, 900, 901)}, true},
		{"no upper topic", without(file([2]string{"b", "d"}, [2]int32{1, 3}, [2]int64{100, 200}), 0, 7), []batch.Span{span("z", 2, 150, 151)}, true},
		{"no upper topic, a lesser one", without(file([2]string{"b", "d"}, [2]int32{1, 3}, [2]int64{100, 200}), 0, 7), []batch.Span{span("a", 2, 150, 151)}, false},
		{"a bound of an int column that is a long now", narrow, []batch.Span{span("c", 2, 0, 100)}, false},
		{"bounds that are no numbers", broken, []batch.Span{span("c", 9, 900, 901)}, true},
		{"a cut topic", cut, []batch.Span{span(name, 0, 0, 1)}, true},
		{"another one with the same start", cut, []batch.Span{span(name+"-x", 0, 0, 1)}, true},
		{"one that is just the start", cut, []batch.Span{span(name[:16], 0, 0, 1)}, true},
		{"a shorter one", cut, []batch.Span{span(name[:15], 0, 0, 1)}, false},
		{"one behind the cut bound", cut, []batch.Span{span("orders-of-europfa", 0, 0, 1)}, true}, // cannot be told from one that was cut
		{"one far behind the cut bound", cut, []batch.Span{span("orders-of-eurq", 0, 0, 1)}, false},
		{"a bound that was cut and not raised", prefix, []batch.Span{span(name, 0, 0, 1)}, true},
		{"behind a bound that was cut and not raised", prefix, []batch.Span{span("orders-of-f", 0, 0, 1)}, false},
		{"empty bounds", file([2]string{"", ""}, [2]int32{0, 0}, [2]int64{0, 9}), []batch.Span{span("a", 0, 0, 1)}, false},
	} {
		if got := MayHold(row, c.f, c.spans...); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	if !MayHold(batch.StructOf(), one, span("z", 9, 900, 901)) {
		t.Error("a table without audit columns must be read")
	}
}

// What the writers say of a file never hides a row that is in it.
func TestMayHoldOfWrittenFiles(t *testing.T) {
	l := newLake(t)
	for i, topic := range []string{"a", strings.Repeat("topic", 20), strings.Repeat("x", 15) + "\U0010ffff" + "y", "é" + strings.Repeat("ü", 30)} {
		f := l.write("x", topic, int32(i), int64(i)<<40, int64(i)<<40+10)
		for off := int64(i) << 40; off < int64(i)<<40+10; off++ {
			if !MayHold(l.info.Row, f, batch.Span{Topic: topic, Partition: int32(i), First: off, Next: off + 1}) {
				t.Errorf("%s-%d %d is in the file", topic, i, off)
			}
		}
		for _, s := range []batch.Span{{Topic: "b", Partition: int32(i), First: 0, Next: 1 << 60}, {Topic: topic, Partition: int32(i) + 1, First: 0, Next: 1 << 60},
			{Topic: topic, Partition: int32(i), First: int64(i)<<40 + 10, Next: 1 << 60}} {
			if MayHold(l.info.Row, f, s) {
				t.Errorf("%+v is not in the file of %s", s, topic)
			}
		}
	}
}
