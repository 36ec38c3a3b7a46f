package engines

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
)

func TestValues(t *testing.T) {
	p := batch.Prim
	day := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		in   any
		t    *batch.Type
		want string // the value, or a part of the error behind !
	}{
		{nil, p(batch.Long), "<nil>"},
		{true, p(batch.Boolean), "true"}, {"true", p(batch.Boolean), "true"}, {"no", p(batch.Boolean), "!string"}, {int64(1), p(batch.Boolean), "!int64"},
		{int64(1) << 31, p(batch.Int), "!beyond the type"}, {int64(-1) << 31, p(batch.Int), "-2147483648"}, {"9223372036854775807", p(batch.Long), "9223372036854775807"},
		{"9223372036854775808", p(batch.Long), "!9223372036854775808 is beyond"}, {"12.0", p(batch.Long), "12"}, {"12.5", p(batch.Long), "!has decimals"}, {3.0, p(batch.Long), "3"},
		{1e300, p(batch.Long), "!beyond"}, {"0x10", p(batch.Long), "!string"}, {"1/2", p(batch.Long), "!string"}, {"1e999999999", p(batch.Long), "!string"}, {"1e-999999999", p(batch.Long), "!string"},
		{"NaN", p(batch.Double), "NaN"}, {"-Infinity", p(batch.Double), "-Inf"}, {int64(2), p(batch.Double), "2"}, {"1.25", p(batch.Float), "1.25"}, {"x", p(batch.Double), "!string"},
		{"1.10", batch.DecimalOf(3, 1), "11"}, {"-99.9", batch.DecimalOf(3, 1), "-999"}, {"100", batch.DecimalOf(3, 1), "!more than 3 digits"}, {"1.11", batch.DecimalOf(3, 1), "!more than 1 decimals"},
		{0.5, batch.DecimalOf(3, 1), "!float64"}, {int64(5), batch.DecimalOf(3, 1), "50"}, {strings.Repeat("9", 38), batch.DecimalOf(38, 0), strings.Repeat("9", 38)},
		{day, p(batch.Date), "2026-11-21 00:00:00 +0000 UTC"}, {day.Add(time.Second), p(batch.Date), "!is no date"}, {"2026-11-21", p(batch.Date), "2026-11-21 00:00:00 +0000 UTC"},
		{"2026-11-21 01:02:03.123456 UTC", p(batch.TimestampTZ), "2026-11-21 01:02:03.123456 +0000 UTC"}, {"2026-11-21T01:02:03Z", p(batch.TimestampTZ), "2026-11-21 01:02:03 +0000 UTC"},
		{"2026-11-21 01:02:03.123456789", p(batch.Timestamp), "!microseconds"}, {"yesterday", p(batch.Timestamp), "!string"}, {int64(1), p(batch.Timestamp), "!int64"},
		{day.In(time.FixedZone("", 3600)), p(batch.TimestampTZ), "2026-11-21 00:00:00 +0000 UTC"},
		{"x", p(batch.String), "x"}, {[]byte("x"), p(batch.String), "![]uint8"}, {[]byte("ab"), p(batch.Binary), "[97 98]"}, {"ab", p(batch.Binary), "!string"},
		{[]byte("ab"), batch.FixedOf(2), "[97 98]"}, {[]byte("ab"), batch.FixedOf(3), "!it has 2 bytes"},
		{"00000000-0000-0000-0000-0000000000ff", p(batch.UUID), "[0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 255]"}, {"0000", p(batch.UUID), "!string"}, {"x", p(batch.Time), "!string"},
	} {
		row := []any{x.in}
		err := Row(row, []aggregate.Column{{Name: "c", Type: x.t}})
		wrong, fails := strings.CutPrefix(x.want, "!")
		var own *ValueError
		switch {
		case fails && (!errors.As(err, &own) || !strings.Contains(err.Error(), wrong) || !strings.Contains(err.Error(), "column c, of type "+x.t.String())):
			t.Errorf("%T %v as %v: %v", x.in, x.in, x.t, err)
		case !fails && (err != nil || fmt.Sprint(row[0]) != x.want):
			t.Errorf("%T %v as %v: %v, %v", x.in, x.in, x.t, row[0], err)
		}
		if n, ok := row[0].(*big.Int); x.t.Kind == batch.Decimal && !fails && (!ok || n == nil) {
			t.Errorf("a decimal is %T", row[0])
		}
	}
	if err := Row(nil, []aggregate.Column{{Name: "c", Type: p(batch.Long)}}); err == nil || !strings.Contains(err.Error(), "0 columns instead of 1") {
		t.Error(err)
	}
}

func TestErrorsSayWhoAndWhat(t *testing.T) {
	n := Named{"cluster", "trino", "https://t:8443"}
	err := n.Failed(t.Context(), "SELECT\n  "+strings.Repeat("ä", 200), errors.New("no"), "do this")
	want := "engine cluster (trino at https://t:8443): no; do this; the statement: SELECT " + strings.Repeat("ä", 113) + "..."
	if err.Error() != want {
		t.Errorf("%v\n%s", err, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the lease was lost"))
	if err := n.Failed(ctx, "SELECT 1", errors.New("no"), "x"); err.Error() != "engine cluster (trino at https://t:8443) was stopped: the lease was lost: SELECT 1" {
		t.Error(err)
	}
}
