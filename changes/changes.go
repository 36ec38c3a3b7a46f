// Package changes turns records of change data into rows: Debezium's envelope (before, after, op, source) and rows without one. It does
// no I/O, and works on whole columns.
package changes

import (
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// The columns that every change has beside those of its row.
const (
	ColumnOp       = "_op"        // string: one of the operations
	ColumnSourceTS = "_source_ts" // timestamptz: when the database made the change, as far as the record tells
	ColumnPosition = "_position"  // string: sorts bytewise as the changes of a key happened
)

// The operations.
const (
	Create   = 'c'
	Update   = 'u'
	Delete   = 'd'
	Read     = 'r' // by a snapshot
	Truncate = 't'
	Message  = 'm' // no change of a row: filtered
)

// The steps by which records are filtered.
const (
	StepTombstone = "changes tombstone" // follows a delete that says more
	StepMessage   = "changes message"   // a message in the database's log
)

// Unwrapper replaces the columns of decoded records by those of the rows that they are about. It is not safe for concurrent use; its
// columns are used again by the next Apply.
//
// A row is that of after; of a delete that of before, of which databases may know the key only; where there is neither, that of the
// record's key. So all columns are optional. A column of the record's key is that of the row with the same name, without the
// key's prefix; others follow the row's.
type Unwrapper struct {
	cfg configs.Changes
	row *batch.Type
	out []column
	// Of the records' columns, by position; -1: there is none.
	before, after, op, deleted int
	position                   positions
	times                      []timeColumn

	opCol, tsCol, posCol *batch.Column
	root                 batch.Column
	ops                  []byte
	from                 []from
}

// column is one of the row's.
type column struct {
	at     int // in the row that it is of: after's fields, or those of the record
	before int // in before's
	key    int // in the record
}

// from says where the values of a row are.
type from uint8

const (
	fromRow from = iota // after, or the record itself
	fromBefore
	fromKey
	fromNowhere
)

// New makes an Unwrapper for records with the given columns. key are those of the record's key, by names without prefix; they are the
// last of record. Nil: keys are not decoded; empty: their columns are not known yet.
func New(cfg configs.Changes, record, key *batch.Type) (*Unwrapper, error) {
	u := &Unwrapper{cfg: cfg, before: -1, after: -1, op: -1, deleted: -1}
	keys := 0
	if key != nil {
		keys = len(key.Fields)
	}
	if keys > len(record.Fields) {
		return nil, fmt.Errorf("changes: the key has %d columns, the record %d", keys, len(record.Fields))
	}
	values := batch.StructOf(record.Fields[:len(record.Fields)-keys]...)
	var err error
	var fields []batch.Field
	if cfg.Form == "debezium" {
		fields, err = u.envelope(values)
	} else {
		fields, err = u.unwrapped(values, key != nil)
	}
	if err != nil {
		return nil, err
	}
	if fields, err = u.keys(fields, record, key, len(values.Fields)); err != nil {
		return nil, err
	}
	for i := range fields {
		fields[i].Required = false
	}
	row := batch.StructOf(fields...)
	for _, f := range []batch.Field{
		{Name: ColumnOp, Type: batch.Prim(batch.String), Required: true, Doc: "what happened to the row: c created, u updated, d deleted, r read by a snapshot, t table truncated"},
		{Name: ColumnSourceTS, Type: batch.Prim(batch.TimestampTZ), Doc: "when the database made the change"},
		{Name: ColumnPosition, Type: batch.Prim(batch.String), Required: true, Doc: "sorts as the changes of a key happened"}} {
		if row.Index(f.Name) >= 0 {
			return nil, fmt.Errorf("changes: the row has a column %s of its own", f.Name)
		}
		row.Fields = append(row.Fields, f)
	}
	u.row = row
	u.opCol, u.tsCol, u.posCol = batch.NewColumn(batch.Prim(batch.String), 0), batch.NewColumn(batch.Prim(batch.TimestampTZ), 0), batch.NewColumn(batch.Prim(batch.String), 0)
	return u, nil
}

// Row is the row type that Apply leaves.
func (u *Unwrapper) Row() *batch.Type { return u.row }

// envelope finds the parts of Debezium's envelope.
func (u *Unwrapper) envelope(values *batch.Type) ([]batch.Field, error) {
	u.before, u.after, u.op = values.Index("before"), values.Index("after"), values.Index("op")
	if u.after < 0 || u.op < 0 || values.Fields[u.after].Type.Kind != batch.Struct || values.Fields[u.op].Type.Kind != batch.String {
		return nil, fmt.Errorf("changes: the values are no Debezium envelope, which has the structs before and after and the text op, but %s; "+
			"where a transform has unwrapped them, form is unwrapped", values)
	}
	after := values.Fields[u.after].Type
	before := batch.StructOf()
	if u.before >= 0 {
		if before = values.Fields[u.before].Type; before.Kind != batch.Struct {
			return nil, fmt.Errorf("changes: the envelope's before is a %s, not a struct", before)
		}
	}
	var fields []batch.Field
	for i, f := range after.Fields {
		c := column{at: i, before: before.Index(f.Name), key: -1}
		if c.before >= 0 && !before.Fields[c.before].Type.Equal(f.Type) {
			return nil, fmt.Errorf("changes: the column %s is %s in before and %s in after", f.Name, before.Fields[c.before].Type, f.Type)
		}
		u.out, fields = append(u.out, c), append(fields, f)
	}
	for _, f := range before.Fields {
		if after.Index(f.Name) < 0 {
			return nil, fmt.Errorf("changes: the column %s is in before, but not in after", f.Name)
		}
	}
	if i := values.Index("source"); i >= 0 && values.Fields[i].Type.Kind == batch.Struct {
		u.position.find(u.cfg, values.Fields[i].Type, i, "")
		u.findTimes(values.Fields[i].Type, i, "")
	}
	u.findTimes(values, -1, "")
	return fields, nil
}

// unwrapped finds the fields that Debezium's transform may have added to the row.
func (u *Unwrapper) unwrapped(values *batch.Type, keyed bool) ([]batch.Field, error) {
	u.op, u.deleted = values.Index("__op"), values.Index("__deleted")
	if u.op >= 0 && values.Fields[u.op].Type.Kind != batch.String {
		return nil, fmt.Errorf("changes: the column __op is %s, not string", values.Fields[u.op].Type)
	}
	if u.deleted >= 0 {
		if k := values.Fields[u.deleted].Type.Kind; k != batch.String && k != batch.Boolean {
			return nil, fmt.Errorf("changes: the column __deleted is %s, neither string nor boolean", values.Fields[u.deleted].Type)
		}
	} else if !keyed {
		return nil, errors.New("changes: a null value deletes the row of the record's key, so keys must be decoded: set decode.key, or have the connector add __deleted to the rows")
	}
	// A tombstone has no position of the source, so where deletes are tombstones all are ordered by offsets.
	if u.deleted >= 0 {
		for _, prefix := range []string{"__source_", "__"} {
			u.position.find(u.cfg, values, -1, prefix)
		}
	}
	for _, prefix := range []string{"__source_", "__"} {
		u.findTimes(values, -1, prefix)
	}
	var fields []batch.Field
	for i, f := range values.Fields {
		if i != u.op && i != u.deleted {
			u.out, fields = append(u.out, column{at: i, before: -1, key: -1}), append(fields, f)
		}
	}
	return fields, nil
}

// keys adds the columns of the record's key. The first of them is at position first of the record.
func (u *Unwrapper) keys(fields []batch.Field, record, key *batch.Type, first int) ([]batch.Field, error) {
	if key == nil {
		return fields, nil
	}
	row := batch.StructOf(fields...)
	for i, f := range key.Fields {
		if at := row.Index(f.Name); at >= 0 {
			if have := row.Fields[at].Type; !have.Equal(f.Type) && !(have.Kind == batch.Long && f.Type.Kind == batch.Int) {
				return nil, fmt.Errorf("changes: the column %s is %s in the key and %s in the row", f.Name, f.Type, have)
			}
			u.out[at].key = first + i
			continue
		}
		own := record.Fields[first+i]
		if row.Index(own.Name) >= 0 {
			return nil, fmt.Errorf("changes: keys and rows both have a column %s: set decode.key.prefix", own.Name)
		}
		fields = append(fields, own)
		u.out = append(u.out, column{at: -1, before: -1, key: first + i})
	}
	return fields, nil
}
