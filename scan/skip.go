package scan

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/format"
)

// Skip passes over the next n rows, or as many as there are. Of columns in no list, pages that lie among them whole are not even decompressed.
func (r *Batches) Skip(n int64) error {
	return r.f.sound(func() error {
		for n > 0 {
			if r.left == 0 {
				if err := r.nextGroup(); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
			}
			rows := min(n, r.left)
			for _, l := range r.leaves {
				if err := l.skip(rows); err != nil {
					return fmt.Errorf("column %s, from row %d on: %w", l.name, r.at, err)
				}
			}
			n, r.left, r.at = n-rows, r.left-rows, r.at+rows
		}
		return nil
	})
}

// skip is take without the values.
func (l *leaf) skip(n int64) error {
	for rows := int64(0); l.rep > 0 || rows < n; {
		if l.own && l.rep == 0 && l.next == l.end {
			passed, err := l.chunk.pass(n - rows)
			rows += passed
			switch {
			case errors.Is(err, errForeign):
				if err := l.handOver(); err != nil {
					return err
				}
				continue
			case err != nil:
				return err
			case rows == n:
				return nil
			}
		}
		if err := l.more(); errors.Is(err, io.EOF) {
			if rows < n {
				return fmt.Errorf("%w: there are fewer rows than its metadata says", errDamaged)
			}
			return nil
		} else if err != nil {
			return err
		}
		taken, begun, err := l.upTo(int(min(n-rows, valuesAtOnce)), rows > 0)
		if err != nil {
			return err
		}
		rows += int64(begun)
		for end := l.next + taken; l.next < end; l.next++ {
			if l.definition(l.next) == l.def {
				l.value++
			}
		}
		if l.next < l.end {
			return nil
		}
	}
	return nil
}

// pass goes over whole pages with at most so many entries together, unless it is within one, and begins the page after them.
func (c *chunk) pass(most int64) (passed int64, err error) {
	for c.entries == 0 && c.left > 0 && passed < most {
		h, b, err := c.page()
		if err != nil {
			return passed, err
		}
		n := int64(-1)
		switch h.Type {
		case format.DataPage:
			n = int64(h.DataPageHeader.V.NumValues)
		case format.DataPageV2:
			n = int64(h.DataPageHeaderV2.V.NumValues)
		}
		if n >= 0 && n <= most-passed {
			c.left, c.given, passed = c.left-n, c.given+n, passed+n
			continue
		}
		if err := c.enter(h, b); err != nil {
			return passed, err
		}
	}
	return passed, nil
}
