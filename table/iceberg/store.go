package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// store is one table for commits.
type store struct {
	lake *lake
	id   table.Ident
}

func (s *store) Load(ctx context.Context) (*table.Base, error) {
	tbl, err := s.lake.load(ctx, s.id)
	if err != nil {
		return nil, err
	}
	meta := tbl.Metadata()
	b := &table.Base{UUID: meta.TableUUID().String(), Props: maps.Clone(meta.Properties()), Handle: tbl}
	b.Has = func(id int64) bool { return meta.SnapshotByID(id) != nil }
	b.IsAncestor = func(id int64) bool { return isAncestor(meta, id) }
	b.LeftBehind = func(id int64) bool { return leftBehind(meta, id) }
	b.Snapshots = func() []table.Snapshot { return snapshots(meta) }
	if snap := currentSnapshot(meta); snap != nil {
		b.Snapshot = snap.SnapshotID
		if b.Rows, err = s.rows(ctx, tbl, snap); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// isAncestor walks from main to its parents, as far as they have not expired; the first expired one is still known by its id.
func isAncestor(meta icetable.Metadata, id int64) bool {
	snap := currentSnapshot(meta)
	for snap != nil && snap.SnapshotID != id {
		parent := snap.ParentSnapshotID
		if parent == nil {
			return false
		}
		if *parent == id {
			return true
		}
		snap = meta.SnapshotByID(*parent)
	}
	return snap != nil
}

// leftBehind: the snapshot exists, and main is older or descends, without a gap, from the table's first snapshot.
func leftBehind(meta icetable.Metadata, id int64) bool {
	snap, main := meta.SnapshotByID(id), currentSnapshot(meta)
	if snap == nil || isAncestor(meta, id) {
		return false
	}
	if main == nil || main.SequenceNumber < snap.SequenceNumber {
		return true
	}
	for main.ParentSnapshotID != nil {
		if main = meta.SnapshotByID(*main.ParentSnapshotID); main == nil {
			return false
		}
	}
	return true
}

// expirable refuses snapshots that branches and tags are at: some catalogs would take those away too, or leave them dangling.
func expirable(meta icetable.Metadata, ids []int64) error {
	for name, r := range meta.Refs() {
		if slices.Contains(ids, r.SnapshotID) {
			return fmt.Errorf("snapshot %d cannot expire: %s %s is at it", r.SnapshotID, r.SnapshotRefType, name)
		}
	}
	return nil
}

// snapshots are all of a table.
func snapshots(meta icetable.Metadata) []table.Snapshot {
	names := map[int64][]string{}
	for name, r := range meta.Refs() {
		if name != icetable.MainBranch {
			names[r.SnapshotID] = append(names[r.SnapshotID], name)
		}
	}
	var all []table.Snapshot
	for _, s := range meta.Snapshots() {
		x := table.Snapshot{ID: s.SnapshotID, At: time.UnixMilli(s.TimestampMs), Sequence: s.SequenceNumber, Named: len(names[s.SnapshotID]) > 0, Names: slices.Sorted(slices.Values(names[s.SnapshotID]))}
		if s.ParentSnapshotID != nil {
			x.Parent = *s.ParentSnapshotID
		}
		all = append(all, x)
	}
	return all
}

// rows counts the rows of a snapshot: from its summary, else from its manifests' counts (which do not know of deletes).
func (s *store) rows(ctx context.Context, tbl *icetable.Table, snap *icetable.Snapshot) (int64, error) {
	if snap.Summary != nil {
		if n, err := strconv.ParseInt(snap.Summary.Properties["total-records"], 10, 64); err == nil {
			return n, nil
		}
	}
	ms, err := s.lake.manifests(ctx, tbl, snap)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, m := range ms {
		if m.ManifestContent() == icebergo.ManifestContentData {
			n += m.AddedRows() + m.ExistingRows()
		}
	}
	return n, nil
}

func (s *store) Swap(ctx context.Context, base *table.Base, ch table.Change) error {
	tbl, ok := base.Handle.(*icetable.Table)
	if !ok {
		return fmt.Errorf("swap %s: the base was not loaded from this table", s.id)
	}
	reqs, updates, err := s.stage(s.lake.context(ctx), tbl, ch)
	if err != nil {
		return s.lake.readError("stage a commit to "+s.id.String(), err)
	}
	point.Hit(point.BeforeCatalog)
	meta, err := s.lake.commit(ctx, tbl, reqs, updates)
	if err != nil {
		return fmt.Errorf("commit to %s: %w", s.id, err)
	}
	s.dropOldMetadata(ctx, tbl, meta)
	return nil
}

// stage writes the manifests of a change and returns what the catalog shall do, and on which condition.
func (s *store) stage(ctx context.Context, tbl *icetable.Table, ch table.Change) ([]icetable.Requirement, []icetable.Update, error) {
	meta := tbl.Metadata()
	tx := tbl.NewTransaction()
	remote := s.lake.kind == rest
	snapshot := ch.Snapshot || len(ch.Add) > 0 || len(ch.Remove) > 0 || remote && (ch.Props != nil || anyProtocol(ch.Unset))
	removed, err := s.removed(ctx, tbl, ch)
	if err == nil {
		err = mergeManifests(meta, tx, snapshot)
	}
	if err != nil {
		return nil, nil, err
	}
	id, err := stageSnapshot(ctx, tbl, tx, ch, removed, snapshot)
	if err != nil {
		return nil, nil, err
	}
	var props map[string]string
	if ch.Props != nil {
		props = ch.Props(id)
	}
	if err := tx.SetProperties(props); err != nil {
		return nil, nil, err
	}
	if err := tx.RemoveProperties(ch.Unset); err != nil {
		return nil, nil, err
	}
	staged, err := tx.TableCommit()
	if err != nil {
		return nil, nil, err
	}

	reqs := []icetable.Requirement{icetable.AssertTableUUID(meta.TableUUID()), icetable.AssertRefSnapshotID(icetable.MainBranch, ref(meta, icetable.MainBranch))}
	updates := staged.Updates
	if err := expirable(meta, ch.Expire); err != nil {
		return nil, nil, err
	}
	if len(ch.Expire) > 0 {
		updates = append(updates, icetable.NewRemoveSnapshotsUpdate(ch.Expire, false))
	}
	if !remote {
		return append(reqs, &sameProperties{protocol(meta.Properties())}), updates, nil
	}
	reqs = append(reqs, icetable.AssertRefSnapshotID(moveTag, ref(meta, moveTag)))
	if len(protocol(props)) > 0 || anyProtocol(ch.Unset) {
		updates = append(updates, icetable.NewSetSnapshotRefUpdate(moveTag, id, icetable.TagRef, 0, 0, 0))
	}
	return reqs, updates, nil
}

// mergeManifests has the snapshot of a table that does not say so merge small manifests, which Iceberg's own default is, but not
// iceberg-go's: a table that another program made would get a manifest with every commit, for ever.
func mergeManifests(meta icetable.Metadata, tx *icetable.Transaction, snapshot bool) error {
	if _, said := meta.Properties()[icetable.ManifestMergeEnabledKey]; said || !snapshot {
		return nil
	}
	return tx.SetProperties(icebergo.Properties{icetable.ManifestMergeEnabledKey: "true"})
}

// stageSnapshot stages an append, of nothing if need be, or an overwrite that removes files, and returns the id of its
// snapshot; 0: none was asked for.
func stageSnapshot(ctx context.Context, tbl *icetable.Table, tx *icetable.Transaction, ch table.Change, removed []icebergo.DataFile, snapshot bool) (int64, error) {
	if !snapshot {
		return 0, nil
	}
	if err := stageFiles(ctx, tbl, tx, ch, removed); err != nil {
		return 0, err
	}
	staged, err := tx.StagedTable()
	if err != nil {
		return 0, err
	}
	return currentSnapshot(staged.Metadata()).SnapshotID, nil
}

func stageFiles(ctx context.Context, tbl *icetable.Table, tx *icetable.Transaction, ch table.Change, removed []icebergo.DataFile) error {
	added, err := dataFiles(tbl.Metadata(), ch.Add)
	switch {
	case err != nil:
		return err
	case len(removed) > 0:
		return tx.ReplaceDataFilesWithDataFiles(ctx, removed, added, ch.Summary, icetable.WithoutAutoNameMapping())
	case len(added) > 0:
		return tx.AddDataFiles(ctx, added, ch.Summary, icetable.WithoutDuplicateCheck(), icetable.WithoutAutoNameMapping())
	}
	if ch.Tidy {
		if done, err := tidy(ctx, tx); done || err != nil {
			return err
		}
	}
	sc, err := icetable.SchemaToArrowSchema(tbl.Schema(), nil, true, false)
	if err != nil {
		return err
	}
	none, err := array.NewRecordReader(sc, nil)
	if err != nil {
		return err
	}
	defer none.Release()
	return tx.Append(ctx, none, ch.Summary)
}

// tidy stages a snapshot whose manifests list live files only; false: they do already, and nothing is staged.
func tidy(ctx context.Context, tx *icetable.Transaction) (bool, error) {
	r, err := tx.RewriteManifests(ctx, icetable.WithRewriteManifestPredicate(func(m icebergo.ManifestFile) bool { return m.DeletedDataFiles() != 0 }),
		icetable.WithRewriteManifestClusterBy(func(icebergo.DataFile) any { return 0 })) // bins of one manifest would be left as they are
	if err != nil {
		return false, err
	}
	return !r.IsNoOp(), nil
}

// ref returns the snapshot of a branch or tag; nil: there is none.
func ref(meta icetable.Metadata, name string) *int64 {
	for n, r := range meta.Refs() {
		if n == name {
			return &r.SnapshotID
		}
	}
	return nil
}

// dropOldMetadata removes the metadata files that the commit pushed out of the table's log, as the table's property
// write.metadata.delete-after-commit.enabled asks; REST servers do that themselves. A file that stays is an orphan.
func (s *store) dropOldMetadata(ctx context.Context, tbl *icetable.Table, meta icetable.Metadata) {
	if s.lake.kind == rest || !meta.Properties().GetBool(icetable.MetadataDeleteAfterCommitEnabledKey, false) {
		return
	}
	kept := map[string]bool{}
	for e := range meta.PreviousFiles() {
		kept[e.MetadataFile] = true
	}
	for e := range tbl.Metadata().PreviousFiles() {
		if kept[e.MetadataFile] {
			continue
		}
		files, err := tbl.FS(s.lake.context(ctx))
		if err == nil {
			err = files.Remove(e.MetadataFile)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, objects.ErrNotFound) {
			slog.WarnContext(ctx, "an old metadata file could not be removed", "table", s.id.String(), "file", e.MetadataFile, "error", err)
		}
	}
}

// sameProperties is the requirement that the protocol's properties are still those of the base. Only catalogs that check
// requirements in this process can take it.
type sameProperties struct{ want map[string]string }

func (r *sameProperties) GetType() string { return "assert-lakeloader-properties" }

func (r *sameProperties) Validate(meta icetable.Metadata) error {
	if meta == nil {
		return fmt.Errorf("%w: the table is gone", table.ErrConflict)
	}
	got := protocol(meta.Properties())
	for k, v := range r.want {
		if g, ok := got[k]; !ok || g != v {
			return fmt.Errorf("%w: property %s has another value", table.ErrConflict, k)
		}
	}
	if len(got) != len(r.want) {
		return fmt.Errorf("%w: another commit has set further %s properties", table.ErrConflict, table.Prefix+"*")
	}
	return nil
}
