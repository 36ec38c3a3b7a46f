package lookups

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
)

// topic is a lookup in a topic of Kafka: of each record key the latest value. It reads all partitions from their beginning, in every
// process anew, and then follows them.
//
// A row belongs to the key of its record. By that key a later record replaces it, or takes it away (a null value, or one that the
// lookup's steps filter), also when the columns by which the lookup is joined have changed meanwhile. Where these columns are just the
// decoded key of the record, the row is found by them, else by an identity, a hash of the record's key.
//
// A record that cannot be decoded, or that a step rejects, is skipped and counted: the row stays as it was.
type topic struct {
	*keeper
	cfg *configs.LookupTopic

	decoder *schemas.Decoder
	unwrap  *changes.Unwrapper // nil: values are rows
	keys    *schemas.Decoder   // decodes keys as if they were values; nil: their bytes say which row it is
	fill    filler
	b, kb   *batch.Batch
	whole   bool  // the row's key is that of the record
	order   []int // of the lookup's key among the columns of keys, if whole

	ids   string // of the topic
	next  map[source.Partition]int64
	goal  map[source.Partition]int64 // where the partitions ended when reading began
	t     *enrich.Table
	ready bool // t is the lookup's

	op      int    // column of the operation, of changes
	does    []byte // what each row of the batch does
	skipped int64  // records of the present batch
	why     string
}

// look is how often it is asked whether the topic still is the same, and has other partitions.
const look = 30 * time.Second

func (t *topic) run(ctx context.Context) {
	for wait := firstRetry; ; wait = min(2*wait, 10*time.Second) {
		began := t.d.Now()
		err := t.follow(ctx)
		if ctx.Err() != nil {
			if t.t != nil && !t.ready {
				t.closed(t.t.Close())
			}
			return
		}
		if t.d.Now().Sub(began) > time.Minute {
			wait = firstRetry
		}
		var gone *source.OffsetOutOfRange
		if errors.As(err, &gone) || errors.Is(err, errOther) {
			t.restart()
		}
		t.fails(fmt.Errorf("topic %s: %w", t.cfg.Name, err))
		if !pause(ctx, wait) {
			return
		}
	}
}

// errOther: the topic is not the one that was read so far.
var errOther = errors.New("it was deleted and created again")

// restart has everything read again, into a new table; the old one is joined with until that has caught up.
func (t *topic) restart() {
	if t.t != nil && !t.ready {
		t.closed(t.t.Close())
	}
	t.next, t.goal, t.t, t.ready, t.ids = nil, nil, nil, false, ""
}

func (t *topic) closed(err error) {
	if err != nil {
		t.log.Warn("what the lookup's last version had on the disk was not removed", "error", err)
	}
}

// follow reads until something goes wrong, and goes on from where it was when it is called again.
func (t *topic) follow(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	c, err := t.d.NewConsumer(t.Name())
	if err != nil {
		return err
	}
	err = t.read(ctx, c)
	return errors.Join(err, c.Close())
}

// begin finds out what the topic is, what its rows are like, and where its partitions end.
func (t *topic) begin(ctx context.Context) error {
	marks, err := t.identify(ctx)
	if err != nil {
		return err
	}
	if t.next == nil {
		t.next, t.goal = map[source.Partition]int64{}, map[source.Partition]int64{}
		for p, m := range marks {
			t.next[p], t.goal[p] = m.Low, m.High
		}
	}
	if t.decoder == nil {
		if err := t.decoders(ctx); err != nil {
			return err
		}
	}
	if t.t == nil {
		t.t, err = t.Empty(!t.whole)
	}
	return err
}

// identify asks whether the topic is the one that was read so far.
func (t *topic) identify(ctx context.Context) (map[source.Partition]source.Watermarks, error) {
	ids, err := t.d.Topics.TopicIDs(ctx, []string{t.cfg.Name})
	if err != nil {
		return nil, err
	}
	id := ids[t.cfg.Name]
	if t.ids != "" && id != t.ids {
		return nil, fmt.Errorf("%w: its id was %s and is %s now", errOther, t.ids, id)
	}
	t.ids = id
	ps, err := t.d.Topics.Partitions(ctx, configs.Source{Topics: []string{t.cfg.Name}})
	if err != nil {
		return nil, err
	}
	return t.d.Topics.Watermarks(ctx, ps)
}

// decoders makes the decoders and waits until it is known what the columns are.
func (t *topic) decoders(ctx context.Context) error {
	d, err := schemas.NewDecoder(t.cfg.Decode, t.d.Registry, schemas.Options{Clock: t.d.Now, Accept: t.accepts})
	if err != nil {
		return err
	}
	var keys *schemas.Decoder
	if t.cfg.Decode.Key != nil {
		if keys, err = schemas.NewDecoder(configs.Decode{Value: *t.cfg.Decode.Key}, t.d.Registry, schemas.Options{Clock: t.d.Now}); err != nil {
			return err
		}
	}
	for _, x := range []*schemas.Decoder{d, keys} {
		if x == nil {
			continue
		}
		if err := x.Bootstrap(ctx, []string{t.cfg.Name}); err != nil && !x.Known() {
			return err
		}
		if !x.Known() {
			return errors.New("no schema is registered yet")
		}
	}
	t.keys = keys
	if err := t.columns(d); err != nil {
		return err
	}
	t.decoder = d
	return nil
}

// columns follows the row types of the decoders.
func (t *topic) columns(d *schemas.Decoder) error {
	t.fill.k = t.keeper
	row := d.Row()
	if c := t.cfg.Decode.Changes; c != nil {
		u, err := changes.New(*c, row, keyRow(t.Config(), d))
		if err != nil {
			return err
		}
		t.unwrap, row = u, u.Row()
		t.op = row.Index(changes.ColumnOp)
	}
	if err := t.fill.rows(row); err != nil {
		return err
	}
	t.b = batch.New(&batch.Records{}, d.Row())
	if t.keys == nil {
		return nil
	}
	t.kb = batch.New(&batch.Records{}, t.keys.Row())
	for _, f := range t.keys.Row().Fields {
		if f.Type.Nested() {
			return fmt.Errorf("the record's key has a column %s, a %s: leave decode.key out, so that its bytes tell rows apart", f.Name, f.Type.Kind)
		}
	}
	if t.t == nil {
		t.order, t.whole = t.sameKey()
	}
	return nil
}

// sameKey reports whether rows can be found by the decoded key of a record, and how its columns are ordered then.
func (t *topic) sameKey() (order []int, same bool) {
	key := t.Config().Key
	if len(t.Config().Cleanse) > 0 || len(key) != len(t.keys.Row().Fields) || t.Config().Versions != nil {
		return nil, false // a step may change the columns
	}
	for _, name := range key {
		at := t.keys.Row().Index(name)
		if at < 0 {
			return nil, false
		}
		order = append(order, at)
	}
	return order, true
}

// accepts refuses a schema that the lookup's columns cannot be taken from.
func (t *topic) accepts(row *batch.Type) error {
	if c := t.cfg.Decode.Changes; c != nil {
		if t.decoder == nil || !t.decoder.Known() {
			return nil // columns says it, when all are known
		}
		u, err := changes.New(*c, row, keyRow(t.Config(), t.decoder))
		if err != nil {
			return err
		}
		row = u.Row()
	}
	out, err := Cleansed(t.Config(), row)
	if err != nil {
		return err
	}
	return t.Define(out)
}

// read polls for ever.
func (t *topic) read(ctx context.Context, c Consumer) error {
	if err := c.Add(t.next); err != nil {
		return err
	}
	t.caught()
	looked := t.d.Now()
	var recs batch.Records
	for {
		recs.Reset()
		if err := c.Poll(ctx, &recs, 500*time.Millisecond); err != nil {
			return err
		}
		if recs.Len()+len(recs.Spans) > 0 {
			if err := t.take(ctx, &recs); err != nil {
				return err
			}
			t.caught()
		} else if t.ready {
			if err, at := c.LastError(); err != nil && t.d.Now().Sub(at) < look {
				t.fails(fmt.Errorf("topic %s: %w", t.cfg.Name, err))
			} else {
				t.Checked()
			}
		}
		if t.d.Now().Sub(looked) < look {
			continue
		}
		if err := t.more(ctx, c); err != nil {
			return err
		}
		looked = t.d.Now()
	}
}

// more takes up partitions that the topic has gained.
func (t *topic) more(ctx context.Context, c Consumer) error {
	marks, err := t.identify(ctx)
	if err != nil {
		return err
	}
	add := map[source.Partition]int64{}
	for p, m := range marks {
		if _, known := t.next[p]; !known {
			t.next[p], t.goal[p], add[p] = m.Low, m.High, m.Low
		}
	}
	if len(add) == 0 {
		return nil
	}
	return c.Add(add)
}

// caught makes the lookup ready when every partition was read to where it ended at first.
func (t *topic) caught() {
	if t.ready {
		return
	}
	left := int64(0)
	for p, goal := range t.goal {
		left += max(0, goal-t.next[p])
	}
	if left > 0 {
		t.Waits(fmt.Sprintf("topic %s is read: about %d records are left", t.cfg.Name, left))
		return
	}
	t.ready = true
	t.closed(t.Replace(t.t, t.offsets()))
	t.log.Info("the lookup has caught up", "topic", t.cfg.Name, "rows", t.t.Rows(), "bytes", t.t.Bytes(), "version", t.offsets())
}

// offsets is the version: how far each partition was read.
func (t *topic) offsets() string {
	var s strings.Builder
	for i, p := range slices.SortedFunc(maps.Keys(t.next), func(a, b source.Partition) int { return int(a.Partition - b.Partition) }) {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(strconv.Itoa(int(p.Partition)) + ":" + strconv.FormatInt(t.next[p], 10))
	}
	return s.String()
}

// take brings records into the table.
func (t *topic) take(ctx context.Context, recs *batch.Records) error {
	if err := t.prepare(ctx, recs); err != nil {
		return err
	}
	root := t.b.Root
	defer func() { t.b.Root = root }()
	ids, err := t.identities(recs)
	if err != nil {
		return err
	}
	t.b.Reset(recs)
	if err := t.decoder.Decode(recs, t.b); err != nil {
		return err
	}
	if err := t.rows(); err != nil {
		return err
	}
	next := maps.Clone(t.next)
	for _, s := range recs.Spans {
		next[source.Partition{Topic: s.Topic, Partition: s.Partition}] = s.Next
	}
	t.next = next
	t.skipped = 0
	if !t.ready {
		err = errors.Join(t.apply(t.t, recs, ids), t.t.Err())
	} else {
		err = t.Change(t.offsets(), func(table *enrich.Table) error { return t.apply(table, recs, ids) })
	}
	if t.skipped > 0 {
		t.log.Warn("records of a lookup are skipped", "records", t.skipped, "last", t.why)
		t.Skip(t.skipped, t.why)
	}
	return err
}

// what a record does to its row.
const (
	rowPut byte = iota
	rowGone
	allGone
	noChange
	rowBroken
)

// rows brings the decoded batch through the steps, and finds out what each row of it does.
func (t *topic) rows() error {
	t.does = t.does[:0]
	if t.unwrap == nil {
		for range t.b.Rows {
			t.does = append(t.does, rowPut)
		}
	} else if err := t.unwrapped(); err != nil {
		return err
	}
	if err := t.fill.program.Apply(t.b); err != nil {
		return err
	}
	for i, fate := range t.b.Fate {
		switch {
		case t.does[i] != rowPut:
		case fate == batch.Filtered:
			t.does[i] = rowGone
		case fate == batch.Dead:
			t.does[i] = rowBroken
		}
	}
	t.fill.take(t.b)
	return nil
}

// unwrapped takes the rows out of changes.
func (t *topic) unwrapped() error {
	if err := t.unwrap.Apply(t.b); err != nil {
		return err
	}
	ops := t.b.Root.Children[t.op]
	for i, fate := range t.b.Fate {
		does := rowPut
		switch {
		case fate == batch.Dead:
			does = rowBroken
		case fate == batch.Filtered: // it changes no row
			does = noChange
		case t.b.Mem[ops.Views[i].Off] == changes.Delete:
			does = rowGone
		case t.b.Mem[ops.Views[i].Off] == changes.Truncate:
			does = allGone
		}
		t.does = append(t.does, does)
	}
	return nil
}

// apply makes of the records what they say: in their order, as one key may be there several times.
func (t *topic) apply(table *enrich.Table, recs *batch.Records, ids []int32) error {
	row := 0
	for i := range recs.Len() {
		here := -1
		if row < t.b.Rows && int(t.b.Record[row]) == i {
			here = row
			row++
		}
		does := rowBroken
		if here >= 0 {
			does = t.does[here]
		} else if recs.Value[i].IsNull() {
			does = rowGone
		}
		switch {
		case does == noChange:
		case does == allGone:
			table.Clear()
		case does == rowBroken:
			t.skip(recs, i, t.reason(i))
		case ids[i] == noIdentity:
			t.skip(recs, i, "its key is null or cannot be decoded, so it is not known which row it is")
		default:
			if err := t.change(table, recs, i, here, ids[i], does == rowPut); err != nil {
				return err
			}
		}
	}
	return nil
}

// change puts the row of a record into the table, or takes it away.
func (t *topic) change(table *enrich.Table, recs *batch.Records, i, row int, key int32, put bool) error {
	var id [2]uint64
	if !t.whole {
		id = t.identity(table, recs, i, key)
	}
	switch {
	case put:
		err := table.Put(t.b.Mem, t.fill.kept, row, id)
		if errors.Is(err, enrich.ErrNoKey) {
			t.skip(recs, i, err.Error())
			return nil
		}
		return err
	case t.whole:
		table.DeleteKey(t.kb.Mem, t.keyColumns(), int(key))
	default:
		table.Delete(id)
	}
	return nil
}

// reason says why a record has no row.
func (t *topic) reason(record int) string {
	for _, r := range t.b.Rejects {
		if int(r.Record) == record {
			return r.Reason
		}
	}
	return "it cannot be decoded"
}

func (t *topic) skip(recs *batch.Records, i int, why string) {
	t.skipped++
	t.why = fmt.Sprintf("%s-%d, offset %d: %s", t.cfg.Name, recs.Partition[i], recs.Offset[i], why)
}

const noIdentity = -1

// identities finds the row of kb that has the key of each record; where keys are not decoded, it is 0.
func (t *topic) identities(recs *batch.Records) ([]int32, error) {
	ids := make([]int32, recs.Len())
	if t.keys == nil {
		for i, k := range recs.Key {
			if k.IsNull() {
				ids[i] = noIdentity
			}
		}
		return ids, nil
	}
	turned := *recs
	turned.Value, turned.Spans = recs.Key, nil
	t.kb.Reset(&turned)
	if err := t.keys.Decode(&turned, t.kb); err != nil {
		return nil, err
	}
	recs.Mem = turned.Mem // the decoder may have appended to the arena
	for i := range ids {
		ids[i] = noIdentity
	}
	for row, record := range t.kb.Record {
		ids[record] = int32(row)
	}
	return ids, nil
}

func (t *topic) keyColumns() []*batch.Column {
	key := make([]*batch.Column, len(t.order))
	for i, at := range t.order {
		key[i] = t.kb.Root.Children[at]
	}
	return key
}

// identity is that of a record: of the values of its key, or else of the key's bytes.
func (t *topic) identity(table *enrich.Table, recs *batch.Records, i int, row int32) [2]uint64 {
	if t.keys == nil {
		return table.Identity(recs.Bytes(recs.Key[i]))
	}
	var b []byte
	for _, c := range t.kb.Root.Children {
		b = appendValue(b, recs, c, int(row))
	}
	return table.Identity(b)
}

// appendValue writes a value so that different rows are different bytes.
func appendValue(b []byte, recs *batch.Records, c *batch.Column, row int) []byte {
	if c.IsNull(row) {
		return append(b, 0)
	}
	b = append(b, 1)
	switch c.Type.Store() {
	case batch.StoreBool:
		if c.Bools[row] {
			return append(b, 1)
		}
		return append(b, 0)
	case batch.StoreInt32:
		return binary.LittleEndian.AppendUint64(b, uint64(int64(c.Int32[row]))) // as a long is: the schema may widen it
	case batch.StoreInt64:
		return binary.LittleEndian.AppendUint64(b, uint64(c.Int64[row]))
	case batch.StoreFloat32:
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(c.Float32[row])))
	case batch.StoreFloat64:
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(c.Float64[row]))
	}
	v := recs.Bytes(c.Views[row])
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
}

// prepare has the schemas of the records at hand, for as long as it takes.
func (t *topic) prepare(ctx context.Context, recs *batch.Records) error {
	turned := *recs
	turned.Value = recs.Key
	for wait := firstRetry; ; wait = min(2*wait, 5*time.Second) {
		changed, err := t.decoder.Prepare(ctx, recs)
		if err == nil && t.keys != nil {
			var other bool
			other, err = t.keys.Prepare(ctx, &turned)
			changed = changed || other
		}
		if changed {
			if err := t.columns(t.decoder); err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, schemas.ErrRegistry) && !errors.Is(err, schemas.ErrUnknownID) {
			return err
		}
		t.fails(fmt.Errorf("topic %s: %w", t.cfg.Name, err))
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}
