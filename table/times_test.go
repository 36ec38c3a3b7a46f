package table

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		unit  Unit
		at    string
		n     int
		label string
		start string
	}{
		{Hour, "1970-01-01T00:59:59Z", 0, "1970-01-01-00", "1970-01-01T00:00:00Z"},
		{Hour, "1969-12-31T23:59:59Z", -1, "1969-12-31-23", "1969-12-31T23:00:00Z"},
		{Hour, "2026-11-20T05:30:00+02:00", 498651, "2026-11-20-03", "2026-11-20T03:00:00Z"},
		{Day, "2026-11-20T00:00:00Z", 20777, "2026-11-20", "2026-11-20T00:00:00Z"},
		{Day, "1969-12-31T00:00:00Z", -1, "1969-12-31", "1969-12-31T00:00:00Z"},
		{Month, "2026-11-30T23:59:59Z", 682, "2026-11", "2026-11-01T00:00:00Z"},
		{Month, "1969-12-31T00:00:00Z", -1, "1969-12", "1969-12-01T00:00:00Z"},
		{Year, "2026-11-30T23:59:59Z", 56, "2026", "2026-01-01T00:00:00Z"},
		{Year, "1968-11-30T23:59:59Z", -2, "1968", "1968-01-01T00:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		n := c.unit.Of(at)
		back, err := c.unit.Parse(c.label)
		if n != c.n || back != c.n || err != nil || c.unit.Label(n) != c.label || c.unit.Start(n).Format(time.RFC3339) != c.start {
			t.Errorf("%s of %s is %d (%s from %s), and %s is %d, %v", c.unit, c.at, n, c.unit.Label(n), c.unit.Start(n).Format(time.RFC3339), c.label, back, err)
		}
	}
	if _, err := Day.Parse("2026-11"); err == nil {
		t.Error("a month is read as a day")
	}
}

func TestTimeField(t *testing.T) {
	row := batch.StructOf(batch.Field{Name: "ts", Type: batch.Prim(batch.TimestampTZ)}, batch.Field{Name: "c", Type: batch.Prim(batch.String)},
		batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "d", Type: batch.Prim(batch.Date)})})
	for want, fields := range map[Unit][]PartitionField{
		Hour: {{Source: "c", Transform: "identity"}, {Source: "ts", Transform: "hour"}},
		Day:  {{Source: "ts", Transform: "identity"}, {Source: "s.d", Transform: "identity"}},
	} {
		if at, unit := (Info{Row: row, PartitionBy: fields}).TimeField(); at != 1 || unit != want {
			t.Errorf("%v: %d, %s", fields, at, unit)
		}
	}
	for _, fields := range [][]PartitionField{nil, {{Source: "c", Transform: "bucket[4]"}, {Source: "gone", Transform: "identity"}}} {
		if at, _ := (Info{Row: row, PartitionBy: fields}).TimeField(); at != -1 {
			t.Errorf("%v: %d", fields, at)
		}
	}
	if n, ok := TimeValue(binary.LittleEndian.AppendUint32(nil, ^uint32(0))); n != -1 || !ok {
		t.Errorf("-1 is %d, %v", n, ok)
	}
	if _, ok := TimeValue(nil); ok {
		t.Error("null has a time")
	}
}
