package partitioner

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
)

func sixteen(v int64) []byte {
	b := make([]byte, 16)
	for i := range b[:8] {
		b[i] = byte(v >> 63)
	}
	copy(b[8:], bigEndian(v))
	return b
}

// Values at the edges whose partition value still fits stay; those beyond become dead letters, nulls never do.
func TestRefuse(t *testing.T) {
	p := batch.Prim
	for name, c := range map[string]struct {
		typ    *batch.Type
		entry  string
		values []any
		bad    []int32
		reason string
	}{
		"hour": {p(batch.TimestampTZ), "hour(c)", []any{firstHour, firstHour - 1, nil, lastHour, lastHour + 1, int64(math.MaxInt64)}, []int32{1, 4, 5}, "hour"},
		"day":  {p(batch.Timestamp), "day(c)", []any{int64(math.MinInt64), int64(math.MaxInt64)}, nil, ""},
		"int": {p(batch.Int), "truncate(10, c)", []any{int32(math.MinInt32), int32(-2147483640), nil, int32(math.MaxInt32)}, []int32{0},
			"-2147483648 cannot be rounded down to a multiple of 10"},
		"long": {p(batch.Long), "truncate(10, c)", []any{int64(math.MinInt64), int64(math.MinInt64 + 8), int64(math.MaxInt64)}, []int32{0}, "no long"},
		"decimal": {batch.DecimalOf(4, 2), "truncate(100, c)", []any{int64(-9900), int64(-9901), int64(9999), nil}, []int32{1},
			"-99.01 cannot be rounded down to a multiple of 100: that has more digits than the type decimal(4,2)"},
		"wide decimal": {batch.DecimalOf(19, 0), "truncate(10, c)", []any{sixteen(-5), sixteen(math.MinInt64), sixteen(7)}, nil, ""},
		"identity":     {p(batch.Long), "c", []any{int64(math.MinInt64)}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := rows(c.typ, c.values...)
			s := splitter(t, b.Root.Type, c.entry)
			if err := s.Refuse(b); err != nil {
				t.Fatal(err)
			}
			var bad []int32
			for _, r := range b.Rejects {
				bad = append(bad, r.Record)
				if r.Stage != "partition" || r.Step != s.fields[0].name || !strings.Contains(r.Reason, c.reason) {
					t.Errorf("%+v", r)
				}
			}
			if !slices.Equal(bad, c.bad) {
				t.Errorf("refused %v, want %v", bad, c.bad)
			}
			parts, err := s.Split(b)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, part := range parts {
				n += len(part.Rows)
			}
			if n != len(c.values)-len(c.bad) {
				t.Errorf("%d rows are left of %d, %d were refused", n, len(c.values), len(c.bad))
			}
		})
	}
}

// A filtered row stays filtered, whatever its value.
func TestRefuseLeavesOthersAlone(t *testing.T) {
	b := rows(batch.Prim(batch.Long), int64(math.MinInt64))
	b.Filter(0, "step")
	if err := splitter(t, b.Root.Type, "truncate(10, c)").Refuse(b); err != nil || len(b.Rejects) > 0 {
		t.Errorf("%v %v", err, b.Rejects)
	}
}

func TestRefuseWideDecimals(t *testing.T) {
	least := sixteen(0) // -10^38 + 1, which no decimal(38) rounds down from
	copy(least, []byte{0xb4, 0xc4, 0xb3, 0x57, 0xa5, 0x79, 0x3b, 0x85, 0xf6, 0x75, 0xdd, 0xc0, 0, 0, 0, 1})
	b := rows(batch.DecimalOf(38, 0), least, sixteen(-1))
	if err := splitter(t, b.Root.Type, "truncate(10, c)").Refuse(b); err != nil {
		t.Fatal(err)
	}
	if len(b.Rejects) != 1 || b.Rejects[0].Record != 0 || !strings.Contains(b.Rejects[0].Reason, "-"+strings.Repeat("9", 38)) {
		t.Errorf("%+v", b.Rejects)
	}
}
