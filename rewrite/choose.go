package rewrite

import (
	"context"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// chooser asks what becomes of each row of a file.
type chooser struct {
	in       *Input
	verdicts []Verdict // by position; rows that were deleted before are dropped
	counts   Result

	keys   Keys
	topics map[string]int32
	rows   []int32   // of the batch, by entry of keys
	said   []Verdict // by entry of keys
}

// keyColumns is the part of a table's row type that Keys are read from.
func keyColumns(row *batch.Type) (*batch.Type, error) {
	out := batch.StructOf()
	for _, c := range []struct {
		name string
		kind batch.Kind
	}{{table.ColumnTopic, batch.String}, {table.ColumnPartition, batch.Int}, {table.ColumnOffset, batch.Long}, {table.ColumnEpoch, batch.Int}} {
		i := row.Index(c.name)
		if i < 0 || row.Fields[i].Type.Kind != c.kind {
			return nil, fmt.Errorf("the table has no column %s of the type %s, so that nobody can tell which records its rows are from", c.name, c.kind)
		}
		f := row.Fields[i]
		f.Required = true
		out.Fields = append(out.Fields, f)
	}
	return out, nil
}

func (c *chooser) choose(ctx context.Context, f *scan.File) error {
	row, err := keyColumns(c.in.Info.Row)
	if err != nil {
		return err
	}
	c.topics = map[string]int32{}
	rows := int64(0)
	err = each(ctx, f, row, func(b *batch.Batch, at int64) error {
		if rows = at + int64(b.Rows); rows > int64(len(c.verdicts)) {
			return nil // reported below
		}
		return c.batch(b, at)
	})
	if err == nil && rows != int64(len(c.verdicts)) {
		err = fmt.Errorf("the file has %d rows, the table's metadata says %d", rows, len(c.verdicts))
	}
	return err
}

func (c *chooser) batch(b *batch.Batch, at int64) error {
	c.fill(b, at)
	if len(c.rows) == 0 {
		return nil
	}
	if cap(c.said) < len(c.rows) {
		c.said = make([]Verdict, len(c.rows))
	}
	c.said = c.said[:len(c.rows)]
	clear(c.said)
	if err := c.in.Choose(&c.keys, c.said); err != nil {
		return err
	}
	for i, v := range c.said {
		switch v {
		case Keep:
			c.counts.Kept++
		case Drop:
			c.counts.Dropped++
		case Change:
			if len(c.in.Set) == 0 {
				return fmt.Errorf("row %d is to be changed, and no column is to be set", at+int64(c.rows[i]))
			}
			c.counts.Changed++
		default:
			return fmt.Errorf("row %d: there is no verdict %d", at+int64(c.rows[i]), v)
		}
		c.verdicts[at+int64(c.rows[i])] = v
	}
	return nil
}

// fill takes the keys of the rows that were not deleted.
func (c *chooser) fill(b *batch.Batch, at int64) {
	k := &c.keys
	k.Topic, k.Partition, k.Offset, k.Epoch, c.rows = k.Topic[:0], k.Partition[:0], k.Offset[:0], k.Epoch[:0], c.rows[:0]
	topic, partition, offset, epoch := b.Root.Children[0], b.Root.Children[1], b.Root.Children[2], b.Root.Children[3]
	var last batch.View
	code := int32(-1)
	for i := range b.Rows {
		if c.in.Deleted != nil && c.in.Deleted.Contains(uint64(at)+uint64(i)) {
			c.verdicts[at+int64(i)] = Drop
			c.counts.Deleted++
			continue
		}
		if v := topic.Views[i]; code < 0 || v != last {
			last, code = v, c.topic(b.Bytes(v))
		}
		k.Topic, k.Partition = append(k.Topic, code), append(k.Partition, partition.Int32[i])
		k.Offset, k.Epoch = append(k.Offset, offset.Int64[i]), append(k.Epoch, epoch.Int32[i])
		c.rows = append(c.rows, int32(i))
	}
}

func (c *chooser) topic(name []byte) int32 {
	code, ok := c.topics[string(name)]
	if !ok {
		code = int32(len(c.keys.Topics))
		c.keys.Topics = append(c.keys.Topics, string(name))
		c.topics[string(name)] = code
	}
	return code
}
