// Package table is what a pipeline knows of a lake table: the ledger of offsets that the table carries, the
// change that a commit makes, and the compare-and-swap with its only retry loop. It knows neither Kafka nor
// Iceberg; adapters (table/iceberg) do the swap.
package table

import (
	"context"
	"errors"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// The outcomes of a swap that are not success. Anything else is fatal for the pipeline.
var (
	// ErrConflict: the swap certainly did not land; a fresh base may help.
	ErrConflict = errors.New("the table changed since it was read")
	// ErrUnknown: the swap may or may not have landed (reply lost, timeout): only the table can tell.
	ErrUnknown = errors.New("the outcome of the commit is unknown")
	// ErrRetry: nothing was sent or the catalog said that it failed for a passing reason.
	ErrRetry = errors.New("the catalog failed for a passing reason")
	// ErrNoTable: the table is not in the catalog.
	ErrNoTable = errors.New("no such table")
)

// Ident names a table.
type Ident struct{ Namespace, Name string }

func (i Ident) String() string { return i.Namespace + "." + i.Name }

// Def is what a pipeline wants a table to be.
type Def struct {
	Ident       Ident
	Row         *batch.Type // a struct; field ids are ignored
	PartitionBy []PartitionField
	SortBy      []SortField
	Properties  map[string]string
	// Location of a new table; empty: the catalog's default.
	Location string
}

// PartitionField is one Iceberg partition field.
type PartitionField struct {
	Source    string // column path, e.g. "ts" or "address.country"
	Transform string // as in Iceberg's metadata: identity, year, month, day, hour, bucket[16], truncate[4]
	Name      string // e.g. ts_day
	// SourceID and FieldID are set in Info.
	SourceID, FieldID int
}

// SortField is one field of a sort order.
type SortField struct {
	Source string
	Desc   bool // descending, nulls last; else ascending, nulls first
}

// Info is what a table is: its row type with field ids, and its current partition spec.
type Info struct {
	Ident       Ident
	UUID        string
	Location    string // no trailing slash
	Row         *batch.Type
	PartitionBy []PartitionField
	SpecID      int
	SortOrderID int
	SchemaID    int
	Properties  map[string]string
}

// File is a finished, durable data file with what a commit needs to know of it. It goes into round objects as
// JSON, so that any loader can finish another's round.
type File struct {
	Path      string   `json:"path"` // URI
	Size      int64    `json:"size"` // bytes
	Rows      int64    `json:"rows"`
	SpecID    int      `json:"spec"`
	Partition [][]byte `json:"partition"` // per partition field, Iceberg single-value serialization; nil: null
	// Metrics by field id of leaf columns, as Iceberg wants them. Bounds are in single-value serialization, text
	// truncated to 16 characters.
	ColumnSizes  map[int]int64  `json:"column_sizes,omitempty"`
	ValueCounts  map[int]int64  `json:"value_counts,omitempty"`
	NullCounts   map[int]int64  `json:"null_counts,omitempty"`
	NaNCounts    map[int]int64  `json:"nan_counts,omitempty"`
	LowerBounds  map[int][]byte `json:"lower_bounds,omitempty"`
	UpperBounds  map[int][]byte `json:"upper_bounds,omitempty"`
	SplitOffsets []int64        `json:"split_offsets,omitempty"` // first byte of each row group
	SortOrderID  int            `json:"sort_order,omitempty"`
	CreatedMS    int64          `json:"created_ms"` // Unix milliseconds before its first byte was written
	// AddedMS is when the table got it, Unix milliseconds; 0: so long ago that the snapshot has expired. Only Files tells.
	AddedMS int64 `json:"-"`
	// DeletedRows are those that position deletes have removed, as far as the table's metadata tells: a delete file that may be
	// about several data files is not counted. Only Files tells.
	DeletedRows int64 `json:"-"`
	// Sequence is the sequence number of the snapshot that added it to the table: they ascend. Only Files and Changed tell.
	Sequence int64 `json:"-"`
}

// Base is a table as it was read: what a change is computed from, and what must still hold when it lands.
type Base struct {
	UUID     string
	Snapshot int64 // of main; 0: none
	Props    map[string]string
	// Has says whether a snapshot still exists, IsAncestor whether it is main's or an ancestor of it, as far as the
	// metadata tells.
	Has        func(snapshot int64) bool
	IsAncestor func(snapshot int64) bool
	// LeftBehind says whether a snapshot exists and main certainly does not descend from it: main is older, or all of main's
	// ancestors are known. Where some of them have expired, as behind a tag that keeps the snapshot, it cannot be told.
	LeftBehind func(snapshot int64) bool
	// Snapshots are all that the metadata has, in no order.
	Snapshots func() []Snapshot
	// Rows is the number of rows in main.
	Rows int64
	// Handle belongs to the adapter.
	Handle any
}

// Snapshot is one state of a table.
type Snapshot struct {
	ID     int64
	Parent int64 // 0: none
	At     time.Time
	// Sequence numbers ascend from snapshot to snapshot.
	Sequence int64
	// Named: a branch or tag other than main is at it.
	Named bool
	// Names are those of the branches and tags.
	Names []string
}

// Change is one atomic swap.
type Change struct {
	Add []File
	// Remove are the paths of data files that the same snapshot takes out of the table, of any partition spec. They stay
	// in the object store, for older snapshots. The swap fails with ErrConflict, and names the file, where one is not in
	// main, or has rows that were deleted after Seen: what replaces it was made from something else. The snapshot is an
	// overwrite, at which readers that stream what is appended (Spark's, unless told to skip those) stop.
	Remove []string
	// Seen is the snapshot that the files of Remove were read in, with its delete files; 0: base's.
	Seen int64
	// Snapshot makes a snapshot even when no file is added: every move of offsets comes with one.
	Snapshot bool
	// Tidy: the manifests of the snapshot do not list files any more that were taken out before, with the bounds of their columns. It has
	// no effect on a change with files.
	Tidy bool
	// Props gives the properties to set, from the id of the snapshot that the change makes (0 when it makes none).
	Props func(snapshot int64) map[string]string
	Unset []string
	// Expire are the ids of snapshots that leave the metadata. Main and what branches and tags name must not be among them.
	// Their files stay in the object store.
	Expire []int64
	// Summary is added to the snapshot's summary, for people.
	Summary map[string]string
}

// Store is one table, as a commit sees it.
type Store interface {
	// Load reads the table anew.
	Load(ctx context.Context) (*Base, error)
	// Swap lands the change if and only if the table's UUID, its main snapshot and all of its properties that start
	// with Prefix are still those of base. nil: landed. Else one of the errors above, or a fatal one. One attempt.
	Swap(ctx context.Context, base *Base, ch Change) error
}

// Catalog makes and finds tables. Consumers that need less declare less.
type Catalog interface {
	// Ensure creates the table if it is missing and adds the columns (also nested ones, as optional) that def has and
	// the table lacks; it widens int to long, float to double and decimals' precision, and makes required columns
	// optional where def says optional. Anything else that differs is an error which names the column. Idempotent and
	// safe to race. It never changes the partition spec of an existing table.
	Ensure(ctx context.Context, def Def) (Info, error)
	// Info describes an existing table, else ErrNoTable.
	Info(ctx context.Context, id Ident) (Info, error)
	// Open returns the table for commits.
	Open(ctx context.Context, id Ident) (Store, error)
	// Files lists the data files of a snapshot (0: main), with the paths of its delete files.
	Files(ctx context.Context, id Ident, snapshot int64) (files []File, deletes []string, err error)
	// Changed tells what was done to the rows of a table after the snapshot since, up to until: the files that snapshots
	// between added and took out, but those that rewrites did, which change no rows. Zero: since the table was created; up to
	// main. It reads metadata only.
	Changed(ctx context.Context, id Ident, since, until int64) (*Changes, error)
	// References are the URIs of what the table's metadata, as it is now, refers to, each once: data files, delete files,
	// manifests, manifest lists and statistics of all snapshots; and the metadata files, the current one too.
	References(ctx context.Context, id Ident) (*References, error)
	// Released are the URIs of what the snapshots refer to that the table had in before and has not in after, and that no
	// snapshot of after refers to: what an expiry lets go.
	Released(ctx context.Context, before, after *Base) ([]string, error)
	Close() error
}

// Changes are what was done to the rows of a table between two of its snapshots.
type Changes struct {
	Until int64 // 0: the table has no snapshot
	// Known: all that was done is in Files. Else snapshots between have expired, or until does not descend from since, and Files
	// are those of the newest snapshots only.
	Known bool
	Files []FileChange // the newest first
}

// FileChange is a file that a snapshot has added or taken out.
type FileChange struct {
	File
	Snapshot int64
	Removed  bool
	// Deletes: it is not a data file, but one that deletes rows of others: of its partition; of any where Partition is empty.
	Deletes bool
}

// SummaryJob is what a job's snapshots have its name under, in their summary; JobCompact is the one whose snapshots have the
// rows that they had before.
const (
	SummaryJob = Prefix + "job"
	JobCompact = "compact"
)

// References are URIs, in the form of objects.Info.
type References struct {
	Content  map[string]struct{} // of snapshots
	Metadata map[string]struct{} // metadata files
}

// Prefix of the properties that belong to the protocol.
const Prefix = "lakeloader."
