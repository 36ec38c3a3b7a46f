package changes

import (
	"fmt"
	"math"

	"github.com/lakeloader/lakeloader/batch"
)

// Apply replaces the columns of a batch of the records' type. Tombstones that follow a delete, and messages, are filtered; a record
// that is no change becomes a dead letter. The batch has the new root until its owner gives it the old one back.
func (u *Unwrapper) Apply(b *batch.Batch) error {
	if len(b.Mem) > math.MaxUint32-b.Rows*maxAppend {
		return fmt.Errorf("changes: the batch is full (4 GiB)")
	}
	if u.cfg.Form == "debezium" {
		u.judgeEnvelopes(b)
	} else {
		u.judgeRows(b)
	}
	u.appendOps(b)
	u.appendPositions(b)
	u.appendTimes(b)
	cols := make([]*batch.Column, 0, len(u.row.Fields))
	for _, c := range u.out {
		cols = append(cols, u.column(b, c))
	}
	if u.cfg.Form == "debezium" {
		u.restore(b, cols)
	}
	u.root = *b.Root
	u.root.Type = u.row
	u.root.Children = append(cols, u.opCol, u.tsCol, u.posCol)
	b.Root = &u.root
	return nil
}

// maxAppend bounds what a row takes of the arena beside the text of the source's position.
const maxAppend = 512

func (u *Unwrapper) begin(b *batch.Batch) {
	u.ops, u.from = u.ops[:0], u.from[:0]
	for range b.Rows {
		u.ops, u.from = append(u.ops, 0), append(u.from, fromRow)
	}
}

func isTombstone(b *batch.Batch, row int) bool { return b.Value[b.Record[row]].IsNull() }

func (u *Unwrapper) hasKey() bool {
	for _, c := range u.out {
		if c.key >= 0 {
			return true
		}
	}
	return false
}

// judgeEnvelopes decides for each row what happened, and where its values are.
func (u *Unwrapper) judgeEnvelopes(b *batch.Batch) {
	u.begin(b)
	op, after := b.Root.Children[u.op], b.Root.Children[u.after]
	hasKey := u.hasKey()
	for i := range b.Rows {
		u.ops[i], u.from[i] = Message, fromNowhere
		if isTombstone(b, i) {
			b.Filter(i, StepTombstone)
			continue
		}
		var text []byte
		if !op.IsNull(i) {
			text = b.Bytes(op.Views[i])
		}
		if len(text) != 1 {
			b.Reject(i, "changes", ColumnOp, "the envelope's op is "+quote(text)+", none of c, u, d, r, t and m: is it a Debezium envelope?")
			continue
		}
		u.ops[i] = text[0]
		switch text[0] {
		case Create, Update, Read:
			if after.IsNull(i) {
				b.Reject(i, "changes", ColumnOp, "the change "+string(text)+" has no row (after is null)")
				continue
			}
			u.from[i] = fromRow
		case Delete:
			switch {
			case u.before >= 0 && !b.Root.Children[u.before].IsNull(i):
				u.from[i] = fromBefore
			case hasKey && !b.Key[b.Record[i]].IsNull():
				u.from[i] = fromKey
			default:
				b.Reject(i, "changes", ColumnOp, "the delete does not say of which row: before is null; set decode.key, or the table's replica identity")
			}
		case Truncate:
		case Message:
			b.Filter(i, StepMessage)
		default:
			b.Reject(i, "changes", ColumnOp, "the envelope's op is "+quote(text)+", none of c, u, d, r, t and m")
		}
	}
}

// judgeRows is judgeEnvelopes for rows without one.
func (u *Unwrapper) judgeRows(b *batch.Batch) {
	u.begin(b)
	for i := range b.Rows {
		u.ops[i] = Update
		switch {
		case isTombstone(b, i) && u.deleted >= 0:
			u.from[i] = fromNowhere
			b.Filter(i, StepTombstone)
		case isTombstone(b, i):
			u.ops[i], u.from[i] = Delete, fromKey
			if b.Key[b.Record[i]].IsNull() {
				b.Reject(i, "changes", ColumnOp, "the delete does not say of which row: the record has neither a value nor a key")
			}
		case u.deleted >= 0 && isTrue(b, b.Root.Children[u.deleted], i):
			u.ops[i] = Delete
		case u.op >= 0 && !b.Root.Children[u.op].IsNull(i):
			text := b.Bytes(b.Root.Children[u.op].Views[i])
			if len(text) != 1 || text[0] != Create && text[0] != Update && text[0] != Delete && text[0] != Read && text[0] != Truncate {
				b.Reject(i, "changes", ColumnOp, "the row's __op is "+quote(text)+", none of c, u, d, r and t")
				continue
			}
			u.ops[i] = text[0]
		}
	}
}

func isTrue(b *batch.Batch, c *batch.Column, row int) bool {
	if c.IsNull(row) {
		return false
	}
	if c.Type.Kind == batch.Boolean {
		return c.Bools[row]
	}
	return string(b.Bytes(c.Views[row])) == "true"
}

func (u *Unwrapper) appendOps(b *batch.Batch) {
	u.opCol.Reset()
	var at [256]batch.View
	for _, op := range u.ops {
		if at[op].Len == 0 {
			at[op] = b.Append([]byte{op})
		}
		u.opCol.AppendView(at[op])
	}
}

func (u *Unwrapper) appendPositions(b *batch.Batch) {
	u.posCol.Reset()
	s := u.position.of(b)
	for i := range b.Rows {
		start := len(b.Mem)
		if b.Fate[i] == batch.Keep {
			if u.position.found {
				var ok bool
				if b.Mem, ok = s.append(b.Mem, i); !ok {
					b.Reject(i, "changes", ColumnPosition, "the record does not tell its position in the source: set changes.position to offset if records come in order")
				}
			} else {
				b.Mem = offsetPosition(b.Mem, b.Offset[b.Record[i]])
			}
		}
		u.posCol.AppendView(batch.View{Off: uint32(start), Len: uint32(len(b.Mem) - start)})
	}
}

func (u *Unwrapper) appendTimes(b *batch.Batch) {
	u.tsCol.Reset()
rows:
	for i, rec := range b.Record {
		for _, t := range u.times {
			c := t.column(b.Root)
			if c.IsNull(i) || t.parent >= 0 && b.Root.Children[t.parent].IsNull(i) || c.Int64[i] <= 0 || c.Int64[i] > math.MaxInt64/t.times {
				continue
			}
			u.tsCol.AppendInt64(c.Int64[i] * t.times / t.divide)
			continue rows
		}
		if ms := b.Timestamp[rec]; ms >= 0 && ms <= math.MaxInt64/1000 {
			u.tsCol.AppendInt64(ms * 1000)
		} else {
			u.tsCol.AppendNull()
		}
	}
}
