package cleanse

import (
	"time"
	_ "time/tzdata" // zones must not depend on what the machine has installed
)

// zone turns local clock readings into instants and back.
//
// A reading that the clock showed twice (set back in autumn) is taken as the first of the two; one that it skipped
// (set forward in spring) as if the clock had not been set: 02:30 becomes 03:30 of the new time. Both use the offset
// before the change.
type zone struct {
	loc  *time.Location
	utc  bool
	last segment // of the last answer: records come in order of time, mostly
}

// segment is a stretch of time with one offset; Unix seconds, [from, to).
type segment struct{ from, to, off int64 }

// margin keeps away from a segment's ends: no offset, and no change of one, is beyond two days.
const margin = 2 * 86400

func newZone(name string) (*zone, error) {
	if name == "" || name == "UTC" {
		return &zone{loc: time.UTC, utc: true}, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, err
	}
	return &zone{loc: loc}, nil
}

const forever = int64(1) << 60 // seconds: beyond any timestamp

func (z *zone) segmentAt(unix int64) segment {
	t := time.Unix(unix, 0).In(z.loc)
	_, off := t.Zone()
	from, to := t.ZoneBounds()
	s := segment{-forever, forever, int64(off)}
	if !from.IsZero() {
		s.from = from.Unix()
	}
	if !to.IsZero() {
		s.to = to.Unix()
	}
	return s
}

// instant returns the Unix microseconds at which the zone's clock showed local.
func (z *zone) instant(local int64) int64 {
	if z.utc {
		return local
	}
	secs := floorDiv(local, secondMicros)
	u := secs - z.last.off
	if u < z.last.from+margin || u >= z.last.to-margin {
		u = z.search(secs)
	}
	return local + (u-secs)*secondMicros
}

func (z *zone) search(secs int64) int64 {
	s := z.segmentAt(secs - margin)
	for {
		u := secs - s.off
		if u < s.to || s.to >= forever {
			// The first segment whose end is not yet reached holds it; in a skipped hour this is already the
			// segment after the change, which begins later than u.
			if u >= s.from {
				z.last = s
				return u
			}
			return secs - z.segmentAt(s.from-1).off
		}
		s = z.after(s)
	}
}

// after returns the segment that follows s. ZoneBounds is wrong about the last day of leap years to come: it ends a
// segment there which then goes on, and would give it again.
func (z *zone) after(s segment) segment {
	next := z.segmentAt(s.to)
	for at := s.to; next.to <= s.to; {
		at += 86400
		next = z.segmentAt(at)
	}
	next.from = s.to
	return next
}

// local returns what the zone's clock shows at an instant.
func (z *zone) local(instant int64) int64 {
	if z.utc {
		return instant
	}
	u := floorDiv(instant, secondMicros)
	if u < z.last.from || u >= z.last.to {
		z.last = z.segmentAt(u)
	}
	return instant + z.last.off*secondMicros
}
