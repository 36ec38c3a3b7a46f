package aggregate

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// Form is how a target's rows become messages.
type Form struct {
	// Key are the columns of the key. One is written as plain text, several as a JSON object.
	Key []string
	// Value is a column whose plain text is the value; empty: a JSON object of all columns but those of Without.
	Value string
	// Without says which columns a value leaves out, beside ColumnSnapshot, which says nothing about the row itself.
	Without func(column string) bool
}

// LakeRows reads a target's rows as messages.
type LakeRows struct {
	info    table.Info
	catalog Catalog
	store   objects.Store
	line    *timeline
	row     *batch.Type // of the columns that messages have
	day     int         // in row
	key     []int
	value   []int // one for Form.Value
	plain   bool

	deletes map[int64]map[string]*roaring64.Bitmap // by snapshot
	files   map[int64]map[Day][]table.File
}

// NewLakeRows checks a form against the target as it is now.
func NewLakeRows(ctx context.Context, catalog Catalog, store objects.Store, target table.Ident, form Form) (*LakeRows, error) {
	info, err := catalog.Info(ctx, target)
	if err != nil {
		return nil, err
	}
	r := &LakeRows{info: info, catalog: catalog, store: store, row: batch.StructOf(), plain: form.Value != "", deletes: map[int64]map[string]*roaring64.Bitmap{}, files: map[int64]map[Day][]table.File{}}
	if r.line, err = targetLine(&info, Daily()); err != nil {
		return nil, err
	}
	for _, f := range info.Row.Fields {
		if f.Type.Nested() {
			return nil, fmt.Errorf("column %s is a %s, which messages cannot hold", f.Name, f.Type)
		}
		if f.Name != ColumnSnapshot {
			r.row.Fields = append(r.row.Fields, f)
		}
	}
	r.day = r.row.Index(ColumnDay)
	for _, k := range form.Key {
		i := r.row.Index(k)
		if i < 0 {
			return nil, fmt.Errorf("publish.key: there is no column %s", k)
		}
		r.key = append(r.key, i)
	}
	if form.Value != "" {
		i := r.row.Index(form.Value)
		if i < 0 {
			return nil, fmt.Errorf("publish.value: there is no column %s", form.Value)
		}
		r.value = []int{i}
		return r, nil
	}
	for i, f := range r.row.Fields {
		if form.Without == nil || !form.Without(f.Name) {
			r.value = append(r.value, i)
		}
	}
	return r, nil
}

// Days implements TargetRows.
func (r *LakeRows) Days(ctx context.Context, snapshot int64) (map[Day]DayFiles, error) {
	files, deletes, err := r.catalog.Files(ctx, r.info.Ident, snapshot)
	if err != nil {
		return nil, fmt.Errorf("listing the files of snapshot %d: %w", snapshot, err)
	}
	if r.deletes[snapshot], err = scan.PositionDeletes(ctx, r.store, deletes); err != nil {
		return nil, err
	}
	out, of := map[Day]DayFiles{}, map[Day][]table.File{}
	for _, f := range files {
		s := r.line.days(f)
		if s.from != s.to {
			return nil, fmt.Errorf("its file %s is not of one day: other programs have written into it, or partitioned it anew", f.Path)
		}
		d := out[s.from]
		d.Paths, d.Sequence = append(d.Paths, f.Path), max(d.Sequence, f.Sequence)
		out[s.from], of[s.from] = d, append(of[s.from], f)
	}
	for day, d := range out {
		d.Paths = append(d.Paths, deletes...) // of whichever day: rows that others deleted
		slices.Sort(d.Paths)
		out[day] = d
	}
	r.files[snapshot] = of
	return out, nil
}

// Messages implements TargetRows, for a snapshot whose days were asked for.
func (r *LakeRows) Messages(ctx context.Context, snapshot int64, day Day, each func(key string, value []byte) error) error {
	for _, f := range r.files[snapshot][day] {
		var own error // of each: it is not the file's
		err := r.file(ctx, f, r.deletes[snapshot][f.Path], func(key string, value []byte) error {
			own = each(key, value)
			return own
		})
		if own != nil {
			return own
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return nil
}

func (r *LakeRows) file(ctx context.Context, file table.File, deleted *roaring64.Bitmap, each func(key string, value []byte) error) error {
	return scan.Each(ctx, r.store, file.Path, file.Size, r.row, 0, func(b *batch.Batch, at int64) error {
		for i := range b.Rows {
			if deleted != nil && deleted.Contains(uint64(at)+uint64(i)) {
				continue
			}
			key, err := r.keyOf(b, i)
			if err != nil {
				return err
			}
			if err := each(key, r.valueOf(b, i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// keyOf is the key of a row's message.
func (r *LakeRows) keyOf(b *batch.Batch, i int) (string, error) {
	if len(r.key) > 1 {
		return string(r.object(b, i, r.key)), nil
	}
	c := b.Root.Children[r.key[0]]
	if c.IsNull(i) {
		return "", fmt.Errorf("a row of day %s has no value in %s, which is the key of its message: filter such rows, or add a column to publish.key, so that keys are JSON",
			Day(b.Root.Children[r.day].Int32[i]), r.row.Fields[r.key[0]].Name)
	}
	text, _ := text(b, c, i)
	return text, nil
}

// valueOf is the value of a row's message; nil for a plain one of null.
func (r *LakeRows) valueOf(b *batch.Batch, i int) []byte {
	if !r.plain {
		return r.object(b, i, r.value)
	}
	c := b.Root.Children[r.value[0]]
	if c.IsNull(i) {
		return nil
	}
	text, _ := text(b, c, i)
	return []byte(text)
}

func (r *LakeRows) object(b *batch.Batch, i int, columns []int) []byte {
	out := []byte{'{'}
	for n, at := range columns {
		if n > 0 {
			out = append(out, ',')
		}
		out = append(quoted(out, r.row.Fields[at].Name), ':')
		c := b.Root.Children[at]
		if c.IsNull(i) {
			out = append(out, "null"...)
			continue
		}
		if text, bare := text(b, c, i); bare {
			out = append(out, text...)
		} else {
			out = quoted(out, text)
		}
	}
	return append(out, '}')
}

// quoted appends text as JSON.
func quoted(out []byte, text string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil { // not of a string
		return strconv.AppendQuote(out, text)
	}
	return append(out, strings.TrimSuffix(b.String(), "\n")...)
}

// text writes a value that is not null: decimals with all digits, times in ISO 8601, bytes in base64. bare: as JSON it goes without
// quotation marks, as whole numbers, floating-point numbers and truth do; decimals do not, since readers of JSON make binary numbers of them.
func text(b *batch.Batch, c *batch.Column, i int) (text string, bare bool) {
	switch t := c.Type; t.Kind {
	case batch.Boolean:
		return strconv.FormatBool(c.Bools[i]), true
	case batch.Int:
		return strconv.FormatInt(int64(c.Int32[i]), 10), true
	case batch.Long:
		return strconv.FormatInt(c.Int64[i], 10), true
	case batch.Float:
		return floating(float64(c.Float32[i]), 32)
	case batch.Double:
		return floating(c.Float64[i], 64)
	case batch.Decimal:
		return decimalText(b, c, i), false
	case batch.Date:
		return Day(c.Int32[i]).String(), false
	case batch.Time:
		return time.UnixMicro(c.Int64[i]).UTC().Format("15:04:05.999999"), false
	case batch.Timestamp:
		return time.UnixMicro(c.Int64[i]).UTC().Format("2006-01-02T15:04:05.999999"), false
	case batch.TimestampTZ:
		return time.UnixMicro(c.Int64[i]).UTC().Format("2006-01-02T15:04:05.999999Z"), false
	case batch.String:
		return string(b.Bytes(c.Views[i])), false
	case batch.UUID:
		h := hex.EncodeToString(b.Bytes(c.Views[i]))
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], false
	}
	return base64.StdEncoding.EncodeToString(b.Bytes(c.Views[i])), false
}

func floating(v float64, bits int) (text string, bare bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, bits), false // JSON has no such numbers
	}
	return strconv.FormatFloat(v, 'g', -1, bits), true
}

func decimalText(b *batch.Batch, c *batch.Column, i int) string {
	n := new(big.Int)
	if c.Type.Store() == batch.StoreInt64 {
		n.SetInt64(c.Int64[i])
	} else {
		raw := b.Bytes(c.Views[i])
		n.SetBytes(raw)
		if int8(raw[0]) < 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
	}
	digits, sign := new(big.Int).Abs(n).String(), ""
	if n.Sign() < 0 {
		sign = "-"
	}
	scale := c.Type.Scale
	if scale == 0 {
		return sign + digits
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
