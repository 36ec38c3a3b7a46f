package pipeline

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/table"
)

// Round is one loader's consistent cut over the partitions that it owns: the unit of commit and of giving up.
// Its object is written before the swap that commits it and never changes, so that any loader can finish it.
type Round struct {
	ID       string      `json:"id"`
	Pipeline string      `json:"pipeline"`
	Version  string      `json:"lakeloader"` // of the program that wrote it
	Moves    []Move      `json:"moves"`
	Tables   []RoundFile `json:"tables"` // the primary first, the dead letters last, routed ones in between
	Edits    []Edit      `json:"edits,omitempty"`
	Begins   []Begin     `json:"begins,omitempty"`
	// Reason is what a person said of a round with edits; it goes into the snapshots' summaries.
	Reason string `json:"reason,omitempty"`
	// Tidy: a swap that takes no rows out makes a snapshot whose manifests list no files that are gone (table.Change).
	Tidy bool `json:"tidy,omitempty"`
	// AtMS is when the round was planned, Unix milliseconds; of rounds with edits only.
	AtMS int64 `json:"at_ms,omitempty"`
	// Seen is the number of the last round with edits that this one rests on (Ledger.Edit); -1: it rests on none.
	Seen int64 `json:"-"`
	// OldestMS is when the oldest of its files was begun, without files when its object was made, Unix milliseconds.
	OldestMS int64 `json:"oldest_ms"`
}

// RoundFile is the files of a round in one table.
type RoundFile struct {
	Table table.Ident  `json:"table"`
	Files []table.File `json:"files"`
	// Routed: the rows are the pipeline's as much as the primary's; Move.Routed says which offsets they have.
	Routed bool `json:"routed,omitempty"`
	// Value is what a routed table was named after; empty: the configuration names it.
	Value string `json:"value,omitempty"`
	// UUID of the table that the files were written for, but for the primary. Another of that name may number its columns differently, and where the
	// round had been added to the one before, compaction and expiry may have deleted the files since.
	UUID string `json:"uuid,omitempty"`
}

// replaced reports whether the table is another one than the files were written for.
func (t *RoundFile) replaced(base *table.Base) bool { return t.UUID != "" && t.UUID != base.UUID }

// rows counts the rows of files.
func rows(files []table.File) (n int64) {
	for _, f := range files {
		n += f.Rows
	}
	return n
}

// Move is how far a round brings one partition, and what became of the offsets in between that are no rows of the primary
// table. Every offset in [From.Next, To.Next) is exactly one of: a row of the primary table, in Routed, Filtered, Dead or Gaps.
type Move struct {
	Key table.Key `json:"partition"`
	// Known is false when the table has no record of the partition yet; From then says where it begins.
	Known bool         `json:"known"`
	From  table.Record `json:"from"`
	To    table.Record `json:"to"`
	// Filtered and Dead are keyed by the step that decided.
	Filtered map[string]*Offsets `json:"filtered,omitempty"`
	Dead     map[string]*Offsets `json:"dead,omitempty"`
	Gaps     *Offsets            `json:"gaps,omitempty"`
	// Routed is keyed by the table (table.Ident.String) that has the rows.
	Routed map[string]*Offsets `json:"routed,omitempty"`
}

// onto is what a table at now, which is where the move begins, says after it. Edits may have changed the counters and the
// first offset since the move was planned.
func (m *Move) onto(now table.Record) table.Record {
	to := m.To
	if m.Known {
		to.First = now.First
		to.Counts = now.Counts.Plus(m.To.Counts.Minus(m.From.Counts))
	}
	return to
}

// Offsets is a set of offsets of one partition, in JSON as a portable roaring64 bitmap in base64.
type Offsets struct{ roaring64.Bitmap }

// MarshalJSON implements json.Marshaler.
func (o *Offsets) MarshalJSON() ([]byte, error) {
	o.RunOptimize()
	b, err := o.ToBytes()
	if err != nil {
		return nil, err
	}
	return json.Marshal(b)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Offsets) UnmarshalJSON(text []byte) error {
	var b []byte
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	// The first number says how many containers follow, each of which takes 12 bytes at least; memory for them is
	// allocated before anything else is looked at.
	if len(b) < 8 || binary.LittleEndian.Uint64(b) > uint64(len(b)/12) {
		return errors.New("a set of offsets is broken")
	}
	if err := o.UnmarshalBinary(b); err != nil {
		return fmt.Errorf("a set of offsets is broken: %w", err)
	}
	if err := o.Validate(); err != nil && !o.IsEmpty() {
		return fmt.Errorf("a set of offsets is broken: %w", err)
	}
	return nil
}

// needsObject: a round that touches the primary table only, with nothing filtered and no gaps, says all there is to
// say in the swap itself.
func (r *Round) needsObject() bool {
	if len(r.Edits) > 0 {
		return true
	}
	for _, t := range r.Tables[1:] {
		if len(t.Files) > 0 {
			return true
		}
	}
	for _, m := range r.Moves {
		if len(m.Filtered) > 0 || len(m.Dead) > 0 || m.Gaps != nil {
			return true
		}
	}
	return false
}

// check makes sure that a round says something of every offset before anyone relies on it.
func (r *Round) check() error {
	want, routed := int64(0), map[string]int64{}
	for _, m := range r.Moves {
		if d := m.To.Counts.Minus(m.From.Counts).Sum(); d != m.To.Next-m.From.Next {
			return fmt.Errorf("round %s, %s: %d offsets are accounted for in the range %d to %d: this is a defect of lakeloader, nothing was committed", r.ID, m.Key, d, m.From.Next, m.To.Next)
		}
		want += m.To.Rows - m.From.Rows
		for id, o := range m.Routed {
			routed[id] += int64(o.GetCardinality())
		}
	}
	for _, e := range r.Edits {
		c := e.counts()
		if n := int64(e.Changed().GetCardinality()); c.Sum() != n {
			return fmt.Errorf("round %s, %s epoch %d: %d decisions were made about %d offsets: this is a defect of lakeloader, nothing was committed", r.ID, e.Key, e.Epoch, c.Sum(), n)
		}
		want += c.Rows
		for id, o := range e.Routed {
			routed[id] += int64(o.GetCardinality())
		}
	}
	have := rows(r.Tables[0].Files)
	for _, t := range r.Tables[1:] {
		if !t.Routed {
			continue
		}
		n := rows(t.Files)
		if id := t.Table.String(); n != routed[id] {
			return fmt.Errorf("round %s: the files for table %s hold %d rows, the offsets say %d: this is a defect of lakeloader, nothing was committed", r.ID, id, n, routed[id])
		}
		have += n
		delete(routed, t.Table.String())
	}
	for id, n := range routed {
		return fmt.Errorf("round %s: %d offsets are routed to table %s, which has no files: this is a defect of lakeloader, nothing was committed", r.ID, n, id)
	}
	if have != want {
		return fmt.Errorf("round %s: the files hold %d rows, the offsets say %d: this is a defect of lakeloader, nothing was committed", r.ID, have, want)
	}
	return nil
}

// wellFormed makes sure that an object that was read can be the one of round id: anyone may have damaged it.
func (r *Round) wellFormed(id string) error {
	if r.ID != id {
		return fmt.Errorf("it is the object of round %q", r.ID)
	}
	if len(r.Tables) == 0 || len(r.Moves)+len(r.Edits)+len(r.Begins) == 0 {
		return errors.New("it names no tables or no partitions")
	}
	for _, m := range r.Moves {
		if m.From.Next < 0 || m.To.Next < m.From.Next {
			return fmt.Errorf("%s moves from %d to %d", m.Key, m.From.Next, m.To.Next)
		}
		if err := decidedBy(m.Key, m.Filtered, m.Dead, m.Routed); err != nil {
			return err
		}
	}
	for _, e := range r.Edits {
		if err := decidedBy(e.Key, e.Filtered, e.Dead, e.Removed, e.Routed); err != nil {
			return err
		}
	}
	return nil
}

func decidedBy(k table.Key, steps ...map[string]*Offsets) error {
	for _, sets := range steps {
		for by, o := range sets {
			if o == nil {
				return fmt.Errorf("%s: the offsets decided by %q are missing", k, by)
			}
		}
	}
	return nil
}

// names reports whether the round has a table.
func (r *Round) names(id table.Ident) bool {
	return slices.ContainsFunc(r.Tables, func(t RoundFile) bool { return t.Table == id })
}

// movesAny reports whether the round moves or edits any of the partitions.
func (r *Round) movesAny(owned map[table.Key]bool) bool {
	return slices.ContainsFunc(r.Moves, func(m Move) bool { return owned[m.Key] }) ||
		slices.ContainsFunc(r.Edits, func(e Edit) bool { return owned[e.Key] }) ||
		slices.ContainsFunc(r.Begins, func(b Begin) bool { return owned[b.Key] })
}

// files are the paths of its data files, of all tables.
func (r *Round) files() (paths []string) {
	for _, t := range r.Tables {
		for _, f := range t.Files {
			paths = append(paths, f.Path)
		}
	}
	return paths
}
