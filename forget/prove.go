package forget

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Lake is what a proof reads.
type Lake interface {
	Catalog
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	References(ctx context.Context, id table.Ident) (*table.References, error)
}

// departing are lakes that tell of files that manifests still list as taken out.
type departing interface {
	Departed(ctx context.Context, id table.Ident, each func(manifest string, f table.File) error) error
}

// Prover looks for what still holds rows of persons. What it rests on: whatever the table's metadata say, every object below its folder is
// looked into, and every file that they refer to elsewhere; only a file of main that its bounds rule out is not opened. Rows that delete
// files have removed are in their files all the same.
type Prover struct {
	Lake    Lake
	Objects objects.Store
	// List lists the objects in the table's own folders.
	List func(ctx context.Context, id table.Ident) ([]objects.Info, error)
	// Age is when snapshots expire, OrphanAge when what nothing refers to is deleted.
	Age, OrphanAge time.Duration
}

// Looks says whether a file holds rows of the persons: how many.
type Looks interface {
	// MayHold: no means no.
	MayHold(f *table.File) bool
	// Count counts the rows of the persons in a file, which may be of any time, or no table's.
	Count(ctx context.Context, store objects.Store, path string, size int64) (int64, error)
	// Bounds reports whether the bounds of a file's columns may be values of the persons.
	Bounds(f *table.File) bool
}

// Holder is something that holds rows, or values, of persons.
type Holder struct {
	Table string `json:"table"`
	URI   string `json:"uri"`
	Rows  int64  `json:"rows"`
	// Main: the table has the rows still, or delete files hide them.
	Main bool `json:"main"`
	// Why it is there, and what makes it go.
	Why string `json:"why"`
	// Until is when that may be, if nobody helps; the zero time: nobody knows.
	Until time.Time `json:"until,omitzero"`
}

// Proof is what was looked at of one table, and what was found.
type Proof struct {
	Table     string   `json:"table"`
	Snapshots int      `json:"snapshots"`
	Objects   int      `json:"objects"` // in the table's folders, and files elsewhere
	Opened    int      `json:"opened"`
	Bytes     int64    `json:"bytes"` // of those that were opened
	Holders   []Holder `json:"holders"`
	// Unread are the records of a dead-letter table's files, of all snapshots, that could not be read.
	Unread *Unread `json:"unread_dead_letters,omitempty"`
}

// Unread counts records that could not be read: they were searched for text and numbers as they are.
type Unread struct {
	Letters int64  `json:"letters"`
	First   string `json:"first"` // topic-partition-offset, the least
	Why     string `json:"why"`   // of the first
}

// candidate is an object that may hold rows.
type candidate struct {
	uri      string
	size     int64
	modified time.Time
}

// Table looks at one table, as it is now. table.ErrNoTable: there is none.
func (p *Prover) Table(ctx context.Context, id table.Ident, looks Looks) (*Proof, error) {
	s, err := p.Lake.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	info, err := p.Lake.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	listed, err := p.List(ctx, id) // before the metadata: what is made meanwhile is not from before
	if err != nil {
		return nil, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, err
	}
	refs, err := p.Lake.References(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading what table %s refers to: %w", id, err)
	}
	main, _, err := p.Lake.Files(ctx, id, base.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("listing the files of table %s: %w", id, err)
	}
	out := &Proof{Table: id.String(), Snapshots: len(base.Snapshots()), Holders: []Holder{}}
	found, err := p.search(ctx, candidates(info, listed, refs), main, looks, out)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", id, err)
	}
	if err := p.explain(ctx, id, base, refs, main, found, out); err != nil {
		return nil, fmt.Errorf("table %s: %w", id, err)
	}
	if err := p.departed(ctx, id, looks, out); err != nil {
		return nil, fmt.Errorf("table %s: %w", id, err)
	}
	if err := p.strays(ctx, id, listed, refs, looks, out); err != nil {
		return nil, fmt.Errorf("table %s: %w", id, err)
	}
	return out, nil
}

// candidates are the objects of the table's data folder, and what snapshots refer to elsewhere but metadata.
func candidates(info table.Info, listed []objects.Info, refs *table.References) (out []candidate) {
	known := map[string]bool{}
	for _, o := range listed {
		known[path.Base(o.URI)] = true
		if strings.HasPrefix(o.URI, info.Location+"/data/") && o.Size > 0 { // markers are empty
			out = append(out, candidate{o.URI, o.Size, o.Modified})
		}
	}
	for uri := range refs.Content {
		if name := path.Base(uri); !known[name] && strings.HasSuffix(name, ".parquet") {
			out = append(out, candidate{uri: uri})
		}
	}
	slices.SortFunc(out, func(a, b candidate) int { return cmp.Compare(a.uri, b.uri) })
	return out
}

type foundIn struct {
	candidate
	rows int64
	err  error // it cannot be looked into
}

// search opens the candidates.
func (p *Prover) search(ctx context.Context, all []candidate, main []table.File, looks Looks, out *Proof) (found []foundIn, err error) {
	files := make(map[string]*table.File, len(main))
	for i := range main {
		files[path.Base(main[i].Path)] = &main[i]
	}
	for _, c := range all {
		out.Objects++
		if f := files[path.Base(c.uri)]; f != nil && !looks.MayHold(f) {
			continue
		}
		rows, err := looks.Count(ctx, p.Objects, c.uri, c.size)
		if errors.Is(err, objects.ErrNotFound) {
			continue // it has just been deleted
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		out.Opened, out.Bytes = out.Opened+1, out.Bytes+c.size
		if rows > 0 || err != nil {
			found = append(found, foundIn{c, rows, err})
		}
	}
	return found, nil
}

// explain says of what was found who refers to it: the newest snapshots first, until all is told.
func (p *Prover) explain(ctx context.Context, id table.Ident, base *table.Base, refs *table.References, main []table.File, found []foundIn, out *Proof) error {
	referred := map[string]bool{}
	for uri := range refs.Content {
		referred[path.Base(uri)] = true
	}
	left := map[string]*Holder{}
	out.Holders = make([]Holder, len(found))
	for i, f := range found {
		h := &out.Holders[i]
		*h = Holder{Table: id.String(), URI: f.uri, Rows: f.rows}
		if f.err != nil {
			h.Why = fmt.Sprintf("it cannot be looked into: %v", f.err)
		} else if name := path.Base(f.uri); referred[name] {
			left[name] = h
		} else {
			h.Why = "no snapshot refers to it: it was left by a program that gave up, or belongs to a commit on its way; job orphans deletes it when it is old enough"
			if !f.modified.IsZero() {
				h.Until = f.modified.Add(p.OrphanAge)
			}
		}
	}
	snapshots := base.Snapshots()
	slices.SortFunc(snapshots, func(a, b table.Snapshot) int { return cmp.Compare(b.Sequence, a.Sequence) })
	held := func(s table.Snapshot, files []table.File) {
		for _, f := range files {
			name := path.Base(f.Path)
			h := left[name]
			if h == nil {
				continue
			}
			h.Main = s.ID == base.Snapshot
			h.Why, h.Until = p.snapshotHolds(s, h.Main)
			delete(left, name)
		}
	}
	for _, s := range snapshots {
		if len(left) == 0 {
			break
		}
		files := main
		if s.ID != base.Snapshot {
			var err error
			if files, _, err = p.Lake.Files(ctx, id, s.ID); err != nil {
				return fmt.Errorf("listing the files of snapshot %d: %w", s.ID, err)
			}
		}
		held(s, files)
	}
	for _, h := range left {
		h.Why = "a snapshot that has just expired refers to it: look again"
	}
	return nil
}

func (p *Prover) snapshotHolds(s table.Snapshot, main bool) (string, time.Time) {
	at := s.At.UTC().Format(time.RFC3339)
	switch {
	case main:
		return "the table has it: run the command with --yes", time.Time{}
	case s.Named:
		return fmt.Sprintf("snapshot %d of %s refers to it, which does not expire: it has the name %s", s.ID, at, strings.Join(s.Names, ", ")), time.Time{}
	}
	return fmt.Sprintf("snapshot %d of %s refers to it; job expire deletes it when that snapshot is old enough, or --now at once", s.ID, at), s.At.Add(p.Age)
}

// departed looks at what manifests still say of files that are gone.
func (p *Prover) departed(ctx context.Context, id table.Ident, looks Looks, out *Proof) error {
	lake, ok := p.Lake.(departing)
	if !ok {
		return errors.New("this catalog cannot tell what its manifests say of files that are gone")
	}
	said := map[string]bool{}
	return lake.Departed(ctx, id, func(manifest string, f table.File) error {
		if !said[manifest] && looks.Bounds(&f) {
			said[manifest] = true
			out.Holders = append(out.Holders, Holder{Table: id.String(), URI: manifest,
				Why: fmt.Sprintf("it lists %s, which was taken out, with bounds of columns that may be the person's values; --now writes manifests without it", path.Base(f.Path))})
		}
		return nil
	})
}

// Count implements Looks.
func (m *Matcher) Count(ctx context.Context, store objects.Store, path string, size int64) (n int64, err error) {
	err = m.Rows(ctx, store, path, size, nil, func(Row) error {
		n++
		return nil
	})
	return n, err
}

// Bounds implements Looks.
func (m *Matcher) Bounds(f *table.File) bool {
	for _, g := range m.groups {
		for i, x := range g.fields {
			for _, raw := range [][]byte{f.LowerBounds[x.ID], f.UpperBounds[x.ID]} {
				b, ok := x.Type.KeyBound(raw)
				if !ok {
					if raw != nil { // of a type whose bounds cannot be compared
						return true
					}
					continue
				}
				if slices.ContainsFunc(g.values[i], func(v []byte) bool { return isBound(x.Type.Kind, b, v) }) {
					return true
				}
			}
		}
	}
	return false
}

// boundLength is what bounds of text are cut to at least; the last character of an upper one is then a greater one.
const boundLength = 16

func isBound(k batch.Kind, b, v []byte) bool {
	if bytes.Equal(b, v) {
		return true
	}
	if k != batch.String && k != batch.Binary || len(b) < boundLength || len(v) < len(b) {
		return false
	}
	return bytes.Equal(b[:boundLength-1], v[:boundLength-1])
}

// Letters implements Looks for a dead-letter table.
type Letters struct {
	Persons *Persons
	// Sure: only records that certainly are about a person count.
	Sure bool
	// Binary are the ids of columns of bytes that nobody has decoded.
	Binary []int
	// Read tells each of the rows of a file: what its record mentions, and whether a part of it could not be read.
	Read func(ctx context.Context, store objects.Store, path string, size int64, each func(m Mention, unread bool)) error
}

// MayHold implements Looks.
func (l *Letters) MayHold(f *table.File) bool { return f.Rows > 0 }

// Count implements Looks.
func (l *Letters) Count(ctx context.Context, store objects.Store, path string, size int64) (n int64, err error) {
	err = l.Read(ctx, store, path, size, func(m Mention, unread bool) {
		if m == Is || !l.Sure && (m == May || unread) {
			n++
		}
	})
	return n, err
}

// Bounds implements Looks. A bound is a part of a value only, so one value of a key is enough.
func (l *Letters) Bounds(f *table.File) bool {
	for _, bounds := range []map[int][]byte{f.LowerBounds, f.UpperBounds} {
		for id, b := range bounds {
			encoded := slices.Contains(l.Binary, id) && !isText(b)
			for n, v := range l.Persons.values {
				text := []byte(v.Text)
				if len(text) >= 4 && (bytes.Contains(b, text) || len(text) > boundLength && bytes.Contains(b, text[:boundLength-1])) {
					return true
				}
				if encoded && l.Persons.numbers[n].in(b) {
					return true
				}
			}
		}
	}
	return false
}
