package lookups

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/schemas"
)

// file is a lookup in one object. One row that is broken keeps the whole file from being taken: whoever has written it can write
// it again, while a lookup that lacks some rows would be joined with.
type file struct {
	k     *keeper
	cfg   *configs.LookupFile
	store objects.Store
}

// rowsAtOnce is how many rows make a batch.
const rowsAtOnce = 4096

func (f *file) uri() string {
	if strings.Contains(f.cfg.Path, "://") {
		return f.cfg.Path
	}
	return "file://" + f.cfg.Path
}

// version tells the object's state apart from any other: its ETag, or when it was changed last and its size.
func (f *file) version(ctx context.Context) (string, error) {
	if f.store == nil {
		store, err := f.k.d.Files(f.cfg.Path)
		if err != nil {
			return "", err
		}
		f.store = store
	}
	if path, err := objects.LocalPath(f.uri()); err == nil {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("there is no file %s", path)
		}
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s/%d", info.ModTime().UTC().Format(time.RFC3339Nano), info.Size()), nil
	}
	list, err := f.store.List(ctx, f.uri())
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(list, func(i objects.Info) bool { return i.URI == f.uri() })
	if at < 0 {
		return "", fmt.Errorf("there is no object %s", f.uri())
	}
	if i := list[at]; i.ETag == "" {
		return fmt.Sprintf("%s/%d", i.Modified.UTC().Format(time.RFC3339Nano), i.Size), nil
	}
	return list[at].ETag, nil
}

func (f *file) load(ctx context.Context, version string, into *filler) (string, error) {
	err := f.read(ctx, into)
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.cfg.Path, err)
	}
	after, err := f.version(ctx)
	if err == nil && after != version {
		err = fmt.Errorf("%s was changed while it was read: it is read again", f.cfg.Path)
	}
	return version, err
}

// text opens the object, behind a byte order mark.
func (f *file) text(ctx context.Context) (*bufio.Reader, io.Closer, error) {
	r, err := f.store.Open(ctx, f.uri())
	if err != nil {
		return nil, nil, err
	}
	text := bufio.NewReaderSize(io.NewSectionReader(r, 0, r.Size()), 1<<20)
	if mark, _ := text.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) { // an error comes again with the first read
		if _, err := text.Discard(3); err != nil {
			return nil, nil, errors.Join(err, r.Close())
		}
	}
	return text, r, nil
}

// header is the first line of csv.
func (f *file) header(ctx context.Context) ([]string, error) {
	text, c, err := f.text(ctx)
	if err != nil {
		return nil, err
	}
	header, err := f.records(text).Read()
	if errors.Is(err, io.EOF) {
		err = errors.New("it is empty: the first line of csv has the names of the columns")
	}
	return header, errors.Join(err, c.Close())
}

func (f *file) records(text io.Reader) *csv.Reader {
	r := csv.NewReader(text)
	r.Comma, _ = utf8.DecodeRuneInString(f.cfg.Separator)
	r.ReuseRecord = true
	return r
}

func (f *file) read(ctx context.Context, into *filler) (err error) {
	if f.cfg.Format == "parquet" {
		return f.parquet(ctx, into)
	}
	text, c, err := f.text(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if f.cfg.Format == "csv" {
		return f.csv(text, into)
	}
	return f.lines(ctx, text, into)
}

// csv reads the columns that are declared, or all of them. A value without a character is null.
func (f *file) csv(text io.Reader, into *filler) error {
	r := f.records(text)
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty: the first line of csv has the names of the columns")
	}
	if err != nil {
		return err
	}
	row, at, casts, err := csvColumns(header, f.cfg.Columns)
	if err != nil {
		return err
	}
	if err := into.rows(row, casts...); err != nil {
		return err
	}
	var lines []int
	where := func(record int32) string { return fmt.Sprintf("line %d", lines[record]) }
	b := batch.New(&batch.Records{}, row)
	for done := false; !done; {
		root := b.Root
		b.Records.Reset()
		b.Reset(b.Records)
		lines = lines[:0]
		for b.Rows < rowsAtOnce {
			record, err := r.Read()
			if done = errors.Is(err, io.EOF); done {
				break
			}
			if err != nil {
				return err
			}
			for i, c := range at {
				if col := root.Children[i]; record[c] == "" {
					col.AppendNull()
				} else {
					col.AppendView(b.AppendString(record[c]))
				}
			}
			root.AppendStruct()
			b.AppendRow(b.Rows, 0)
			line, _ := r.FieldPos(0)
			lines = append(lines, line)
		}
		if err := into.add(b, where); err != nil {
			return err
		}
		b.Root = root
	}
	return nil
}

// csvColumns says what is read of each line, as text, and how that is cast.
func csvColumns(header []string, declared []configs.ColumnDef) (row *batch.Type, at []int, casts []configs.Step, err error) {
	if len(declared) == 0 {
		for _, name := range header {
			declared = append(declared, configs.ColumnDef{Name: strings.TrimSpace(name), Type: "string"})
		}
	}
	row = batch.StructOf()
	for _, c := range declared {
		i := slices.IndexFunc(header, func(h string) bool { return strings.TrimSpace(h) == c.Name })
		switch {
		case i < 0:
			return nil, nil, nil, fmt.Errorf("there is no column %q; the first line is: %s", c.Name, strings.Join(header, ", "))
		case row.Index(c.Name) >= 0:
			return nil, nil, nil, fmt.Errorf("the column %q is there twice", c.Name)
		}
		t, required, err := batch.ParseColumn(c.Type)
		if err != nil {
			return nil, nil, nil, err
		}
		row.Fields = append(row.Fields, batch.Field{Name: c.Name, Type: batch.Prim(batch.String), Doc: c.Doc})
		at = append(at, i)
		if t.Kind != batch.String {
			casts = append(casts, configs.Step{Name: "column " + c.Name, Cast: &configs.CastStep{Columns: []string{c.Name}, To: t.String(), OnError: "dead_letter"}})
		}
		if required {
			casts = append(casts, configs.Step{Name: "column " + c.Name, Validate: &configs.ValidateStep{Columns: []string{c.Name}, Required: true}})
		}
	}
	return row, at, casts, nil
}

// lines reads an object in each line.
func (f *file) lines(ctx context.Context, text *bufio.Reader, into *filler) error {
	d, err := schemas.NewDecoder(configs.Decode{Value: configs.Format{Format: "json", Columns: f.cfg.Columns, Unknown: "ignore"}}, nil, schemas.Options{})
	if err != nil {
		return err
	}
	if err := into.rows(d.Row()); err != nil {
		return err
	}
	recs := &batch.Records{Topics: []string{f.cfg.Path}}
	where := func(record int32) string { return fmt.Sprintf("line %d", recs.Offset[record]) }
	b := batch.New(recs, d.Row())
	for line, done := int64(0), false; !done; {
		root := b.Root
		recs.Reset()
		for recs.Len() < rowsAtOnce && len(recs.Mem) < 8<<20 && !done {
			start := len(recs.Mem)
			if done, err = readLine(text, recs); err != nil {
				return err
			}
			line++
			if view := (batch.View{Off: uint32(start), Len: uint32(len(recs.Mem) - start)}); len(bytes.TrimSpace(recs.Bytes(view))) > 0 {
				recs.Topic, recs.Partition, recs.Offset, recs.Timestamp = append(recs.Topic, 0), append(recs.Partition, 0), append(recs.Offset, line), append(recs.Timestamp, -1)
				recs.Key, recs.Value, recs.Headers = append(recs.Key, batch.Null), append(recs.Value, view), append(recs.Headers, batch.View{})
			}
		}
		b.Reset(recs)
		if _, err := d.Prepare(ctx, recs); err != nil {
			return err
		}
		if err := d.Decode(recs, b); err != nil {
			return err
		}
		if err := into.add(b, where); err != nil {
			return err
		}
		b.Root = root
	}
	return nil
}

// readLine appends a line to the arena; done: it is the last one.
func readLine(text *bufio.Reader, recs *batch.Records) (done bool, err error) {
	for {
		part, err := text.ReadSlice('\n')
		recs.Mem = append(recs.Mem, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return true, nil
		default:
			return false, err
		}
	}
}

// parquet reads the columns that are wanted, by name.
func (f *file) parquet(ctx context.Context, into *filler) (err error) {
	p, err := scan.Open(ctx, f.store, f.uri(), 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	row, err := p.Row()
	if err != nil {
		return err
	}
	if row, err = needed(f.k.Config(), row); err != nil {
		return err
	}
	if err := into.rows(row); err != nil {
		return err
	}
	return readParquet(p, row, into, nil)
}

// needed leaves out the columns that no one asks for: with steps, all may be needed.
func needed(l *configs.Lookup, row *batch.Type) (*batch.Type, error) {
	if len(l.Cleanse) > 0 {
		return row, nil
	}
	kept, err := enrich.Kept(l, row)
	if err != nil {
		return nil, err
	}
	out := batch.StructOf()
	for _, f := range row.Fields {
		if kept.Index(f.Name) >= 0 {
			out.Fields = append(out.Fields, f)
		}
	}
	return out, nil
}
