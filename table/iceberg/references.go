package iceberg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/table"
)

// References implements table.Catalog. Every manifest is read once, however many snapshots share it.
func (l *lake) References(ctx context.Context, id table.Ident) (*table.References, error) {
	tbl, err := l.load(ctx, id)
	if err != nil {
		return nil, err
	}
	meta := tbl.Metadata()
	r := &table.References{Content: map[string]struct{}{}, Metadata: map[string]struct{}{canonical(tbl.MetadataLocation()): {}}}
	for e := range meta.PreviousFiles() {
		r.Metadata[canonical(e.MetadataFile)] = struct{}{}
	}
	statistics(tbl, r.Content)
	set, err := l.manifestsOf(ctx, tbl, func(int64) bool { return true })
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Content, set.lists)
	for path, m := range set.manifests {
		r.Content[canonical(path)] = struct{}{}
		if err := l.entries(ctx, tbl, m, func(uri string) { r.Content[uri] = struct{}{} }); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Released implements table.Catalog. Manifests are shared by many snapshots, so few of them go; only if one does, those
// that stay are read, for the files of those that go.
func (l *lake) Released(ctx context.Context, before, after *table.Base) ([]string, error) {
	was, ok1 := before.Handle.(*icetable.Table)
	is, ok2 := after.Handle.(*icetable.Table)
	if !ok1 || !ok2 || was.Metadata().TableUUID() != is.Metadata().TableUUID() {
		return nil, errors.New("the bases were not loaded from one table")
	}
	gone, err := l.manifestsOf(ctx, was, func(id int64) bool { return is.Metadata().SnapshotByID(id) == nil })
	if err != nil {
		return nil, err
	}
	out := gone.lists
	statistics(was, out)
	stay, err := l.release(ctx, is, gone.manifests)
	if err != nil {
		return nil, err
	}
	files := map[string]struct{}{}
	for path, m := range gone.manifests {
		out[canonical(path)] = struct{}{}
		if err := l.entries(ctx, was, m, func(uri string) { files[uri] = struct{}{} }); err != nil {
			return nil, err
		}
	}
	for _, m := range stay {
		if len(files) == 0 {
			break
		}
		if err := l.entries(ctx, is, m, func(uri string) { delete(files, uri) }); err != nil {
			return nil, err
		}
	}
	maps.Copy(out, files)
	kept := map[string]struct{}{}
	statistics(is, kept)
	for uri := range kept {
		delete(out, uri)
	}
	return slices.Sorted(maps.Keys(out)), nil
}

// Without is a base as it would be without some snapshots; good for Released only. Nothing is written.
func (l *lake) Without(base *table.Base, snapshots []int64) (*table.Base, error) {
	tbl, ok := base.Handle.(*icetable.Table)
	if !ok {
		return nil, errors.New("the base was not loaded from a table")
	}
	if err := expirable(tbl.Metadata(), snapshots); err != nil {
		return nil, err
	}
	b, err := icetable.MetadataBuilderFromBase(tbl.Metadata(), tbl.MetadataLocation())
	if err == nil {
		err = b.RemoveSnapshots(snapshots, false)
	}
	if err != nil {
		return nil, err
	}
	meta, err := b.Build()
	if err != nil {
		return nil, err
	}
	return &table.Base{UUID: base.UUID, Snapshot: base.Snapshot, Handle: icetable.New(tbl.Identifier(), meta, tbl.MetadataLocation(), tbl.FS, nil)}, nil
}

// release takes the manifests that any snapshot of the table has out of gone, and returns those of all snapshots, unless
// gone is empty before: main, which is looked at first, nearly always has them all.
func (l *lake) release(ctx context.Context, tbl *icetable.Table, gone map[string]icebergo.ManifestFile) (map[string]icebergo.ManifestFile, error) {
	all := map[string]icebergo.ManifestFile{}
	main := currentSnapshot(tbl.Metadata())
	for _, first := range []bool{true, false} {
		for _, s := range tbl.Metadata().Snapshots() {
			if len(gone) == 0 {
				return nil, nil
			}
			if isMain := main != nil && s.SnapshotID == main.SnapshotID; isMain != first {
				continue
			}
			ms, err := l.manifests(ctx, tbl, &s)
			if err != nil {
				return nil, fmt.Errorf("snapshot %d: %w", s.SnapshotID, err)
			}
			for _, m := range ms {
				delete(gone, m.FilePath())
				all[m.FilePath()] = m
			}
		}
	}
	return all, nil
}

// manifestSet are the URIs of manifest lists, and manifests by their paths.
type manifestSet struct {
	lists     map[string]struct{}
	manifests map[string]icebergo.ManifestFile
}

func (l *lake) manifestsOf(ctx context.Context, tbl *icetable.Table, of func(snapshot int64) bool) (manifestSet, error) {
	set := manifestSet{map[string]struct{}{}, map[string]icebergo.ManifestFile{}}
	for _, s := range tbl.Metadata().Snapshots() {
		if !of(s.SnapshotID) {
			continue
		}
		ms, err := l.manifests(ctx, tbl, &s)
		if err != nil {
			return set, fmt.Errorf("snapshot %d: %w", s.SnapshotID, err)
		}
		if s.ManifestList != "" {
			set.lists[canonical(s.ManifestList)] = struct{}{}
		}
		for _, m := range ms {
			set.manifests[m.FilePath()] = m
		}
	}
	return set, nil
}

// entries calls f with the files that a manifest adds or keeps.
func (l *lake) entries(ctx context.Context, tbl *icetable.Table, m icebergo.ManifestFile, f func(uri string)) error {
	io, err := tbl.FS(l.context(ctx))
	if err != nil {
		return l.readError("read manifest "+m.FilePath(), err)
	}
	for e, err := range m.Entries(io, true) {
		if err != nil {
			return l.readError("read manifest "+m.FilePath(), err)
		}
		f(canonical(e.DataFile().FilePath()))
	}
	return nil
}

// Departed calls each with the data files that manifests of any of the table's snapshots list as taken out: they stay in there, with the
// bounds of their columns, until the manifest is of no snapshot any more.
func (l *lake) Departed(ctx context.Context, id table.Ident, each func(manifest string, f table.File) error) error {
	tbl, err := l.load(ctx, id)
	if err != nil {
		return err
	}
	set, err := l.manifestsOf(ctx, tbl, func(int64) bool { return true })
	if err != nil {
		return err
	}
	files, err := tbl.FS(l.context(ctx))
	if err != nil {
		return l.readError("read the manifests of "+id.String(), err)
	}
	specs := partitionings{tbl.Metadata(), map[int]*partitioning{}}
	for path, m := range set.manifests {
		if m.DeletedDataFiles() == 0 || m.ManifestContent() != icebergo.ManifestContentData {
			continue
		}
		for e, err := range m.Entries(files, false) {
			if err != nil {
				return l.readError("read manifest "+path, err)
			}
			if e.Status() != icebergo.EntryStatusDELETED {
				continue
			}
			p, err := specs.of(int(e.DataFile().SpecID()))
			if err != nil {
				return fmt.Errorf("manifest %s: %w", path, err)
			}
			f, err := p.file(e.DataFile())
			if err == nil {
				err = each(canonical(path), f)
			}
			if err != nil {
				return fmt.Errorf("manifest %s: %w", path, err)
			}
		}
	}
	return nil
}

// statistics adds a table's statistics files.
func statistics(tbl *icetable.Table, to map[string]struct{}) {
	for f := range tbl.Metadata().Statistics() {
		to[canonical(f.StatisticsPath)] = struct{}{}
	}
	for f := range tbl.Metadata().PartitionStatistics() {
		to[canonical(f.StatisticsPath)] = struct{}{}
	}
}

// canonical is the form that a listing has: other engines write s3a:// and plain paths.
func canonical(location string) string {
	switch scheme, rest, ok := strings.Cut(location, "://"); {
	case !ok && strings.HasPrefix(location, "file:/"):
		return "file://" + strings.TrimPrefix(location, "file:")
	case !ok:
		return "file://" + location
	case scheme == "s3a", scheme == "s3n":
		return "s3://" + rest
	}
	return location
}
