// Package writers turns batches into Parquet data files of an Iceberg table, durable but not yet part of it: a commit
// makes them visible.
//
// A Writer belongs to one loader and one table and works in rounds. Append sends rows to the open file of their
// partition; a file that reaches its target size is finished and the next one begun. Finish ends the round: when it
// returns, every file is durable and described, and the next round may begin. Abort ends it without files.
//
// Memory is bounded by the caller: Held says what is held, Shrink frees some. A file with few rows costs its rows
// and little else (staging). One with more has a Parquet writer: the encoded pages of one row group and a page buffer per
// column, which is smaller the more of them there are. Files that are finished early are uploaded in the background.
package writers

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"
)

// Part is the rows of a batch that belong to one partition.
type Part struct {
	Tuple [][]byte // per partition field, Iceberg single-value serialization; nil: null
	Path  string   // folder below data/; empty: none
	Key   string   // the same for the same Tuple, and only then
	Rows  []int32  // indexes into the batch
}

// Options are what a Writer needs. Info and Store are required.
type Options struct {
	// Info is the table: location, spec and sort order ids, and the row type with field ids at every depth.
	Info  table.Info
	Store objects.Store
	// Files are the settings; what is zero has the default documented there.
	Files configs.Files
	// SortBy sorts rows within each row group. The table's sort order is declared only for files of one row group.
	SortBy []table.SortField
	// Sorted says that the rows of each partition come in the order of SortBy: they are written as they come, and the table's
	// sort order is declared for all files.
	Sorted bool
	// Prefix begins file names and must be unique for ever; empty: random.
	Prefix string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// MaxValue is the longest text or binary that Refuse lets pass, bytes; 0: 512 MiB.
	MaxValue int
}

const (
	defaultTarget   = 128 << 20
	defaultRowGroup = 32 << 20
	defaultMaxOpen  = 10_000
	// pageBudget is shared by the page buffers of all columns of all open files.
	pageBudget = 32 << 20
	minPage    = 16 << 10
	maxPage    = 256 << 10
	// uploads is how many files are made durable at once, uploadBytes how much of them: an object store answers each in
	// tens of milliseconds.
	uploads     = 32
	uploadBytes = 16 << 20
)

// Writer writes the data files of a table. It is for one goroutine.
type Writer struct {
	opts   Options
	leaves []*leaf
	codec  compress.Codec
	pages  pageVersion
	bloom  []parquet.BloomFilterColumn
	blooms []bool // by leaf

	encodings []encoding.Encoding // by leaf
	tried     bool
	pool      parquet.BufferPool
	page      int   // greatest size of a page buffer
	largest   int64 // greatest size of a dictionary

	row     *batch.Type // that bound is for
	bound   []bound
	scratch scratch

	files  map[string]*file
	staged *staging
	shells []*shell           // to be used again
	opened map[*file]struct{} // those with shells
	coding int                // counts the changes of encodings
	tick   uint64
	named  int
	up     *uploading
	done   []table.File
	bytes  int64 // of the files in done
	err    error
}

// New checks the options. It does no I/O.
func New(opts Options) (*Writer, error) {
	w := &Writer{opts: opts, files: map[string]*file{}, opened: map[*file]struct{}{}, staged: newStaging(), up: newUploading(), page: maxPage, largest: maxDictionary}
	fail := func(err error) (*Writer, error) { return nil, fmt.Errorf("table %s: %w", opts.Info.Ident, err) }
	if opts.Store == nil || opts.Info.Location == "" {
		return fail(errors.New("a writer needs an object store and the table's location"))
	}
	var err error
	if w.leaves, err = leavesOf(opts.Info.Row); err != nil {
		return fail(err)
	}
	if w.pages, err = pageVersionOf(opts.Info.Properties); err != nil {
		return fail(err)
	}
	if w.codec, err = codecOf(opts.Files); err != nil {
		return fail(err)
	}
	if err = checkSort(opts.SortBy, opts.Info.Row); err != nil {
		return fail(err)
	}
	if err = w.bloomFilters(opts.Files.Bloom); err != nil {
		return fail(err)
	}
	f := &w.opts.Files
	f.TargetSize, f.RowGroupSize = cmp.Or(f.TargetSize, defaultTarget), cmp.Or(f.RowGroupSize, defaultRowGroup)
	f.MaxOpen = cmp.Or(f.MaxOpen, defaultMaxOpen)
	if f.TargetSize < 0 || f.RowGroupSize < 0 || f.MaxOpen < 0 {
		return fail(errors.New("target_size, row_group_size and max_open must be positive"))
	}
	if w.opts.Prefix == "" {
		w.opts.Prefix = strings.ToLower(rand.Text())
	}
	w.opts.MaxValue = cmp.Or(w.opts.MaxValue, defaultMaxValue)
	if w.opts.Now == nil {
		w.opts.Now = time.Now
	}
	w.pool = parquet.NewChunkBufferPool(8 << 10)
	for i, l := range w.leaves {
		w.encodings = append(w.encodings, initial(l, w.pages, w.blooms[i]))
	}
	return w, nil
}

func (w *Writer) bloomFilters(names []string) error {
	w.blooms = make([]bool, len(w.leaves))
	for _, name := range names {
		at := slices.IndexFunc(w.leaves, func(l *leaf) bool { return l.name() == name })
		if at < 0 {
			return fmt.Errorf("bloom_filters: there is no column %s that holds values", name)
		}
		if w.leaves[at].typ.Kind == batch.Boolean {
			return fmt.Errorf("bloom_filters: %s is a boolean, for which a filter is of no use", name)
		}
		w.blooms[at] = true
		w.bloom = append(w.bloom, parquet.SplitBlockFilter(10, w.leaves[at].path...))
	}
	return nil
}

// Append writes rows of a batch to the file of their partition. The batch is not kept. After an error the round
// cannot be finished: call Abort. Values that came from outside are for Refuse to check before.
func (w *Writer) Append(ctx context.Context, b *batch.Batch, p Part) error {
	if w.err != nil {
		return w.err
	}
	err := w.append(ctx, b, p)
	w.scratch.release()
	if err != nil {
		return w.broken(err)
	}
	return nil
}

func (w *Writer) append(ctx context.Context, b *batch.Batch, p Part) error {
	if err := w.bind(b.Root.Type); err != nil {
		return err
	}
	for rows := p.Rows; len(rows) > 0; {
		f := w.files[p.Key]
		if f == nil {
			var err error
			if f, err = w.begin(ctx, b, p); err != nil {
				return err
			}
		}
		w.tick++
		f.touched, f.out.ctx = w.tick, ctx
		n := min(len(rows), 4*chunk)
		if err := w.take(f, b, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
		if f.size() >= int64(w.opts.Files.TargetSize) {
			if err := w.finish(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// take stages the first rows of a file, or writes them with those that were staged before.
func (w *Writer) take(f *file, b *batch.Batch, rows []int32) error {
	if n := len(rows); f.shell == nil && n < smallPiece && n+len(f.staged) < stagedRows && f.stagedBytes+int64(n*(len(b.Mem)/b.Rows)) < stagedBytes {
		w.staged.add(f, b, rows)
		if w.staged.sparse() {
			w.staged.compact(w.files)
		}
		return nil
	}
	if err := w.unstage(f); err != nil {
		return err
	}
	if err := w.bind(b.Root.Type); err != nil {
		return err
	}
	return w.write(f, b, rows)
}

// unstage writes a file's staged rows.
func (w *Writer) unstage(f *file) error {
	if f.shell == nil {
		if err := w.open(f); err != nil {
			return err
		}
	}
	for b, rows := range w.staged.pieces(f.staged) {
		if err := w.bind(b.Root.Type); err != nil {
			return err
		}
		if err := w.write(f, b, rows); err != nil {
			return err
		}
	}
	w.staged.drop(f)
	return nil
}

func (w *Writer) write(f *file, b *batch.Batch, rows []int32) error {
	if len(w.opts.SortBy) > 0 && !w.opts.Sorted {
		return w.collect(f, b, rows)
	}
	if err := f.append(w, b, rows); err != nil {
		return err
	}
	if f.parquet.Size()-f.base >= int64(w.opts.Files.RowGroupSize) {
		return f.flush()
	}
	return nil
}

// collect keeps copies of rows for sorting. A run ends when it takes twice the size of a row group, as rows shrink to
// less than half of that when they are encoded, or when the row type changes.
func (w *Writer) collect(f *file, b *batch.Batch, rows []int32) error {
	if f.sort != nil && f.sort.batch.Root.Type != b.Root.Type {
		if err := w.sorted(f); err != nil {
			return err
		}
		f.sort = nil
	}
	if f.sort == nil {
		r, err := newRun(b.Root.Type, w.opts.SortBy)
		if err != nil {
			return err
		}
		f.sort = r
	}
	copyRows(f.sort.batch, b, rows)
	if f.sort.bytes() >= 2*int64(w.opts.Files.RowGroupSize) {
		return w.sorted(f)
	}
	return nil
}

// sorted writes a run as a row group of its own.
func (w *Writer) sorted(f *file) error {
	if f.sort == nil || f.sort.batch.Rows == 0 {
		return nil
	}
	if err := w.bind(f.sort.batch.Root.Type); err != nil {
		return err
	}
	if err := f.append(w, f.sort.batch, f.sort.order()); err != nil {
		return err
	}
	f.sort.reset()
	f.runs++
	return f.flush()
}

// begin begins a file, after making room for it.
func (w *Writer) begin(ctx context.Context, b *batch.Batch, p Part) (*file, error) {
	if most := w.opts.Files.MaxOpen; len(w.files) >= most {
		byAge := slices.SortedFunc(maps.Values(w.files), func(a, b *file) int { return cmp.Compare(a.touched, b.touched) })
		for _, oldest := range byAge[:1+most/16] { // looking for them takes as long as finishing some
			if err := w.finish(ctx, oldest); err != nil {
				return nil, err
			}
		}
	}
	if !w.tried {
		if err := w.try(b); err != nil {
			return nil, err
		}
	}
	w.named++
	f := &file{part: Part{Tuple: p.Tuple, Path: p.Path, Key: p.Key}, created: w.opts.Now().UnixMilli()}
	f.out = sink{ctx: ctx, store: w.opts.Store, uri: w.uri(p)}
	w.files[p.Key] = f
	return f, nil
}

// uri is the name of the file that was named last.
func (w *Writer) uri(p Part) string {
	folder := w.opts.Info.Location + "/data/"
	if p.Path != "" {
		folder += p.Path + "/"
	}
	return fmt.Sprintf("%s%s-%06d.parquet", folder, w.opts.Prefix, w.named)
}

// version is the program's, in the form in which readers expect it in created_by: without brackets.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && !strings.ContainsAny(info.Main.Version, "() ") {
		return info.Main.Version
	}
	return "0.0.0"
}
