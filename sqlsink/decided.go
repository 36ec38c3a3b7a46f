package sqlsink

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// Decisions in lakeloader_decided; what a step filtered has the step behind it.
const (
	gap      = "gap"
	filtered = "filtered: "
)

// block is how many offsets the bitmap of a row of lakeloader_decided is about: rows and their size are bounded by the offsets,
// and not by the number of rounds.
const block = 1 << 20

// maxStep is how much of a step's name is kept, bytes.
const maxStep = 180

// decide adds what a move says of offsets that are neither rows nor dead letters.
func (c *session) decide(ctx context.Context, m pipeline.Move) error {
	for _, step := range slices.Sorted(maps.Keys(m.Filtered)) {
		if err := c.add(ctx, m.Key, m.To.Epoch, filtered+short(step), m.Filtered[step]); err != nil {
			return err
		}
	}
	if m.Gaps != nil {
		return c.add(ctx, m.Key, m.To.Epoch, gap, m.Gaps)
	}
	return nil
}

func short(step string) string {
	for len(step) > maxStep || !utf8.ValidString(step) {
		step = step[:len(step)-1]
	}
	return step
}

// add merges offsets into the bitmaps of their blocks. The partition's row of the ledger is locked, so nobody else does.
func (c *session) add(ctx context.Context, k table.Key, epoch int32, decision string, set *pipeline.Offsets) error {
	own := quoted(c.kind, c.beside(decidedTable))
	for !set.IsEmpty() {
		n := int64(set.Minimum() / block)
		part := roaring64.New()
		part.AddRange(uint64(n)*block, uint64(n+1)*block)
		part.And(&set.Bitmap)
		rest := &pipeline.Offsets{Bitmap: *roaring64.AndNot(&set.Bitmap, part)}
		set = rest
		args := []any{c.o.Pipeline.Name, k.Topic, int64(k.Partition), int64(epoch), decision, n}
		err := c.query(ctx, func(r *sql.Rows) error {
			have, err := scanOffsets(r)
			if err == nil {
				part.Or(have)
			}
			return err
		}, "SELECT offsets FROM "+own+" WHERE pipeline = ? AND topic = ? AND topic_partition = ? AND epoch = ? AND decision = ? AND block = ?", args...)
		if err != nil {
			return err
		}
		part.RunOptimize()
		text, err := part.ToBytes()
		if err != nil {
			return err
		}
		key := []string{"pipeline", "topic", "topic_partition", "epoch", "decision", "block"}
		if _, err := c.exec(ctx, "INSERT INTO "+own+" (pipeline, topic, topic_partition, epoch, decision, block, offsets) VALUES (?, ?, ?, ?, ?, ?, ?)"+
			c.kind.upsert(key, "offsets"), append(args, text)...); err != nil {
			return err
		}
	}
	return nil
}

func scanOffsets(r *sql.Rows, before ...any) (*roaring64.Bitmap, error) {
	var text []byte
	if err := r.Scan(append(before, &text)...); err != nil {
		return nil, err
	}
	set := roaring64.New()
	if err := set.UnmarshalBinary(text); err != nil {
		return nil, fmt.Errorf("%w: a set of offsets in %s is broken: %w", pipeline.ErrStop, decidedTable, err)
	}
	return set, nil
}

// legible makes text of dead letters that no database refuses: what was wrong with a record may be in it.
func legible(v value) value {
	return func(c *batch.Column, mem []byte, i int) any {
		s, ok := v(c, mem, i).(string)
		if !ok {
			return nil
		}
		return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
}
