package changes

import "github.com/lakeloader/lakeloader/batch"

// column is a column of the row. That of after is used as it is; values of other rows are put into it. Only columns of lists and maps,
// which cannot be written in place, are made anew, where a batch has such rows.
func (u *Unwrapper) column(b *batch.Batch, c column) *batch.Column {
	var row, before, key *batch.Column
	parent := b.Root
	if u.after >= 0 {
		parent = b.Root.Children[u.after]
	}
	if c.at >= 0 {
		row = parent.Children[c.at]
	}
	if u.before >= 0 && c.before >= 0 {
		before = b.Root.Children[u.before].Children[c.before]
	}
	if c.key >= 0 {
		key = b.Root.Children[c.key]
	}
	if row == nil {
		return key
	}
	if nested(row.Type) {
		return u.gather(row, before, key)
	}
	for i, f := range u.from {
		switch {
		case f == fromRow:
		case f == fromBefore && before != nil && !before.IsNull(i):
			set(row, before, i)
		case f == fromKey && key != nil && !key.IsNull(i):
			set(row, key, i)
		case f != fromRow:
			row.SetNull(i)
		}
	}
	return row
}

func nested(t *batch.Type) bool {
	return t.Kind == batch.Struct || t.Kind == batch.List || t.Kind == batch.Map
}

// set copies a value of a column that is not nested.
func set(to, from *batch.Column, i int) {
	switch to.Type.Store() {
	case batch.StoreBool:
		to.Bools[i] = from.Bools[i]
	case batch.StoreInt32:
		to.Int32[i] = from.Int32[i]
	case batch.StoreInt64:
		if from.Type.Store() == batch.StoreInt32 {
			to.Int64[i] = int64(from.Int32[i])
		} else {
			to.Int64[i] = from.Int64[i]
		}
	case batch.StoreFloat32:
		to.Float32[i] = from.Float32[i]
	case batch.StoreFloat64:
		to.Float64[i] = from.Float64[i]
	case batch.StoreView:
		to.Views[i] = from.Views[i]
	}
	if to.Valid != nil {
		to.Valid[i] = true
	}
}

// gather makes a nested column anew where some rows are not those of row.
func (u *Unwrapper) gather(row, before, key *batch.Column) *batch.Column {
	same := true
	for _, f := range u.from {
		same = same && f == fromRow
	}
	if same {
		return row
	}
	to := batch.NewColumn(row.Type, row.Len)
	for i, f := range u.from {
		from := row
		switch f {
		case fromBefore:
			from = before
		case fromKey:
			from = key
		case fromNowhere:
			from = nil
		}
		if from == nil {
			to.AppendNull()
			continue
		}
		to.AppendFrom(from, i, nil)
	}
	return to
}

// Unavailable is what Debezium puts in the place of a value that the database did not tell, as PostgreSQL does with large values that an
// update has not changed.
const Unavailable = "__debezium_unavailable_value"

// restore takes such values from before, where it has them, and makes dead letters of the other rows.
func (u *Unwrapper) restore(b *batch.Batch, cols []*batch.Column) {
	for j, c := range cols {
		if k := c.Type.Kind; k != batch.String && k != batch.Binary || u.out[j].at < 0 {
			continue
		}
		var before *batch.Column
		if u.before >= 0 && u.out[j].before >= 0 {
			before = b.Root.Children[u.before].Children[u.out[j].before]
		}
		missing := func(c *batch.Column, i int) bool {
			return c.Views[i].Len == uint32(len(Unavailable)) && !c.IsNull(i) && string(b.Bytes(c.Views[i])) == Unavailable
		}
		for i, v := range c.Views {
			if v.Len != uint32(len(Unavailable)) || u.ops[i] == Delete || !missing(c, i) {
				continue
			}
			if before != nil && !b.Root.Children[u.before].IsNull(i) && !missing(before, i) {
				if before.IsNull(i) {
					c.SetNull(i)
				} else {
					c.Views[i] = before.Views[i]
				}
				continue
			}
			b.Reject(i, "changes", u.row.Fields[j].Name, "the database did not tell the value, which is large and was not changed: set the table's REPLICA IDENTITY to FULL")
		}
	}
}
