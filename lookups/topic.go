package lookups

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
		switch {
		case errors.Is(err, errBroken) || t.t != nil && t.t.Broken() != nil:
			t.broken(err)
		case errors.As(err, &gone) || errors.Is(err, errOther):
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

// errBroken: the table is of no use any more.
var errBroken = errors.New("its rows are read anew")

// broken has everything read again. Nothing is joined until then.
func (t *topic) broken(err error) {
	if t.ready {
		t.log.Error("the rows of the lookup are of no use any more: nothing is joined until the topic has been read anew", "error", err)
		t.closed(t.Break(fmt.Errorf("topic %s: %w", t.cfg.Name, err)))
		t.t = nil
	}
	t.restart()
}

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
		if keys, err = schemas.NewDecoder(schemas.KeyDecode(t.cfg.Decode), t.d.Registry, schemas.Options{Clock: t.d.Now}); err != nil {
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
	if err := t.caught(); err != nil {
		return err
	}
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
			if err := t.caught(); err != nil {
				return err
			}
		} else if t.ready {
			if err := t.t.Broken(); err != nil {
				return err
			}
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
func (t *topic) caught() error {
	if t.ready {
		return nil
	}
	left := int64(0)
	for p, goal := range t.goal {
		left += max(0, goal-t.next[p])
	}
	if left > 0 {
		t.Waits(fmt.Sprintf("topic %s is read: about %d records are left", t.cfg.Name, left))
		return nil
	}
	if err := t.t.Expire(); err != nil {
		return err
	}
	t.ready = true
	t.closed(t.Replace(t.t, t.offsets()))
	t.log.Info("the lookup has caught up", "topic", t.cfg.Name, "rows", t.t.Rows(), "bytes", t.t.Bytes(), "version", t.offsets())
	return nil
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
