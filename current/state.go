package current

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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

func (s *states) put(ctx context.Context, data []byte) (id string, err error) {
	v7, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	id = v7.String() + ".json"
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
