package current

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Property is the name of a target's property that says how far its pipeline's changes were applied.
func Property(pipeline string) string { return table.Prefix + "current." + pipeline }

// mark is the property: a pointer to the state, which moves in the swap that applies changes. Whoever finds another one than it has
// planned from plans again, so of two runs at once only one lands.
type mark struct {
	Source string `json:"source"` // table, for people
	State  string `json:"state"`  // names the object
}

// state is an immutable object: what was applied.
type state struct {
	Key    []string      `json:"key"`
	Cursor follow.Cursor `json:"cursor"`
	// Edit is the last round that changed what was decided before it: after another one all changes are looked at again.
	Edit int64 `json:"edit"`
	// Truncated is the position of the last truncate; empty: there was none.
	Truncated string `json:"truncated,omitempty"`
	// Deleted are the objects with the keys of rows that were deleted.
	Deleted []deletedPart `json:"deleted,omitempty"`
}

// deletedPart is an immutable object with deleted keys.
type deletedPart struct {
	ID   string `json:"id"`
	Rows int    `json:"rows"`
	// Newest is when the latest of the deletes reached Kafka, Unix milliseconds.
	Newest int64 `json:"newest"`
}

// deletedSuffix ends the names of objects with deleted keys.
const deletedSuffix = ".deleted.json.gz"

// maxParts is how many objects of deleted keys there are before they are put into one.
const maxParts = 20

// place is where a change stands among those of its key: by the position in the source, then by the epoch in which it was loaded, so
// that what a rewind loads again takes the place of what it was, then by the offset.
type place struct {
	position string
	epoch    int32
	offset   int64
}

func (p place) compare(o place) int {
	switch {
	case p.position != o.position:
		return strings.Compare(p.position, o.position)
	case p.epoch != o.epoch:
		return int(p.epoch) - int(o.epoch)
	case p.offset < o.offset:
		return -1
	case p.offset > o.offset:
		return 1
	}
	return 0
}

// tombstone is a deleted key in an object.
type tombstone struct {
	Key      []byte `json:"k"`
	Position string `json:"p"`
	Epoch    int32  `json:"e,omitempty"`
	Offset   int64  `json:"o"`
	At       int64  `json:"t"` // Unix milliseconds
}

// states keeps objects below Root/_lakeloader/_current/<pipeline>/.
type states struct {
	store    objects.Store
	root     string
	pipeline string
}

// Folder is where states lie, below the root of the warehouse. It ends with a slash.
func Folder(root string) string { return root + "/_lakeloader/_current/" }

func (s *states) uri(id string) string { return Folder(s.root) + s.pipeline + "/" + id }

// errGone: another run has moved on, and removed what it replaced.
var errGone = errors.New("the state is gone")

func (s *states) get(ctx context.Context, id string) ([]byte, error) {
	data, err := objects.Read(ctx, s.store, s.uri(id))
	if errors.Is(err, objects.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", errGone, s.uri(id))
	}
	return data, err
}

func (s *states) put(ctx context.Context, suffix string, data []byte) (id string, err error) {
	v7, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	id = v7.String() + suffix
	if err := s.store.Put(ctx, s.uri(id), data); err != nil {
		return "", fmt.Errorf("writing %s: %w", s.uri(id), err)
	}
	return id, nil
}

func (s *states) read(ctx context.Context, id string) (*state, error) {
	st := &state{}
	if id == "" {
		return st, nil
	}
	data, err := s.get(ctx, id)
	if err == nil {
		err = json.Unmarshal(data, st)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was applied (%s): %w", s.uri(id), err)
	}
	return st, nil
}

// readDeleted reads all deleted keys of a state, with the last delete of each.
func (s *states) readDeleted(ctx context.Context, st *state) (map[string]tombstone, error) {
	all := map[string]tombstone{}
	for _, p := range st.Deleted {
		data, err := s.get(ctx, p.ID)
		if err == nil {
			err = eachTombstone(data, func(t tombstone) {
				if have, ok := all[string(t.Key)]; !ok || t.place().compare(have.place()) > 0 {
					all[string(t.Key)] = t
				}
			})
		}
		if err != nil {
			return nil, fmt.Errorf("reading deleted keys (%s): %w", s.uri(p.ID), err)
		}
	}
	return all, nil
}

func (t tombstone) place() place { return place{t.Position, t.Epoch, t.Offset} }

func eachTombstone(data []byte, each func(tombstone)) error {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	d := json.NewDecoder(z)
	for {
		var t tombstone
		if err := d.Decode(&t); errors.Is(err, io.EOF) {
			return z.Close()
		} else if err != nil {
			return err
		}
		each(t)
	}
}

func (s *states) writeDeleted(ctx context.Context, list []tombstone) (deletedPart, error) {
	p := deletedPart{Rows: len(list)}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	e := json.NewEncoder(z)
	for _, t := range list {
		p.Newest = max(p.Newest, t.At)
		if err := e.Encode(t); err != nil {
			return p, err
		}
	}
	if err := z.Close(); err != nil {
		return p, err
	}
	var err error
	p.ID, err = s.put(ctx, deletedSuffix, out.Bytes())
	return p, err
}

// keep makes the objects of deleted keys of the next state: those that are known already (all), and new ones. What is older than
// before is forgotten.
func (s *states) keep(ctx context.Context, st *state, all map[string]tombstone, deleted []tombstone, before time.Time) ([]deletedPart, error) {
	var parts []deletedPart
	for _, p := range st.Deleted {
		if p.Newest >= before.UnixMilli() {
			parts = append(parts, p)
		}
	}
	if len(parts) >= maxParts {
		parts = nil
		for _, t := range all {
			if t.At >= before.UnixMilli() {
				deleted = append(deleted, t)
			}
		}
	}
	if len(deleted) == 0 {
		return parts, nil
	}
	slices.SortFunc(deleted, func(a, b tombstone) int { return bytes.Compare(a.Key, b.Key) })
	p, err := s.writeDeleted(ctx, deleted)
	return append(parts, p), err
}

// parseMark reads the property; the zero mark when there is none.
func parseMark(pipeline string, props map[string]string) (m mark, err error) {
	text := props[Property(pipeline)]
	if text == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("the property %s of the table cannot be read (%q): %w", Property(pipeline), text, err)
	}
	return m, nil
}

// StateObject is an object in the folder of states.
type StateObject struct {
	objects.Info
	Pipeline, ID string
}

// StateObjects lists what lies in the folder of states.
func StateObjects(ctx context.Context, store objects.Store, root string) ([]StateObject, error) {
	list, err := store.List(ctx, Folder(root))
	if err != nil {
		return nil, err
	}
	var out []StateObject
	for _, o := range list {
		if name, id, ok := strings.Cut(strings.TrimPrefix(o.URI, Folder(root)), "/"); ok {
			out = append(out, StateObject{o, name, id})
		}
	}
	return out, nil
}

// Named are the ids of the objects that a target's properties lead to.
func Named(ctx context.Context, store objects.Store, root, pipeline string, props map[string]string) ([]string, error) {
	m, err := parseMark(pipeline, props)
	if err != nil || m.State == "" {
		return nil, err
	}
	st, err := (&states{store, root, pipeline}).read(ctx, m.State)
	if err != nil {
		return nil, err
	}
	ids := []string{m.State}
	for _, p := range st.Deleted {
		ids = append(ids, p.ID)
	}
	return ids, nil
}
