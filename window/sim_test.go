package window

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/localdb"
	"github.com/lakeloader/lakeloader/table"
)

var (
	seeds = flag.Int("seeds", 200, "how many worlds are played")
	seed  = flag.Uint64("seed", 0, "the one that is played with a log; 0: all")
)

// world is a Kafka without a lake, a calendar, and some owners. All that happens is drawn from one seed.
type world struct {
	t      *testing.T
	rnd    *rand.Rand
	inputs [][]purchase
	slots  []*simSlot
	owners []*simOwner
	day    Day
	log    bool
	seed   uint64
}

type purchase struct {
	key   string
	day   Day
	cents int64
}

// simSlot is a partition of the output topic.
type simSlot struct {
	epoch int
	last  map[string]string
	msgs  []Message
	held  int // owner
}

// simOwner is a machine, with its disk, and the owner that runs on it.
type simOwner struct {
	w     *world
	n     int
	fs    *vfs.MemFS
	state *State
	o     *Owner
	meter Meter
	full  atomic.Int64 // how many more changes the disk takes; negative: as many as there are
}

// String is part of errorfs.Injector, and so is MaybeError.
func (m *simOwner) String() string { return "a disk that runs full" }

func (m *simOwner) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || m.full.Load() < 0 || m.full.Add(-1) > 0 {
		return nil
	}
	m.full.Store(0)
	return syscall.ENOSPC
}

const (
	simSlots = 3
	simKeys  = 12
)

var simLength = Length{Days: 5}

func newWorld(t *testing.T, seed uint64, log bool) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), inputs: make([][]purchase, 2), day: 20000, log: log, seed: seed}
	for range simSlots {
		w.slots = append(w.slots, &simSlot{last: map[string]string{}, held: -1})
	}
	for i := range 2 {
		m := &simOwner{w: w, n: i, fs: vfs.NewCrashableMem()}
		w.owners = append(w.owners, m)
		m.start()
	}
	return w
}

func (w *world) logf(format string, args ...any) {
	if w.log {
		w.t.Logf(format, args...)
	}
}

func (m *simOwner) start() {
	m.full.Store(-1)
	state, err := openState(localdb.Options{Dir: "state", FS: errorfs.Wrap(m.fs, m), Free: func(string) (int64, error) { return 1 << 40, nil }}, 4<<20)
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.state = state
	m.o = New(Options{Name: "w", Key: "key", Time: "day", Sum: "cents * 0.01", Decimals: 2, Length: simLength, Zone: time.UTC, Start: "earliest"},
		Deps{State: state, Memory: 6000, Meter: &m.meter, Lake: Lake{Catalog: noCatalog{}}, Kafka: m, Rows: &simRows{}, Log: slog.New(slog.DiscardHandler),
			Now: func() time.Time { return m.w.day.time().Add(time.Hour) }})
	m.o.slots, m.o.workers = make([]*slot, simSlots), 1 // what is drawn must not depend on goroutines
	m.o.checked = time.Now()
}

// end is a crash: of what the disk was not told to keep some is lost. Or the process begins again, by itself, or on a new machine.
func (m *simOwner) end(how int) {
	switch how {
	case 0:
		crashed := m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: m.w.rnd.IntN(101), RNG: m.w.rnd})
		m.close()
		m.fs = crashed
	case 1:
		m.close()
		m.fs = vfs.NewCrashableMem()
	default:
		m.close()
	}
	for _, s := range m.w.slots {
		if s.held == m.n {
			s.held = -1
		}
	}
	m.start()
}

func (m *simOwner) close() {
	if err := errors.Join(m.o.release(), m.state.Close()); err != nil {
		m.w.t.Fatal(err)
	}
}

// noCatalog has no table.
type noCatalog struct{ table.Catalog }

func (noCatalog) Open(context.Context, table.Ident) (table.Store, error) {
	return nil, table.ErrNoTable
}

func (m *simOwner) Inputs(context.Context) (map[Part]Ends, error) {
	out := map[Part]Ends{}
	for i, in := range m.w.inputs {
		out[Part{"in", int32(i)}] = Ends{0, int64(len(in)), "id"}
	}
	return out, nil
}

func (m *simOwner) Slots(context.Context) (int32, error)     { return simSlots, nil }
func (m *simOwner) Join(context.Context, Holder) error       { return nil }
func (m *simOwner) Read(start map[Part]int64) (Input, error) { return &simInput{m.w, start}, nil }
func (m *simOwner) Write(_ context.Context, n int32) (Output, error) {
	s := m.w.slots[n]
	s.epoch++
	return &simOutput{m, s, s.epoch}, nil
}

func (m *simOwner) Published(_ context.Context, n int32, each func(key, value []byte) error) error {
	for _, x := range m.w.slots[n].msgs {
		if err := each(x.Key, x.Value); err != nil {
			return err
		}
	}
	return nil
}

type simInput struct {
	w  *world
	at map[Part]int64
}

func (in *simInput) Close() error { return nil }

// Poll delivers some of the records, of one partition.
func (in *simInput) Poll(_ context.Context, r *batch.Records, _ time.Duration) error {
	i := in.w.rnd.IntN(len(in.w.inputs))
	p := Part{"in", int32(i)}
	all := in.w.inputs[i]
	end := min(int64(len(all)), in.at[p]+int64(in.w.rnd.IntN(6)))
	if end == in.at[p] {
		return nil
	}
	r.Topics = []string{"in"}
	r.Spans = append(r.Spans, batch.Span{Topic: "in", Partition: p.Partition, First: in.at[p], Next: end})
	for o := in.at[p]; o < end; o++ {
		r.Topic, r.Partition, r.Offset = append(r.Topic, 0), append(r.Partition, p.Partition), append(r.Offset, o)
		r.Timestamp, r.Key, r.Headers = append(r.Timestamp, 0), append(r.Key, batch.Null), append(r.Headers, batch.View{})
		x := all[o]
		r.Value = append(r.Value, r.AppendString(fmt.Sprintf("%s|%d|%d", x.key, x.day, x.cents)))
	}
	in.at[p] = end
	return nil
}

var simRow = batch.StructOf(batch.Field{Name: "key", Type: batch.Prim(batch.String), Required: true},
	batch.Field{Name: "day", Type: batch.Prim(batch.Date), Required: true}, batch.Field{Name: "cents", Type: batch.Prim(batch.Long), Required: true})

type simRows struct{}

func (simRows) Prepare(context.Context, *batch.Records) error { return nil }
func (simRows) Row() *batch.Type                              { return simRow }

func (simRows) Apply(r *batch.Records) (*batch.Batch, error) {
	b := batch.New(r, simRow)
	for i := range r.Len() {
		parts := strings.Split(string(r.Bytes(r.Value[i])), "|")
		day, err := strconv.Atoi(parts[1])
		if err != nil {
			return nil, err
		}
		cents, err := strconv.Atoi(parts[2])
		if err != nil {
			return nil, err
		}
		b.Root.Children[0].AppendView(r.AppendString(parts[0]))
		b.Root.Children[1].AppendInt32(int32(day))
		b.Root.Children[2].AppendInt64(int64(cents))
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	return b, nil
}

type simOutput struct {
	m     *simOwner
	s     *simSlot
	epoch int
}

func (o *simOutput) Close() {}

var errSim = errors.New("the reply was lost")

func (o *simOutput) Publish(_ context.Context, ms []Message) error {
	if o.epoch != o.s.epoch {
		return errors.New("fenced")
	}
	draw := o.m.w.rnd.IntN(60)
	if draw == 0 {
		return errSim // nothing arrived
	}
	for _, m := range ms {
		o.s.msgs = append(o.s.msgs, Message{append([]byte{}, m.Key...), append([]byte{}, m.Value...)})
		o.s.last[string(m.Key)] = string(m.Value)
		o.m.w.logf("  owner %d publishes %s = %s", o.m.n, m.Key, m.Value)
	}
	if draw == 1 {
		return errSim // all arrived
	}
	return nil
}

func (w *world) step() {
	switch n := w.rnd.IntN(100); {
	case n < 35:
		p := purchase{fmt.Sprint("k", w.rnd.IntN(simKeys)), w.day + Day(w.rnd.IntN(11)-7), int64(w.rnd.IntN(5) - 1)}
		i := w.rnd.IntN(len(w.inputs))
		w.inputs[i] = append(w.inputs[i], p)
		w.logf("%d: %s buys for %d, day %d", i, p.key, p.cents, p.day)
	case n < 88:
		w.turn(w.owners[w.rnd.IntN(len(w.owners))])
	case n < 92:
		w.assign(w.rnd.IntN(simSlots), w.rnd.IntN(len(w.owners)), w.rnd.IntN(2) == 0)
	case n < 94:
		m := w.owners[w.rnd.IntN(len(w.owners))]
		m.full.Store(int64(1 + w.rnd.IntN(8)))
		w.logf("the disk of owner %d runs full", m.n)
	case n < 97:
		w.day += Day(1 + w.rnd.IntN(2)*w.rnd.IntN(4))
		w.logf("it is day %d", w.day)
	default:
		m, how := w.owners[w.rnd.IntN(len(w.owners))], w.rnd.IntN(6)
		w.logf("owner %d ends, %d", m.n, how)
		m.end(how)
	}
}

// assign deals a slot out; the one that had it may not be told.
func (w *world) assign(n, to int, tell bool) {
	s := w.slots[n]
	w.logf("slot %d goes from %d to %d, told %v", n, s.held, to, tell)
	if s.held >= 0 && s.held != to && tell {
		o := w.owners[s.held].o
		o.mu.Lock()
		delete(o.want, int32(n))
		o.mu.Unlock()
	}
	s.held = to
	w.owners[to].o.Assigned([]int32{int32(n)})
}

// turn has an owner do something; after an error it begins again.
func (w *world) turn(m *simOwner) {
	select {
	case m.o.wanted <- struct{}{}: // so that it never waits
	default:
	}
	if err := m.o.turn(w.t.Context()); err != nil {
		w.logf("owner %d: %v", m.n, err)
		m.end(2)
	}
}

// judge lets one owner come to rest, and compares what is published with what was bought.
func (w *world) judge() {
	m := w.owners[0]
	m.full.Store(-1)
	if m.state.sound() != nil {
		m.end(2)
	}
	rested := func() bool {
		for n, s := range m.o.slots {
			if s == nil || !s.live || s.m.Day < w.day || w.slots[n].epoch != s.out.(*simOutput).epoch {
				return false
			}
			for p, i := range m.o.parts {
				if s.next[i] < int64(len(w.inputs[p.Partition])) {
					return false
				}
			}
		}
		return true
	}
	for tries := 0; !rested(); tries++ {
		for n, s := range w.slots {
			had := m.o.slots[n]
			if s.held != 0 || had != nil && had.out.(*simOutput).epoch != s.epoch { // taken by one that was not told that it is no longer its
				w.assign(n, 0, true)
			}
		}
		if w.turn(m); tries > 5000 {
			w.t.Fatalf("seed %d: the owner does not come to rest", w.seed)
		}
	}
	m.told()
	want := map[string]int64{}
	for _, in := range w.inputs {
		for _, p := range in {
			if p.day > simLength.Floor(w.day) && p.day <= w.day {
				want[p.key] += p.cents
			}
		}
	}
	for n, s := range w.slots {
		for k, total := range s.last {
			if text := string(small(want[k]).appendText(nil, 2)); total != text {
				w.t.Errorf("%s has %s in the topic, and spent %s", k, total, text)
			}
			if Slot([]byte(k), simSlots) != int32(n) {
				w.t.Errorf("%s is in slot %d", k, n)
			}
		}
	}
	for k, total := range want {
		if _, ok := w.slots[Slot([]byte(k), simSlots)].last[k]; !ok {
			w.t.Errorf("%s spent %d, and is not in the topic", k, total)
		}
	}
}

// told says whether the meter is right.
func (m *simOwner) told() {
	m.o.tell(true)
	p, keys := m.meter.Read(), int64(0)
	for n := range int32(simSlots) {
		if err := m.state.each(n, kindKey, nil, func(_, _ []byte) (bool, error) { keys++; return true, nil }); err != nil {
			m.w.t.Fatal(err)
		}
	}
	if p.Keys != keys || p.Live != simSlots || len(p.Owned) != simSlots || p.Day != m.w.day || p.Rebuild != nil {
		m.w.t.Errorf("%+v is told; there are %d keys, and it is %v", p, keys, m.w.day)
	}
	for i, x := range p.Parts {
		if end := int64(len(m.w.inputs[i])); x.Next != end || x.Published != end {
			m.w.t.Errorf("%+v is told, and the end is %d", x, end)
		}
	}
}

// TestWorlds: whatever becomes of owners, their disks and their transactions, however slots move and days pass: in the end the last
// value of every key is its total.
func TestWorlds(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if *seed > 0 {
		first, last = *seed, *seed
	}
	for s := first; s <= last; s++ {
		w := newWorld(t, s, *seed > 0)
		for range 3 {
			for range 120 {
				w.step()
			}
			w.judge()
		}
		for _, m := range w.owners {
			m.close()
		}
		if t.Failed() {
			t.Fatalf("seed %d fails; play it with -seed %d", s, s)
		}
	}
}
