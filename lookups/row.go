package lookups

import (
	"context"
	"errors"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/schemas"
)

// Row is what the rows of a lookup are like, as far as its configuration and its file tell. nil: that cannot be told without Kafka, the
// registry or the catalog.
func Row(ctx context.Context, l *configs.Lookup, files func(path string) (objects.Store, error)) (row *batch.Type, err error) {
	switch f := l.File; {
	case l.Topic != nil:
		d, err := schemas.NewDecoder(l.Topic.Decode, nil, schemas.Options{})
		if err != nil || !d.Known() {
			return nil, nil // the schemas are in the registry
		}
		return TopicRow(l, d)
	case f == nil:
		return nil, nil
	case f.Format == "jsonl":
		d, err := schemas.NewDecoder(configs.Decode{Value: configs.Format{Format: "json", Columns: f.Columns}}, nil, schemas.Options{})
		if err != nil {
			return nil, err
		}
		row = d.Row()
	case f.Format == "csv" && len(f.Columns) > 0:
		for _, c := range f.Columns {
			t, err := batch.ParseType(c.Type)
			if err != nil {
				return nil, err
			}
			if row == nil {
				row = batch.StructOf()
			}
			row.Fields = append(row.Fields, batch.Field{Name: c.Name, Type: t})
		}
	default:
		if row, err = fileRow(ctx, f, files); err != nil {
			return nil, err
		}
	}
	return Cleansed(l, row)
}

// Cleansed is what rows are like behind the lookup's steps.
func Cleansed(l *configs.Lookup, row *batch.Type) (*batch.Type, error) {
	out, _, err := cleansed(l, row)
	if err != nil {
		return nil, err
	}
	return offered(l, out), nil
}

// TopicRow is what the rows of a lookup are like that a decoder knows the columns of.
func TopicRow(l *configs.Lookup, d *schemas.Decoder) (*batch.Type, error) {
	row := d.Row()
	if c := l.Topic.Decode.Changes; c != nil {
		u, err := changes.New(*c, row, keyRow(l, d))
		if err != nil {
			return nil, err
		}
		row = u.Row()
	}
	return Cleansed(l, row)
}

// keyRow are the columns of keys, of which none may be known yet.
func keyRow(l *configs.Lookup, d *schemas.Decoder) *batch.Type {
	if l.Topic.Decode.Key == nil {
		return nil
	}
	if d != nil && d.KeyRow() != nil {
		return d.KeyRow()
	}
	return batch.StructOf()
}

// fileRow looks into a file.
func fileRow(ctx context.Context, f *configs.LookupFile, files func(path string) (objects.Store, error)) (row *batch.Type, err error) {
	x := &file{cfg: f}
	if x.store, err = files(f.Path); err != nil {
		return nil, err
	}
	if f.Format == "csv" {
		header, err := x.header(ctx)
		if err != nil {
			return nil, err
		}
		row, _, _, err = csvColumns(header, nil)
		return row, err
	}
	p, err := scan.Open(ctx, x.store, x.uri(), 0)
	if err != nil {
		return nil, err
	}
	row, err = p.Row()
	return row, errors.Join(err, p.Close())
}
