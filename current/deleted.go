package current

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/objects"
)

// Deleted keys are read and written as streams: they may be more than fit into memory. Objects are written in the order of the keys, with a
// key once; reading relies on neither, as older versions did not always do so.

// tombstone is a deleted key in an object.
type tombstone struct {
	Key      []byte `json:"k"`
	Position string `json:"p"`
	Epoch    int32  `json:"e,omitempty"`
	Offset   int64  `json:"o"`
	At       int64  `json:"t"` // Unix milliseconds
}

func (t *tombstone) place() place { return place{t.Position, t.Epoch, t.Offset} }

// deletedReader reads the deleted keys of an object, one after the other.
type deletedReader struct {
	object objects.Reader
	lines  *bufio.Reader
	line   []byte
	buf    []byte
}

const (
	// leastAhead is how much of an object of deleted keys is read at once, bytes, at least.
	leastAhead = 64 << 10
	lineBuffer = 32 << 10
)

// openDeleted opens an object of deleted keys, of which so many bytes are read at once: an object store takes its time for each request.
func (s *states) openDeleted(ctx context.Context, uri string, ahead int64) (*deletedReader, error) {
	o, err := s.store.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bufio.NewReaderSize(io.NewSectionReader(o, 0, o.Size()), int(min(max(leastAhead, ahead), max(1, o.Size())))))
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return &deletedReader{object: o, lines: bufio.NewReaderSize(z, lineBuffer)}, nil
}

func (d *deletedReader) close() error { return d.object.Close() }

// next goes to the next key; io.EOF after the last.
func (d *deletedReader) next() error {
	d.line = d.line[:0]
	for {
		piece, err := d.lines.ReadSlice('\n')
		d.line = append(d.line, piece...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(d.line) > 0:
			return nil
		}
		return err
	}
}

// key is that of the present line, good until the next call. It is cut out of the line, since of nearly all lines it is all that anyone
// wants to know.
func (d *deletedReader) key() ([]byte, error) {
	if rest, ok := bytes.CutPrefix(d.line, []byte(`{"k":"`)); ok {
		if end := bytes.IndexByte(rest, '"'); end >= 0 {
			d.buf = slices.Grow(d.buf[:0], base64.StdEncoding.DecodedLen(end))
			n, err := base64.StdEncoding.Decode(d.buf[:cap(d.buf)], rest[:end])
			return d.buf[:n], err
		}
	}
	t, err := d.tombstone()
	return t.Key, err
}

func (d *deletedReader) tombstone() (t tombstone, err error) {
	err = json.Unmarshal(d.line, &t)
	return t, err
}

// eachDeleted calls fn at each key of an object.
func (s *states) eachDeleted(ctx context.Context, uri string, ahead int64, fn func(d *deletedReader) error) (err error) {
	d, err := s.openDeleted(ctx, uri, ahead)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	for ctx.Err() == nil {
		if err := d.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := fn(d); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// readDeleted calls fn at each key of all objects of a state. A key may come several times.
func (s *states) readDeleted(ctx context.Context, st *state, ahead int64, fn func(d *deletedReader) error) error {
	for _, p := range st.Deleted {
		if err := s.eachDeleted(ctx, s.uri(p.ID), ahead, fn); err != nil {
			return s.unreadable(p, err)
		}
	}
	return nil
}

func (s *states) unreadable(p deletedPart, err error) error {
	if errors.Is(err, objects.ErrNotFound) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	return fmt.Errorf("reading deleted keys (%s): %w", s.uri(p.ID), err)
}

// outdated tells of the keys of a window that were deleted after their change there.
func (s *states) outdated(ctx context.Context, st *state, w *window, ahead int64, late func(key string)) error {
	if len(w.winners) == 0 {
		return nil
	}
	return s.readDeleted(ctx, st, ahead, func(d *deletedReader) error {
		key, err := d.key()
		if err != nil {
			return err
		}
		c := w.winners[string(key)]
		if c == nil {
			return nil
		}
		t, err := d.tombstone()
		if err == nil && t.place().compare(c.place) >= 0 {
			late(string(t.Key))
		}
		return err
	})
}

// keep makes the objects of deleted keys of the next state: those that are known already, and new ones, in the order of their keys. What is
// older than before is forgotten: with its object, or when objects are put into one.
func (s *states) keep(ctx context.Context, st *state, deleted []deletion, ahead int64, before time.Time) ([]deletedPart, error) {
	var parts, old []deletedPart
	for _, p := range st.Deleted {
		if p.Newest >= before.UnixMilli() {
			parts = append(parts, p)
		}
	}
	if len(parts) >= maxParts {
		parts, old = nil, parts
	}
	p, err := s.mergeDeleted(ctx, old, deleted, ahead, func(t *tombstone) bool { return t.At >= before.UnixMilli() })
	if p.Rows > 0 {
		parts = append(parts, p)
	}
	return parts, err
}

// mergeDeleted makes one object of several and of new deletes, which are in order: of each key the last delete. Of those that were known
// stays what is said to. No object is made where nothing is left.
func (s *states) mergeDeleted(ctx context.Context, old []deletedPart, deleted []deletion, ahead int64, stays func(*tombstone) bool) (p deletedPart, err error) {
	if len(old) == 0 && len(deleted) == 0 {
		return p, nil
	}
	out := &deletedWriter{states: s}
	defer out.abort() // of no effect after commit
	m := &deletedMerge{states: s, ctx: ctx}
	defer func() { err = errors.Join(err, m.close()) }()
	next, stop := iter.Pull(tombstones(deleted))
	defer stop()
	m.add(deletedPart{}, func() (t tombstone, err error) {
		t, ok := next()
		if !ok {
			err = io.EOF
		}
		return t, err
	})
	for _, o := range old {
		if err := m.open(o, ahead/int64(len(old))); err != nil {
			return p, err
		}
	}
	for {
		t, fresh, err := m.next()
		if errors.Is(err, io.EOF) {
			return out.commit(ctx)
		}
		if err == nil && (fresh || stays(&t)) {
			err = out.add(ctx, &t)
		}
		if err != nil {
			return p, err
		}
	}
}

// deletedMerge merges streams of deleted keys. The first is that of new ones.
type deletedMerge struct {
	*states
	ctx     context.Context
	streams []*deletedStream
	readers []*deletedReader
}

type deletedStream struct {
	part deletedPart
	pull func() (tombstone, error)
	head tombstone
	some bool // there is a head
	done bool
}

func (m *deletedMerge) add(p deletedPart, pull func() (tombstone, error)) {
	m.streams = append(m.streams, &deletedStream{part: p, pull: pull})
}

func (m *deletedMerge) open(p deletedPart, ahead int64) error {
	d, err := m.openDeleted(m.ctx, m.uri(p.ID), ahead)
	if err != nil {
		return m.unreadable(p, err)
	}
	m.readers = append(m.readers, d)
	m.add(p, func() (t tombstone, err error) {
		if err := d.next(); err != nil {
			return t, err
		}
		return d.tombstone()
	})
	return nil
}

func (m *deletedMerge) close() (err error) {
	for _, d := range m.readers {
		err = errors.Join(err, d.close())
	}
	return err
}

// least is the stream whose next key comes first; -1: there is none any more.
func (m *deletedMerge) least() (int, error) {
	at := -1
	for i, x := range m.streams {
		if !x.some && !x.done {
			switch t, err := x.pull(); {
			case errors.Is(err, io.EOF):
				x.done = true
			case err != nil:
				return at, m.unreadable(x.part, err)
			default:
				x.head, x.some = t, true
			}
		}
		if x.some && (at < 0 || bytes.Compare(x.head.Key, m.streams[at].head.Key) < 0) {
			at = i
		}
	}
	return at, m.ctx.Err()
}

// next is the last delete of the next key, and whether it is a new one; io.EOF after the last. Of a stream that is out of order a key may
// come again.
func (m *deletedMerge) next() (last tombstone, fresh bool, err error) {
	for some := false; ; some = true {
		at, err := m.least()
		switch {
		case err != nil:
			return last, fresh, err
		case at < 0 && !some:
			return last, fresh, io.EOF
		case at < 0, some && !bytes.Equal(m.streams[at].head.Key, last.Key):
			return last, fresh, nil
		}
		x := m.streams[at]
		if !some || x.head.place().compare(last.place()) > 0 {
			last, fresh = x.head, at == 0
		}
		x.some = false
	}
}

// deletedWriter writes an object of deleted keys, which is made with the first.
type deletedWriter struct {
	*states
	part   deletedPart
	upload objects.Upload
	z      *gzip.Writer
	lines  *json.Encoder
}

func (w *deletedWriter) add(ctx context.Context, t *tombstone) error {
	if w.upload == nil {
		v7, err := uuid.NewV7()
		if err != nil {
			return err
		}
		w.part.ID = v7.String() + deletedSuffix
		if w.upload, err = w.store.Create(ctx, w.uri(w.part.ID)); err != nil {
			return w.failed(err)
		}
		w.z = gzip.NewWriter(w.upload)
		w.lines = json.NewEncoder(w.z)
	}
	w.part.Rows++
	w.part.Newest = max(w.part.Newest, t.At)
	if err := w.lines.Encode(t); err != nil {
		return w.failed(err)
	}
	return nil
}

// commit makes the object durable; that of no keys is none.
func (w *deletedWriter) commit(ctx context.Context) (deletedPart, error) {
	if w.upload == nil {
		return w.part, nil
	}
	err := w.z.Close()
	if err == nil {
		err = w.upload.Commit(ctx)
	}
	if err != nil {
		return deletedPart{}, w.failed(err)
	}
	return w.part, nil
}

func (w *deletedWriter) failed(err error) error {
	return fmt.Errorf("writing deleted keys (%s): %w", w.uri(w.part.ID), err)
}

func (w *deletedWriter) abort() {
	if w.upload != nil {
		w.upload.Abort()
	}
}

// deletion is a key of a window whose last change is a delete.
type deletion struct {
	key string
	*change
}

// deletions are those of the window, in the order of the keys.
func (w *window) deletions() (list []deletion) {
	for key, c := range w.winners {
		if c.isDelete() {
			list = append(list, deletion{key, c})
		}
	}
	slices.SortFunc(list, func(a, b deletion) int { return strings.Compare(a.key, b.key) })
	return list
}

func tombstones(list []deletion) iter.Seq[tombstone] {
	return func(yield func(tombstone) bool) {
		for _, d := range list {
			if !yield(tombstone{[]byte(d.key), d.position, d.epoch, d.offset, d.at}) {
				return
			}
		}
	}
}
