package window

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// bucket is what a key has of one day.
type bucket struct {
	day Day
	sum Amount
}

// buckets are those of a key, by ascending day. A day without rows has none; one whose rows add up to nothing has.
type buckets []bucket

// add puts an amount to a day.
func (bs buckets) add(day Day, a Amount) (buckets, error) {
	i := len(bs)
	for i > 0 && bs[i-1].day > day { // most rows are of the last day
		i--
	}
	if i > 0 && bs[i-1].day == day {
		sum, ok := bs[i-1].sum.plus(a)
		if !ok {
			return bs, errOverflow
		}
		bs[i-1].sum = sum
		return bs, nil
	}
	return slices.Insert(bs, i, bucket{day, a}), nil
}

// total is the sum of the days later than floor and not later than until.
func (bs buckets) total(floor, until Day) (sum Amount, err error) {
	for _, b := range bs {
		if b.day <= floor || b.day > until {
			continue
		}
		var ok bool
		if sum, ok = sum.plus(b.sum); !ok {
			return sum, errOverflow
		}
	}
	return sum, nil
}

// prune drops the days up to floor: they never count again.
func (bs buckets) prune(floor Day) buckets {
	n := 0
	for n < len(bs) && bs[n].day <= floor {
		n++
	}
	return bs[n:]
}

func (bs buckets) append(b []byte) []byte {
	last := Day(0)
	for _, x := range bs {
		b = binary.AppendVarint(b, int64(x.day-last))
		b = x.sum.appendVarint(b)
		last = x.day
	}
	return b
}

// readBuckets appends what b has to out. Days that out has already are added up only where they follow in order; merge is for others.
func readBuckets(out buckets, b []byte) (buckets, error) {
	last := int64(0)
	for len(b) > 0 {
		d, n := binary.Varint(b)
		if n <= 0 {
			return out, fmt.Errorf("damaged state: %w", errVarint)
		}
		last += d
		var sum Amount
		var err error
		if sum, b, err = readVarint(b[n:]); err != nil {
			return out, fmt.Errorf("damaged state: %w", err)
		}
		out = append(out, bucket{Day(last), sum})
	}
	return out, nil
}
