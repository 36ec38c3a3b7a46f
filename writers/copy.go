package writers

import "github.com/lakeloader/lakeloader/batch"

// CopyRows appends rows of src to dst, a batch of the same row type, with the bytes that they point to.
func CopyRows(dst *batch.Batch, src *batch.Batch, rows []int32) {
	first := dst.Rows
	copyRows(dst, src, rows)
	dst.Rows = first
	for range rows {
		dst.AppendRow(dst.Rows, 0)
	}
}

// copyRows appends rows of src to dst, a batch of the same row type, with the bytes that they point to.
func copyRows(dst *batch.Batch, src *batch.Batch, rows []int32) {
	copyColumn(dst.Records, dst.Root, src.Mem, src.Root, rows)
	dst.Rows += len(rows)
}

func copyColumn(to *batch.Records, dst *batch.Column, mem []byte, src *batch.Column, rows []int32) {
	switch src.Type.Store() {
	case batch.StoreBool:
		dst.Bools = gather(dst.Bools, src.Bools, rows)
	case batch.StoreInt32:
		dst.Int32 = gather(dst.Int32, src.Int32, rows)
	case batch.StoreInt64:
		dst.Int64 = gather(dst.Int64, src.Int64, rows)
	case batch.StoreFloat32:
		dst.Float32 = gather(dst.Float32, src.Float32, rows)
	case batch.StoreFloat64:
		dst.Float64 = gather(dst.Float64, src.Float64, rows)
	case batch.StoreView:
		var last, copied batch.View // a constant column points to the same bytes in every row
		for _, r := range rows {
			if v := src.Views[r]; v != last {
				last, copied = v, to.Append(mem[v.Off:v.Off+v.Len])
			}
			dst.Views = append(dst.Views, copied)
		}
	case batch.StoreStruct:
		for i, c := range src.Children {
			copyColumn(to, dst.Children[i], mem, c, rows)
		}
	case batch.StoreList:
		copyLists(to, dst, mem, src, rows)
	}
	if src.Valid != nil && dst.Valid == nil {
		dst.Valid = make([]bool, dst.Len, dst.Len+len(rows))
		for i := range dst.Valid {
			dst.Valid[i] = true
		}
	}
	if dst.Valid != nil {
		for _, r := range rows {
			dst.Valid = append(dst.Valid, src.Valid == nil || src.Valid[r])
		}
	}
	dst.Len += len(rows)
}

func gather[T any](dst, src []T, rows []int32) []T {
	for _, r := range rows {
		dst = append(dst, src[r])
	}
	return dst
}

func copyLists(to *batch.Records, dst *batch.Column, mem []byte, src *batch.Column, rows []int32) {
	var elements []int32
	end := dst.Starts[len(dst.Starts)-1]
	for _, r := range rows {
		for at := src.Starts[r]; at < src.Starts[r+1]; at++ {
			elements = append(elements, at)
		}
		end += src.Starts[r+1] - src.Starts[r]
		dst.Starts = append(dst.Starts, end)
	}
	for i, c := range src.Children {
		copyColumn(to, dst.Children[i], mem, c, elements)
	}
}

// columnBytes is the memory that a column's slots take, without what Views point to.
func columnBytes(c *batch.Column) int64 {
	n := len(c.Valid) + len(c.Bools) + 4*(len(c.Int32)+len(c.Float32)+len(c.Starts)) + 8*(len(c.Int64)+len(c.Float64)+len(c.Views))
	total := int64(n)
	for _, ch := range c.Children {
		total += columnBytes(ch)
	}
	return total
}
