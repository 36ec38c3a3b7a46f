package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// The columns of a target that lakeloader adds.
const (
	ColumnDay      = "day"              // date, the first column: what the table is partitioned by
	ColumnSnapshot = "_source_snapshot" // long: the snapshot of the source that a row was made from
)

// property is the name of a target's property that says what was calculated.
func property(aggregate string) string { return table.Prefix + "aggregate." + aggregate }

// mark is the property: a pointer to the state, which moves in the swap that replaces days. Whoever finds another one than it
// has planned from plans again, so of two runs at once only one lands.
type mark struct {
	Source     string `json:"source"`      // table, for people
	SourceUUID string `json:"source_uuid"` // another one: a table that was dropped and made again
	// Snapshot of the source up to which all days are calculated; 0: not all of them are yet.
	Snapshot int64 `json:"snapshot"`
	// Definition is a hash of what is calculated.
	Definition string `json:"definition"`
	// State names the object with the days.
	State string `json:"state"`
}

// state is an immutable object: what is known of each day that was calculated.
type state struct {
	Days map[Day]dayState `json:"days"` // by 2026-11-21
	// Wide are the days of files of the source whose metadata do not tell them, by path.
	Wide map[string][]Day `json:"wide,omitempty"`
}

// dayState is how a day was calculated.
type dayState struct {
	Snapshot int64  `json:"snapshot"` // of the source
	Rows     int64  `json:"rows"`     // of the target
	Mark     string `json:"mark"`     // of the files that it was calculated from, and of the definition
}

// states keeps state objects below Root/<aggregate>/.
type states struct {
	store objects.Store
	root  string
	name  string
}

// Folder is where the states of aggregates lie, below the root of the warehouse. It ends with a slash.
func Folder(root string) string { return root + "/_lakeloader/_aggregates/" }

func (s *states) uri(id string) string { return Folder(s.root) + s.name + "/" + id + ".json" }

// errGone: another run has moved on, and removed the state that it replaced.
var errGone = errors.New("the state is gone")

func (s *states) read(ctx context.Context, id string) (*state, error) {
	st := &state{Days: map[Day]dayState{}}
	if id == "" {
		return st, nil
	}
	data, err := objects.Read(ctx, s.store, s.uri(id))
	if errors.Is(err, objects.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", errGone, s.uri(id))
	}
	if err == nil {
		err = json.Unmarshal(data, st)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of aggregate %s (%s): %w", s.name, s.uri(id), err)
	}
	if st.Days == nil {
		st.Days = map[Day]dayState{}
	}
	return st, nil
}

// write makes a new object, durable before a swap names it.
func (s *states) write(ctx context.Context, st *state) (id string, err error) {
	data, err := json.Marshal(st)
	if err != nil {
		return "", err
	}
	v7, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	if err := s.store.Put(ctx, s.uri(v7.String()), data); err != nil {
		return "", fmt.Errorf("writing the state of aggregate %s: %w", s.name, err)
	}
	return v7.String(), nil
}

// parseMark reads the property; the zero mark when there is none.
func parseMark(name string, props map[string]string) (m mark, err error) {
	text := props[property(name)]
	if text == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("the property %s of the table cannot be read (%q): %w; remove it to have all days calculated anew", property(name), text, err)
	}
	return m, nil
}

func (m mark) text() (string, error) {
	data, err := json.Marshal(m)
	return string(data), err
}

// StateObject is an object in the folder of states.
type StateObject struct {
	objects.Info
	Aggregate, ID string
}

// StateObjects lists what lies in the folder of states.
func StateObjects(ctx context.Context, store objects.Store, root string) ([]StateObject, error) {
	list, err := store.List(ctx, Folder(root))
	if err != nil {
		return nil, err
	}
	var out []StateObject
	for _, o := range list {
		name, rest, ok := strings.Cut(strings.TrimPrefix(o.URI, Folder(root)), "/")
		if id, is := strings.CutSuffix(rest, ".json"); ok && is {
			out = append(out, StateObject{o, name, id})
		}
	}
	return out, nil
}

// NamedState is the id of the state that a target's properties name; empty: none.
func NamedState(aggregate string, props map[string]string) (string, error) {
	m, err := parseMark(aggregate, props)
	return m.State, err
}
