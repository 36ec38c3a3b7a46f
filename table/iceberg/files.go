package iceberg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/table"
)

// dataFiles turns finished files into manifest entries.
func dataFiles(meta icetable.Metadata, files []table.File) ([]icebergo.DataFile, error) {
	out := make([]icebergo.DataFile, len(files))
	specs := partitionings{meta, map[int]*partitioning{}}
	for i, f := range files {
		p, err := specs.of(f.SpecID)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Path, err)
		}
		df, err := p.dataFile(f)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Path, err)
		}
		out[i] = df
	}
	return out, nil
}

// partitioning is a partition spec with the types of its values.
type partitioning struct {
	spec  icebergo.PartitionSpec
	ids   []int
	names []string
	types []icebergo.Type
}

// partitionings keeps those of a table that were asked for.
type partitionings struct {
	meta   icetable.Metadata
	bySpec map[int]*partitioning
}

func (p partitionings) of(specID int) (*partitioning, error) {
	if have := p.bySpec[specID]; have != nil {
		return have, nil
	}
	made, err := partitioningOf(p.meta, specID)
	if err == nil {
		p.bySpec[specID] = made
	}
	return made, err
}

func partitioningOf(meta icetable.Metadata, specID int) (*partitioning, error) {
	spec := meta.PartitionSpecByID(specID)
	if spec == nil {
		return nil, fmt.Errorf("the table has no partition spec %d", specID)
	}
	p := &partitioning{spec: *spec}
	for _, f := range spec.Fields() {
		source, err := columnType(meta, f.SourceID())
		if err != nil {
			return nil, fmt.Errorf("partition field %s: %w", f.Name, err)
		}
		p.ids, p.names, p.types = append(p.ids, f.FieldID), append(p.names, f.Name), append(p.types, f.Transform.ResultType(source))
	}
	return p, nil
}

// columnType looks the column up in the current schema, and for a dropped one in the older schemas.
func columnType(meta icetable.Metadata, id int) (icebergo.Type, error) {
	if f, ok := meta.CurrentSchema().FindFieldByID(id); ok {
		return f.Type, nil
	}
	schemas := meta.Schemas()
	for i := len(schemas) - 1; i >= 0; i-- {
		if f, ok := schemas[i].FindFieldByID(id); ok {
			return f.Type, nil
		}
	}
	return nil, fmt.Errorf("no schema of the table has its source column (id %d)", id)
}

func (p *partitioning) dataFile(f table.File) (icebergo.DataFile, error) {
	if len(f.Partition) != len(p.ids) {
		return nil, fmt.Errorf("it has %d partition values, partition spec %d has %d fields", len(f.Partition), f.SpecID, len(p.ids))
	}
	values := make(map[int]any, len(p.ids))
	for i, raw := range f.Partition {
		if raw == nil {
			values[p.ids[i]] = nil
			continue
		}
		lit, err := icebergo.LiteralFromBytes(p.types[i], raw)
		if err != nil {
			return nil, fmt.Errorf("partition field %s: %x is no %s: %w", p.names[i], raw, p.types[i], err)
		}
		values[p.ids[i]] = lit.Any()
	}
	b, err := icebergo.NewDataFileBuilder(p.spec, icebergo.EntryContentData, f.Path, icebergo.ParquetFile, values, nil, nil, f.Rows, f.Size)
	if err != nil {
		return nil, err
	}
	b.ColumnSizes(f.ColumnSizes).ValueCounts(f.ValueCounts).NullValueCounts(f.NullCounts).NaNValueCounts(f.NaNCounts).
		LowerBoundValues(f.LowerBounds).UpperBoundValues(f.UpperBounds).SplitOffsets(f.SplitOffsets)
	if f.SortOrderID != 0 {
		b.SortOrderID(f.SortOrderID)
	}
	return b.Build(), nil
}

func (l *lake) manifests(ctx context.Context, tbl *icetable.Table, snap *icetable.Snapshot) ([]icebergo.ManifestFile, error) {
	files, err := tbl.FS(l.context(ctx))
	if err != nil {
		return nil, l.readError("read the manifests of "+snap.ManifestList, err)
	}
	ms, err := snap.Manifests(files)
	if err != nil {
		return nil, l.readError("read the manifest list "+snap.ManifestList, err)
	}
	return ms, nil
}

func (l *lake) Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error) {
	tbl, err := l.load(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	meta := tbl.Metadata()
	snap := currentSnapshot(meta)
	if snapshot != 0 {
		if snap = meta.SnapshotByID(snapshot); snap == nil {
			return nil, nil, fmt.Errorf("table %s has no snapshot %d: it has expired or never was", id, snapshot)
		}
	}
	if snap == nil {
		return nil, nil, nil
	}
	ms, err := l.manifests(ctx, tbl, snap)
	if err != nil {
		return nil, nil, err
	}
	io, err := tbl.FS(l.context(ctx))
	if err != nil {
		return nil, nil, l.readError("read the manifests of "+id.String(), err)
	}
	warm(io, ms)
	specs, deleted := partitionings{meta, map[int]*partitioning{}}, map[string]int64{}
	for _, m := range ms {
		for e, err := range m.Entries(io, true) {
			if err != nil {
				return nil, nil, l.readError("read manifest "+m.FilePath(), err)
			}
			df := e.DataFile()
			if df.ContentType() != icebergo.EntryContentData {
				deletes = append(deletes, df.FilePath())
				if path := deletedFrom(df); path != "" {
					deleted[path] += df.Count()
				}
				continue
			}
			p, err := specs.of(int(df.SpecID()))
			if err != nil {
				return nil, nil, fmt.Errorf("table %s, file %s: %w", id, df.FilePath(), err)
			}
			f, err := p.file(df)
			if err != nil {
				return nil, nil, fmt.Errorf("table %s, file %s: %w", id, df.FilePath(), err)
			}
			f.Sequence = addedIn(e)
			if added := meta.SnapshotByID(e.SnapshotID()); added != nil {
				f.AddedMS = added.TimestampMs
			}
			files = append(files, f)
		}
	}
	for i := range files {
		files[i].DeletedRows = deleted[files[i].Path]
	}
	return files, deletes, nil
}

// deletedFrom is the one data file that a position delete file is about; empty: it may be about others.
func deletedFrom(df icebergo.DataFile) string {
	if df.ContentType() != icebergo.EntryContentPosDeletes {
		return ""
	}
	if path := df.ReferencedDataFile(); path != nil {
		return *path
	}
	const filePath = 2147483546 // the field's id, by Iceberg's specification
	lo, hi := df.LowerBoundValues()[filePath], df.UpperBoundValues()[filePath]
	if lo == nil || !bytes.Equal(lo, hi) { // a bound that was cut is no upper one
		return ""
	}
	return string(lo)
}

// file is the way back from a manifest entry.
func (p *partitioning) file(df icebergo.DataFile) (table.File, error) {
	f := table.File{
		Path: df.FilePath(), Size: df.FileSizeBytes(), Rows: df.Count(), SpecID: int(df.SpecID()),
		ColumnSizes: df.ColumnSizes(), ValueCounts: df.ValueCounts(), NullCounts: df.NullValueCounts(), NaNCounts: df.NaNValueCounts(),
		LowerBounds: df.LowerBoundValues(), UpperBounds: df.UpperBoundValues(), SplitOffsets: df.SplitOffsets(),
	}
	if o := df.SortOrderID(); o != nil {
		f.SortOrderID = *o
	}
	var err error
	f.Partition, err = p.tuple(df)
	return f, err
}

// tuple gives the partition values of a manifest entry.
func (p *partitioning) tuple(df icebergo.DataFile) ([][]byte, error) {
	var out [][]byte
	values := df.Partition()
	for i, id := range p.ids {
		var raw []byte
		if v := values[id]; v != nil {
			var err error
			if raw, err = singleValue(p.types[i], v); err != nil {
				return nil, fmt.Errorf("partition field %s: %w", p.names[i], err)
			}
			if raw == nil {
				raw = []byte{} // an empty text is no null
			}
		}
		out = append(out, raw)
	}
	return out, nil
}

var errValue = errors.New("unexpected value in a manifest")

// singleValue encodes a partition value in Iceberg's single-value serialization. The manifest may be older than a
// promotion of the column, so integers and floats come in either width.
func singleValue(t icebergo.Type, v any) ([]byte, error) {
	var lit interface{ MarshalBinary() ([]byte, error) }
	switch v := v.(type) {
	case bool:
		lit = icebergo.BoolLiteral(v)
	case int32:
		return integer(t, int64(v))
	case int64:
		return integer(t, v)
	case icebergo.Date:
		return integer(t, int64(v))
	case icebergo.Time:
		return integer(t, int64(v))
	case icebergo.Timestamp:
		return integer(t, int64(v))
	case float32:
		if t.Equals(icebergo.PrimitiveTypes.Float64) {
			lit = icebergo.Float64Literal(v)
		} else {
			lit = icebergo.Float32Literal(v)
		}
	case float64:
		lit = icebergo.Float64Literal(v)
	case string:
		lit = icebergo.StringLiteral(v)
	case []byte:
		lit = icebergo.BinaryLiteral(v)
	case [16]byte:
		lit = icebergo.UUIDLiteral(v)
	case uuid.UUID:
		lit = icebergo.UUIDLiteral(v)
	case icebergo.Decimal:
		lit = icebergo.DecimalLiteral(v)
	case icebergo.DecimalLiteral:
		lit = v
	default:
		return nil, fmt.Errorf("%w: %T for %s", errValue, v, t)
	}
	return lit.MarshalBinary()
}

func integer(t icebergo.Type, v int64) ([]byte, error) {
	switch t.(type) {
	case icebergo.Int64Type, icebergo.TimeType, icebergo.TimestampType, icebergo.TimestampTzType:
		return icebergo.Int64Literal(v).MarshalBinary()
	}
	if v < math.MinInt32 || v > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d for %s", errValue, v, t)
	}
	return icebergo.Int32Literal(int32(v)).MarshalBinary()
}
