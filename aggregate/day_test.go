package aggregate

import (
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// Days begin where the clocks of a zone say so, also where these are changed at midnight.
func TestDaysBegin(t *testing.T) {
	for _, c := range []struct{ zone, day, begin string }{
		{"UTC", "2026-11-21", "2026-11-21T00:00:00Z"},
		{"Europe/Berlin", "2026-11-21", "2026-11-20T23:00:00Z"},
		{"Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"}, // 23 hours
		{"Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00Z"},
		{"Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z"}, // 25 hours
		{"Europe/Berlin", "2026-10-26", "2026-10-25T23:00:00Z"},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"}, // there was no midnight: the clocks went from 0 to 1
		{"America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"}, // midnight went back to 23
		{"America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00:00Z"},
		{"Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15:00Z"},
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"}, // after a day that there was not
		{"Pacific/Kiritimati", "2026-01-01", "2025-12-31T10:00:00Z"},
	} {
		d, err := ParseDay(c.day)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Begin(zone(t, c.zone)).Format(time.RFC3339); got != c.begin {
			t.Errorf("%s in %s begins at %s, want %s", c.day, c.zone, got, c.begin)
		}
	}
}

// Every instant is in one day, the one whose range has it; ranges follow each other.
func TestDaysPartitionTime(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu", "Australia/Lord_Howe"} {
		z := zone(t, name)
		c, err := NewClock(batch.TimestampTZ, z)
		if err != nil {
			t.Fatal(err)
		}
		from := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)
		last := c.at(from)
		for at := from; at.Year() < 2020; at = at.Add(29*time.Minute + 997*time.Millisecond) {
			d := c.at(at)
			if at.Before(d.Begin(z)) || !at.Before((d + 1).Begin(z)) {
				t.Fatalf("%s: %v is not in %s, which is [%v, %v)", name, at, d, d.Begin(z), (d + 1).Begin(z))
			}
			if d < last {
				t.Fatalf("%s: at %v comes %s after %s", name, at, d, last)
			}
			last = d
		}
	}
}
