package schemas

import (
	"encoding/binary"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"pgregory.net/rapid"
)

func binaryVarint(v int64) []byte { return binary.AppendVarint(nil, v) }

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func checkVarint(t failer, buf []byte) {
	t.Helper()
	want, n := binary.Varint(buf)
	p := &avroPlan{buf: buf}
	got, pos := p.varint(0)
	if n <= 0 {
		if pos >= 0 || p.err == nil {
			t.Fatalf("%x: got %d, want an error", buf, got)
		}
		return
	}
	if got != want || pos != n {
		t.Fatalf("%x: got %d to %d, want %d to %d", buf, got, pos, want, n)
	}
}

// FuzzAvro: any bytes give a record or an error, and columns that hold together either way.
func FuzzAvro(f *testing.F) {
	for i := range avroCases {
		f.Add(uint16(i), []byte("\x02\x02\x04\x06\x08\x0aabcde"))
		f.Add(uint16(i), []byte("\x02\x03\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	}
	f.Add(uint16(1000), clicks(1).Mem[5:])
	f.Fuzz(func(t *testing.T, which uint16, payload []byte) {
		text := clicksSchema
		if int(which) < len(avroCases) {
			text = field(avroCases[which].schema)
		}
		s := mustParseAvro(t, text)
		plan := mustCompile(t, s, s.Row())
		r, root := &batch.Records{}, newRoot(s.Row())
		rows := 0
		for range 2 {
			if err := appendRow(plan, r, root, payload); err == nil {
				rows++
			}
		}
		if err := checkColumn(root, true, rows); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			slot(r, root, i)
		}
	})
}

// FuzzAvroSchema: any text is a schema or an error, and a schema compiles for its own row type.
func FuzzAvroSchema(f *testing.F) {
	for _, c := range avroCases {
		f.Add(field(c.schema))
	}
	f.Add(clicksSchema)
	f.Add(`{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"fixed","name":"F","size":-1}}]}`)
	f.Add(`/* { */ "int" // x`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseAvro(text, nil)
		if err != nil {
			return
		}
		plan, err := s.Compile(s.Row())
		if err != nil {
			t.Fatalf("%s: %v", s.Row(), err)
		}
		r, root := &batch.Records{}, newRoot(s.Row())
		rows := 0
		if appendRow(plan, r, root, []byte(text)) == nil {
			rows = 1
		}
		if err := checkColumn(root, true, rows); err != nil {
			t.Fatal(err)
		}
	})
}

func TestValidText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(rapid.StringMatching(`[a-z]{0,40}`).Draw(t, "ascii"))
		if len(b) > 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		ascii := true
		for _, c := range b {
			ascii = ascii && c < 0x80
		}
		if validText(b) != ascii {
			t.Fatalf("%q: %v", b, !ascii)
		}
	})
	for _, s := range []string{"", "ü", "a€", "日本語日本語", "\U0001F600"} {
		if !validText([]byte(s)) {
			t.Errorf("%q is valid", s)
		}
	}
}

// TestAvroAllocations: a steady state allocates nothing, whatever the types.
func TestAvroAllocations(t *testing.T) {
	text := `{"type":"record","name":"R","fields":[{"name":"s","type":"string"},{"name":"o","type":["null","long"]},
		{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"l","type":{"type":"array","items":"string"}},
		{"name":"m","type":{"type":"map","values":["int","string"]}},
		{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":30}},{"name":"u","type":{"type":"string","logicalType":"uuid"}}]}`
	payload := []byte("\x02x" + "\x00" + "\x02" + "\x04\x02a\x02b\x00" + "\x02\x02k\x02\x02v\x00" + "\x02\x05" + "\x4800112233-4455-6677-8899-aabbccddeeff")
	s := mustParseAvro(t, text)
	plan := mustCompile(t, s, s.Row())
	r, root := &batch.Records{}, newRoot(s.Row())
	const rows = 1000
	view := r.Append(payload)
	payloads := len(r.Mem)
	fill := func() {
		root.Reset()
		r.Mem = r.Mem[:payloads]
		for range rows {
			if err := plan.Append(r, view, root); err != nil {
				t.Fatal(err)
			}
			root.AppendStruct()
		}
	}
	fill()
	// Validity is made anew for each batch, one slice a column with nulls, which doubles now and then.
	if n := testing.AllocsPerRun(20, fill); n/rows > 0.05 {
		t.Errorf("%.3f allocations a record", n/rows)
	} else {
		t.Logf("%.4f allocations a record (%v a batch of %d)", n/rows, n, rows)
	}
}
