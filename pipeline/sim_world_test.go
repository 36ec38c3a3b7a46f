package pipeline

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/table"
)

// The simulation drives the real Loader, Committer and jobs in a world in memory: catalog, object store, Kafka and its
// consumer group. It is deterministic. Every program is a coroutine that gives control back wherever real code would wait
// for the world (await); the scheduler then lets any other go on, so a program may be stopped, or killed, between any two
// steps, for as long as it takes to be thought dead.
//
// This file is the scheduler and a seed's course. sim_kafka_test.go and sim_tables_test.go are the world, sim_loader_test.go
// loaders and what stands in for their stages, sim_faults_test.go other programs, people and accidents, and
// sim_truth_test.go what must hold after every swap and in the end.

type simWorld struct {
	r    *rand.Rand
	now  time.Time
	seq  int64
	calm bool // the end: no more faults, everything is to be finished

	actors  []*simActor
	cur     *simActor
	later   []simEvent
	faults  []simFault
	loaders []*simLoader

	age   time.Duration // at which orphans may go
	cfg   *configs.Pipeline
	dedup bool // decisions rest on rows that are in the table
	rec   *obs.Recorder
	log   *slog.Logger
	kafka *simKafka
	simLake
	truth simTruth

	broken error // the first thing that must not happen
	did    map[string]int
	trace  *strings.Builder // nil: none
}

// simEvent happens at a time: something that is on its way.
type simEvent struct {
	at time.Time
	f  func()
}

// simActor is a program.
type simActor struct {
	name   string
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	wake   time.Time // it sleeps until then
	dead   bool
	loader *simLoader // nil: another program
}

// errKilled unwinds the coroutine of a program that was killed.
var errKilled = fmt.Errorf("killed")

func newSimWorld(seed int64, trace *strings.Builder) *simWorld {
	w := &simWorld{r: rand.New(rand.NewPCG(uint64(seed), 7)), now: time.Unix(1e9, 0), did: map[string]int{}, trace: trace}
	log := slog.DiscardHandler
	if trace != nil {
		log = slog.NewTextHandler(trace, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Int64("at", w.now.Unix()-1e9)
			}
			return a
		}})
	}
	w.log = slog.New(simLog{log, w})
	w.rec = obs.NewState("sim", func() time.Time { return w.now }).Pipeline("p", "t", time.Second)
	w.age = time.Duration(150+w.r.IntN(200)) * time.Second
	w.cfg = &configs.Pipeline{Name: "p", Source: configs.Source{OnReset: simPick(w.r, "fail", "earliest", "latest"), Start: simPick(w.r, "", "earliest", "latest")},
		Commit: configs.Commit{Interval: configs.Duration(time.Duration(2+w.r.IntN(20)) * time.Second), IdleInterval: configs.Duration(30 * time.Second)}}
	w.dedup = w.r.IntN(3) == 0
	w.simLake = newSimLake(w)
	w.kafka = newSimKafka(w)
	w.truth = newSimTruth()
	w.choosePrograms()
	w.logf("orphan age %v, on_reset %s, start %q, rest %v", w.age, w.cfg.Source.OnReset, w.cfg.Source.Start, w.rest)
	return w
}

// simLog looks into what loaders say.
type simLog struct {
	slog.Handler
	w *simWorld
}

// Enabled implements slog.Handler.
func (h simLog) Enabled(ctx context.Context, l slog.Level) bool {
	return l == slog.LevelWarn || h.Handler.Enabled(ctx, l)
}

// Handle implements slog.Handler. A round that the table shows to have landed must not be called fenced, unless it landed
// after that was decided, which happens to rounds that grew old.
func (h simLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "the round is dropped") {
		var id, why string
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "id":
				id = a.Value.String()
			case "reason":
				why = a.Value.String()
			}
			return true
		})
		led, err := table.ParseLedger("p", h.w.tables[simPrimary].props)
		if err == nil && led != nil && !strings.Contains(why, "orphan age") && (led.CommitID == id || slices.ContainsFunc(led.Pending, func(p table.Pending) bool { return p.ID == id })) {
			h.w.bad("round %s has landed, but its loader says: %s", id, why)
		}
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func simPick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// chance is true once in n times, and never in the end.
func (w *simWorld) chance(n int) bool { return !w.calm && w.r.IntN(n) == 0 }

// some is a random duration below d.
func (w *simWorld) some(d time.Duration) time.Duration {
	return time.Duration(w.r.Int64N(int64(d) + 1))
}

func (w *simWorld) id() int64 { w.seq++; return w.seq }

func (w *simWorld) bad(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
		w.logf("BROKEN: %v", w.broken)
	}
}

func (w *simWorld) logf(format string, args ...any) {
	if w.trace == nil {
		return
	}
	name := "-"
	if w.cur != nil {
		name = w.cur.name
	}
	fmt.Fprintf(w.trace, "%5d %-9s %s\n", w.now.Unix()-1e9, name, fmt.Sprintf(format, args...))
}

// spawn starts a program.
func (w *simWorld) spawn(name string, f func()) *simActor {
	a := &simActor{name: name}
	a.next, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.yield = yield
		defer func() {
			if p := recover(); p != nil && p != errKilled {
				panic(p)
			}
		}()
		f()
	})
	w.actors = append(w.actors, a)
	return a
}

// await lets others act: the program that calls it waits for an answer, or computes for a while.
func (w *simWorld) await() {
	if !w.cur.yield(struct{}{}) {
		panic(errKilled)
	}
}

// sleep ends a program's turn for a while.
func (w *simWorld) sleep(d time.Duration) {
	w.cur.wake = w.now.Add(d)
	w.await()
}

// kill ends a program where it is.
func (w *simWorld) kill(a *simActor) {
	if a.dead {
		return
	}
	a.dead = true
	was := w.cur
	w.cur = a
	a.stop()
	w.cur = was
}

// after has something happen later.
func (w *simWorld) after(d time.Duration, f func()) {
	w.later = append(w.later, simEvent{w.now.Add(d), f})
}

// step lets some time pass, in which one program goes on up to where it waits next.
func (w *simWorld) step() {
	w.now = w.now.Add(300 * time.Millisecond)
	w.arrive()
	if !w.calm && w.r.IntN(20) == 0 {
		w.fault()
	}
	var next *simActor
	n := 0
	for _, a := range w.actors {
		if !a.dead && !a.wake.After(w.now) {
			if n++; w.r.IntN(n) == 0 {
				next = a
			}
		}
	}
	if next == nil {
		return
	}
	w.cur = next
	if _, ok := next.next(); !ok {
		next.dead = true
	}
	w.cur = nil
}

// arrive has happen what is due.
func (w *simWorld) arrive() {
	for i := 0; i < len(w.later); i++ {
		if e := w.later[i]; w.calm || !e.at.After(w.now) {
			w.later = append(w.later[:i:i], w.later[i+1:]...)
			i--
			e.f()
		}
	}
}

// simSteps is how long faults go on, and simCalm how long it may take to finish everything then.
const simSteps, simCalm = 1500, 5000

func runSim(seed int64, trace *strings.Builder) (*simWorld, error) {
	w := newSimWorld(seed, trace)
	defer func() {
		for _, a := range w.actors {
			w.kill(a)
		}
	}()
	for range simSteps {
		if w.step(); w.broken != nil {
			return w, w.broken
		}
	}
	w.calmDown()
	for i := range simCalm {
		if i == 0 || i == simCalm/2 { // a topic that was created again is noticed when something arrives
			w.produce()
		}
		if w.step(); w.broken != nil {
			return w, w.broken
		}
		if w.r.IntN(20) == 0 && w.finished() == nil {
			return w, w.check(true)
		}
	}
	return w, fmt.Errorf("it was not finished in the end: %w", w.finished())
}

// calmDown ends all faults: some loaders stay, zombies among them, and people mend what they broke.
func (w *simWorld) calmDown() {
	w.logf("CALM")
	w.calm = true
	w.rollForward()
	w.kafka.absent(false)
	stay := w.r.IntN(len(w.loaders))
	for i, l := range w.loaders {
		switch {
		case i == stay || w.r.IntN(2) == 0:
			l.a.wake = time.Time{}
		default:
			w.kill(l.a)
			w.kafka.evict(l.c)
		}
	}
	if l := w.loaders[stay]; l.a.dead {
		l.start()
	}
	for _, a := range w.actors {
		if a.loader == nil && w.r.IntN(2) == 0 { // jobs go on, or do not
			w.kill(a)
		}
	}
}

// finished is nil when loaders have reached the ends of all partitions, and nothing is pending.
func (w *simWorld) finished() error {
	led, err := table.ParseLedger("p", w.tables[simPrimary].props)
	switch {
	case err != nil:
		return err
	case len(w.later) > 0:
		return fmt.Errorf("%d events are to come", len(w.later))
	case led == nil:
		led = &table.Ledger{}
	case len(led.Pending) > 0:
		return fmt.Errorf("rounds are pending: %v", led.Pending)
	}
	return w.kafka.reached(led)
}

// wait is the pause between two attempts of a commit.
func (w *simWorld) wait(_ context.Context, n int) error {
	w.await()
	if n > 4 && w.chance(4) {
		return context.DeadlineExceeded
	}
	return nil
}
