package iceberg

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/table"
)

// live is a data file of main with the manifest entry that holds it.
type live struct {
	file  icebergo.DataFile
	seq   int64 // data sequence number: deletes with a lower one do not apply
	tuple [][]byte
}

// removed finds the files that a change takes out of the table. A file that is not in main, or of which rows were deleted
// since the maker of the change read it, is a conflict: the maker has to look again.
func (s *store) removed(ctx context.Context, tbl *icetable.Table, ch table.Change) ([]icebergo.DataFile, error) {
	if len(ch.Remove) == 0 {
		return nil, nil
	}
	meta := tbl.Metadata()
	seen, err := seenSequence(meta, ch.Seen)
	if err != nil {
		return nil, err
	}
	found := map[string]*live{}
	for _, path := range ch.Remove {
		if _, twice := found[path]; twice {
			return nil, fmt.Errorf("file %s is to be removed twice", path)
		}
		found[path] = nil
	}
	specs := partitionings{meta, map[int]*partitioning{}}
	deletes, err := s.search(ctx, tbl, found, specs, seen)
	if err != nil {
		return nil, err
	}
	out := make([]icebergo.DataFile, len(ch.Remove))
	for i, path := range ch.Remove {
		l := found[path]
		if l == nil {
			return nil, fmt.Errorf("%w: file %s is to be removed and is not in it (any more)", table.ErrConflict, path)
		}
		for _, d := range deletes {
			if d.appliesTo(l) {
				return nil, fmt.Errorf("%w: delete file %s has deleted rows of file %s, which is to be removed, since it was read", table.ErrConflict, d.file.FilePath(), path)
			}
		}
		out[i] = l.file
	}
	return out, nil
}

// seenSequence gives the sequence number of the snapshot that the maker of a change has read. What is not in the history
// of main may lack deletes that main has, whatever the numbers say.
func seenSequence(meta icetable.Metadata, id int64) (int64, error) {
	snap := currentSnapshot(meta)
	if id != 0 {
		snap = meta.SnapshotByID(id)
	}
	switch {
	case id == 0 && snap == nil:
		return 0, nil
	case snap == nil:
		return 0, fmt.Errorf("%w: snapshot %d, in which the files to be removed were read, has expired", table.ErrConflict, id)
	case !isAncestor(meta, snap.SnapshotID):
		return 0, fmt.Errorf("%w: snapshot %d, in which the files to be removed were read, is not in the history of main", table.ErrConflict, id)
	}
	return snap.SequenceNumber, nil
}

// search fills in what main has of the files, and returns the delete files that are younger than a sequence number.
func (s *store) search(ctx context.Context, tbl *icetable.Table, files map[string]*live, specs partitionings, seen int64) ([]live, error) {
	snap := currentSnapshot(tbl.Metadata())
	if snap == nil {
		return nil, nil
	}
	manifests, err := s.lake.manifests(ctx, tbl, snap)
	if err != nil {
		return nil, err
	}
	io, err := tbl.FS(s.lake.context(ctx))
	if err != nil {
		return nil, err
	}
	warm(io, manifests)
	var deletes []live
	for _, m := range manifests {
		if m.ManifestContent() == icebergo.ManifestContentDeletes && m.SequenceNum() <= seen {
			continue // a manifest is never older than what it lists
		}
		for e, err := range m.Entries(io, true) {
			if err != nil {
				return nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err)
			}
			df := e.DataFile()
			data := df.ContentType() == icebergo.EntryContentData
			if _, wanted := files[df.FilePath()]; data && !wanted || !data && addedIn(e) <= seen {
				continue
			}
			l := live{file: df, seq: e.SequenceNum()}
			p, err := specs.of(int(df.SpecID()))
			if err == nil {
				l.tuple, err = p.tuple(df)
			}
			if err != nil {
				return nil, fmt.Errorf("file %s: %w", df.FilePath(), err)
			}
			if data {
				files[df.FilePath()] = &l
			} else {
				deletes = append(deletes, l)
			}
		}
	}
	return deletes, nil
}

// addedIn is the sequence number of the commit that added a file, which may be greater than the file's own.
func addedIn(e icebergo.ManifestEntry) int64 {
	if n := e.FileSequenceNum(); n != nil {
		return max(*n, e.SequenceNum())
	}
	return e.SequenceNum()
}

// appliesTo reports whether a delete file may have deleted rows of a data file: it names it, or it is of the same partition
// or of none. It rather says yes: the maker of the change will look again.
func (d *live) appliesTo(l *live) bool {
	if d.seq < l.seq {
		return false
	}
	if ref := d.file.ReferencedDataFile(); ref != nil {
		return *ref == l.file.FilePath()
	}
	return len(d.tuple) == 0 || d.file.SpecID() == l.file.SpecID() && slices.EqualFunc(d.tuple, l.tuple, bytes.Equal)
}
