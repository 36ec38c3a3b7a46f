package cleanse_test

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
)

// randomRow is a type with every kind, and nested and repeated columns, required and optional ones.
const randomRow = `struct<id: long required, s: string, t: string required, when: string required, n: int, m: long, f: double, g: float,
	d: decimal(10,2), big: decimal(30,4), ok: boolean, day: date, clock: time, at: timestamptz, local: timestamp, ip: string, u: uuid,
	raw: binary, fix: fixed[4], address: struct<street: string, zip: string required, geo: struct<lat: double, lon: double required>>,
	items: list<struct<sku: string, price: long required, tags: list<string>>>, tags: list<string required> required,
	attrs: map<string, string>, boxes: map<string, struct<x: int, y: string required>>, stamps: list<string>>`

// texts are values that some step treats specially.
var texts = []string{"", " ", "a", "A", "ab", "Ab c", "  x  y\t", "\u00a0\u2003", "Größe", "ẞ", "e\u0301", "ﬁ", "\u0301", "1", "0", "-7", "+12", "007",
	"1.5", "-0.25", "1e3", "12345678901", "99999999.99", "true", "FALSE", "NaN", "2018-12-04", "2018-12-04T10:15:30.123", "2018-12-04 10:15:30Z",
	"2018-03-25T02:30:00", "2018-10-28T02:30:00", "2018-12-04T10:15:30,123456789+05:30", "10:15:30", "1543918530", "1543918530.123", "04/12/2018",
	"203.0.113.77", "2001:db8::1", "anna@example.org", "x@y", "00112233-4455-6677-8899-aabbccddeeff", "abcd", "de", "DE",
	"0123456789012345678901234567890123456789012345678901234567890123456789"}

func drawValue(t *rapid.T, ty *batch.Type, required bool) any {
	if !required && rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		return nil
	}
	pick := func(name string, vs ...int64) int64 { return rapid.SampledFrom(vs).Draw(t, name) }
	switch ty.Kind {
	case batch.Boolean:
		return rapid.Bool().Draw(t, "bool")
	case batch.Int:
		return pick("int", 0, 1, -1, 2, 5, 10, 11, math.MaxInt32, math.MinInt32)
	case batch.Long:
		return pick("long", 0, 1, -1, 2, 5, 10, 11, 1<<31, 1<<53+1, math.MaxInt64, math.MinInt64, 1543918530, 1543918530123)
	case batch.Float:
		return rapid.SampledFrom([]float64{0, 1, -1.5, 0.25, float64(float32(0.1)), 3e9, math.Inf(1), math.MaxFloat32}).Draw(t, "float")
	case batch.Double:
		return rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, 2, -1.5, 0.1, 1e21, 1e-7, 3e9, 1e300, math.NaN(), math.Inf(-1)}).Draw(t, "double")
	case batch.Decimal:
		n, _ := new(big.Int).SetString(strings.Repeat("9", rapid.IntRange(1, ty.Precision).Draw(t, "digits")), 10)
		switch rapid.IntRange(0, 3).Draw(t, "decimal") {
		case 0:
			return big.NewInt(pick("small", 0, 1, -1, 5, 50, 150, -1000))
		case 1:
			return n.Neg(n)
		case 2:
			return new(big.Int).Mul(big.NewInt(pick("whole", 0, 3, -12)), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(ty.Scale)), nil))
		}
		return n
	case batch.Date:
		return pick("date", 0, -1, 17869, 20000)
	case batch.Time:
		return pick("time", 0, 1, 36930_000_000, 86399_999_999)
	case batch.Timestamp, batch.TimestampTZ:
		return pick("micros", 0, -1, 1543918530_123000, 1543881600_000000, -62135596800_000000)
	case batch.String:
		return rapid.SampledFrom(texts).Draw(t, "text")
	case batch.UUID, batch.Fixed, batch.Binary:
		n := map[batch.Kind]int{batch.UUID: 16, batch.Fixed: ty.Length, batch.Binary: rapid.SampledFrom([]int{0, 1, 4, 16}).Draw(t, "bytes")}[ty.Kind]
		return []byte(strings.Repeat(rapid.SampledFrom([]string{"a", "\x00", "\xff"}).Draw(t, "byte"), n))
	case batch.Struct:
		out := fields{}
		for _, f := range ty.Fields {
			out[f.Name] = drawValue(t, f.Type, f.Required)
		}
		return out
	case batch.List:
		out := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			out = append(out, drawValue(t, ty.Fields[0].Type, ty.Fields[0].Required))
		}
		return out
	case batch.Map:
		out := entries{}
		for i := range rapid.IntRange(0, 2).Draw(t, "entries") {
			out = append(out, pair{fmt.Sprintf("k%d", i), drawValue(t, ty.Fields[1].Type, ty.Fields[1].Required)})
		}
		return out
	}
	panic("no such kind")
}

// allPaths lists the paths of a row type with their types.
func allPaths(prefix string, t *batch.Type, f func(path string, field batch.Field)) {
	for i, k := range t.Fields {
		p := prefix + "." + k.Name
		switch t.Kind {
		case batch.List:
			p = prefix + "[]"
		case batch.Map:
			if i == 0 {
				continue
			}
			p = prefix + "{}"
		}
		p = strings.TrimPrefix(p, ".")
		f(p, k)
		allPaths(p, k.Type, f)
	}
}

// drawColumns picks one to three columns of the kinds.
func drawColumns(t *rapid.T, row *batch.Type, kinds ...batch.Kind) []string {
	var ps []string
	allPaths("", row, func(p string, f batch.Field) {
		if len(kinds) == 0 && !f.Type.Nested() || slices.Contains(kinds, f.Type.Kind) {
			ps = append(ps, p)
		}
	})
	if len(ps) == 0 {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(ps), 1, min(3, len(ps)), rapid.ID[string]).Draw(t, "columns")
}

var expressions = []string{"n > 1", "n == 5 || m != 10", "n < m && s == 'ab'", "!(t in ['a', 'de', ''])", "m + 1 > m", "m / n > 0", "m % n == 1", "f > 1.0",
	"f == 1", "s.startsWith('a') || t.endsWith('c')", "t.matches('^[a-z]+$')", "size(t) > 2", "ok", "!ok && n <= 5", "at > timestamp('2018-01-01T00:00:00Z')",
	"day < at", "d > decimal('0.5')", "d * 2 >= decimal('1')", "big < d", "s == null", "n != null && n > 1", "address.street == 'a'", "address.geo.lat > 0.5",
	"address == null", "has(address.street)", "items.exists(i, i.price > 5)", "tags.all(x, x != 'a')", "'k0' in attrs", "attrs['k0'] == 'a'",
	"size(items) > 1", "s < t", "g <= 1.5", "t.contains('a') ? n > 1 : m > 1", "u == '61616161-6161-6161-6161-616161616161'", "isNull(tags) || isNull(n)",
	"clock > duration('1h')", "raw == b'a'", "local < at", "row.n == n", "n in [1, 5]"}

var derivations = []configs.DeriveStep{{Expression: "n"}, {Expression: "m * 2 + 1"}, {Expression: "s + t"}, {Expression: "d + 1", Type: "decimal(12,3)"},
	{Expression: "t.upperAscii()"}, {Expression: "'const'"}, {Expression: "f * 2.0"}, {Expression: "n > 1"}, {Expression: "at", Type: "date"}, {Expression: "n", Type: "string"},
	{Expression: "s", Type: "int"}, {Expression: "m", Type: "int"}, {Expression: "coalesce(s, 'none')"}, {Expression: "tags.map(x, x + '!')"},
	{Expression: "items.map(i, i.price)"}, {Expression: "items[0].sku"}, {Expression: "address.zip"}, {Expression: "at.getFullYear()", Type: "int"}, {Expression: "u"},
	{Expression: "raw"}, {Expression: "clock", Type: "time"}, {Expression: "m - n"}, {Expression: "size(t)"}}

func drawStep(t *rapid.T, row *batch.Type) (s configs.Step) {
	str := func() []string { return drawColumns(t, row, batch.String) }
	onError := rapid.SampledFrom([]string{"", "null", "dead_letter"}).Draw(t, "on_error")
	one := func(name string, vs ...string) string { return rapid.SampledFrom(vs).Draw(t, name) }
	switch rapid.IntRange(0, 18).Draw(t, "kind") {
	case 0:
		s.Trim = &configs.ColumnsStep{Columns: str()}
	case 1:
		s.Lower = &configs.ColumnsStep{Columns: str()}
	case 2:
		s.Upper = &configs.ColumnsStep{Columns: str()}
	case 3:
		s.NormalizeSpaces = &configs.ColumnsStep{Columns: str()}
	case 4:
		s.NormalizeUnicode = &configs.UnicodeStep{Columns: str(), Form: one("form", "", "NFC", "NFD", "NFKC", "NFKD")}
	case 5:
		s.Replace = &configs.ReplaceStep{Columns: str(), Pattern: one("pattern", "a", "[0-9]+", "(.)b", "^$", "\\s*"), With: one("with", "", "x", "<$0>")}
	case 6:
		s.MapValues = &configs.MapStep{Columns: str(), Values: map[string]string{"de": "Germany", "a": "", "Ab c": "x"},
			IgnoreCase: rapid.Bool().Draw(t, "fold"), Otherwise: one("otherwise", "", "keep", "keep", "null", "dead_letter")}
	case 7:
		s.Default = &configs.DefaultStep{Columns: drawColumns(t, row), Value: one("default", "1", "x", "2018-12-04T10:15:30", "true", "10:00", "1.5")}
	case 8:
		s.Cast = &configs.CastStep{Columns: drawColumns(t, row), OnError: onError, To: one("to", "boolean", "int", "long", "float", "double", "decimal(8,1)",
			"decimal(38,10)", "date", "time", "timestamp", "timestamptz", "string", "uuid", "binary", "fixed[4]")}
	case 9:
		s.ParseTimestamp = &configs.TimestampStep{Columns: drawColumns(t, row, batch.String, batch.Int, batch.Long), OnError: onError,
			Formats: rapid.SampledFrom([][]string{nil, {"iso8601"}, {"unix_s"}, {"unix_ms", "unix_ns"}, {"%d/%m/%Y", "iso8601", "unix_s"}, {"02/01/2006", "unix_us"}}).Draw(t, "formats"),
			Zone:    one("zone", "", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"), To: one("to", "", "timestamptz", "timestamp", "date", "time")}
	case 10:
		cols := drawColumns(t, row, batch.String, batch.Long, batch.List, batch.Struct)
		s.Rename = &configs.RenameStep{Columns: map[string]string{}}
		for i, c := range cols {
			s.Rename.Columns[c] = fmt.Sprintf("r%d", i)
		}
	case 11:
		s.Drop = &configs.ColumnsStep{Columns: drawColumns(t, row)}
	case 12:
		s.Select = &configs.ColumnsStep{Columns: append(drawColumns(t, row), drawColumns(t, row, batch.String, batch.Struct, batch.List, batch.Map)...)}
	case 13:
		d := rapid.SampledFrom(derivations).Draw(t, "derive")
		d.Column, d.OnError = one("column", "new", "n", "s"), onError
		s.Derive = &d
	case 14:
		s.Mask = &configs.MaskStep{Columns: str(), Style: one("style", "", "all", "keep_last_2", "keep_first_1", "email", "ip", "null")}
	case 15:
		s.Hash = &configs.HashStep{Columns: drawColumns(t, row, batch.String, batch.Int, batch.Long, batch.UUID, batch.Binary), Key: "k", Length: 12}
	case 16:
		s.Validate = drawRules(t, row)
	case 17:
		s.Filter = &configs.FilterStep{Expression: rapid.SampledFrom(expressions).Draw(t, "expression"), Drop: rapid.Bool().Draw(t, "drop")}
	default:
		s.Deduplicate = &configs.DeduplicateStep{Key: []string{one("key", "s", "n", "id", "u", "big", "f")}, Window: configs.Duration(3e9)}
	}
	return s
}

func drawRules(t *rapid.T, row *batch.Type) *configs.ValidateStep {
	v := &configs.ValidateStep{Columns: drawColumns(t, row)}
	two := 2
	lo, hi := "0", "10"
	switch rapid.IntRange(0, 6).Draw(t, "rule") {
	case 0:
		v.Required = true
	case 1:
		v.Min, v.Max = &lo, &hi
	case 2:
		lo = "2018-01-01"
		v.Min = &lo
	case 3:
		v.Columns = drawColumns(t, row, batch.String, batch.List, batch.Map)
		v.MaxLength = &two
	case 4:
		v.Columns = drawColumns(t, row, batch.String)
		v.Pattern = "[A-Za-z ]*|1"
	case 5:
		v.OneOf = []string{"1", "0"}
	case 6:
		v.Columns, v.Expression = nil, rapid.SampledFrom(expressions).Draw(t, "expression")
	}
	return v
}

// drawSteps draws up to six steps that compile one after the other.
func drawSteps(t *rapid.T, row *batch.Type) ([]configs.Step, *cleanse.Program) {
	var steps []configs.Step
	p, err := cleanse.Compile(row, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(1, 6).Draw(t, "steps") {
		try := append(slices.Clone(steps), drawStep(t, p.Row()))
		if next, problems := cleanse.CompileAll(row, try); len(problems) == 0 {
			steps, p = try, next
		}
	}
	return steps, p
}

// TestRandomSteps compares whole batches with the interpreter, over several batches so that memory is used again.
func TestRandomSteps(t *testing.T) {
	row, err := batch.ParseType(randomRow)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		steps, p := drawSteps(t, row)
		in := newInterpreter(t, row, steps)
		for _, s := range steps {
			kinds[kindOf(&s)]++
		}
		offset, ts := int64(0), int64(0)
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			var rows []any
			var from []origin
			for range rapid.IntRange(0, 8).Draw(t, "rows") {
				rows = append(rows, drawValue(t, row, true))
				// In order of time: out of order, deduplication may forget more than the interpreter does.
				ts += rapid.Int64Range(0, 2000).Draw(t, "ts")
				from = append(from, origin{int32(rapid.IntRange(0, 1).Draw(t, "partition")), offset, ts})
				offset++
			}
			b := newBatch(row, rows, from)
			if err := p.Apply(b); err != nil {
				t.Fatal(err)
			}
			checkColumn(t, "row", p.Row(), b.Root, true, len(rows), len(b.Mem))
			in.compare(t, rows, from, b)
		}
	})
	for _, k := range []string{"Trim", "Lower", "Upper", "NormalizeSpaces", "NormalizeUnicode", "Replace", "MapValues", "Default", "Cast", "ParseTimestamp",
		"Rename", "Drop", "Select", "Derive", "Mask", "Hash", "Validate", "Filter", "Deduplicate"} {
		if kinds[k] == 0 {
			t.Errorf("no random list had a step %s", k)
		}
	}
}

func kindOf(s *configs.Step) string {
	v := reflect.ValueOf(*s)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			return v.Type().Field(i).Name
		}
	}
	return ""
}
