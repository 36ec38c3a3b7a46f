//go:build stack

package chaos

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// sessionTimeout is when Kafka gives a silent member up.
const sessionTimeout = 2500 * time.Millisecond

// round is one round of the suite: a topic, its writers, a lake, and one to four loaders, which one fault after another
// strikes; then everything is mended, and the lake is judged.
type round struct {
	t       *testing.T
	seed    uint64
	rnd     *rand.Rand
	lake    lake
	topic   string
	loaders []*loader
	guest   *loader // joins and leaves
	broker  *broker // nil: the shared one, which must not be harmed
	writers *writers
	log     *slog.Logger
	dir     string // of what is kept when it fails
	events  []event
}

// partitions of the topic.
const partitions = 6

// options say how large a round is.
type options struct {
	lakes   []string // one of them is drawn
	loaders int      // at most
	strikes int
	kinds   []string // parts of the names of the faults that may strike; none: all
	broker  *broker
	keep    string // the folder for logs
}

// broker is the suite's own, for several rounds at once.
type broker struct {
	*stacktest.Server
	mu sync.Mutex // held while it is down
}

// event is a fault that struck.
type event struct {
	fault         string
	before, after string        // the steps of the protocol between which it struck
	recovery      time.Duration // from the lifting to the loader's next commit
}

// verdict is what an independent reader found.
type verdict struct {
	lost, duplicated, other int
	records                 int
}

// play runs a round and returns what struck and what came of it.
func play(t *testing.T, seed uint64, o options) ([]event, verdict) {
	t.Helper()
	r := begin(t, seed, o)
	r.working(time.Time{})
	for _, f := range r.draw(o) {
		r.strike(f)
	}
	truth, v := r.judge()
	r.log.Info("judged", "records", v.records, "lost", v.lost, "duplicated", v.duplicated, "other", v.other)
	if r.lake.at != "" && v.lost+v.duplicated+v.other == 0 {
		d := pick(r.rnd, damages...)
		r.damaged(t, d, truth)
		r.log.Info("damaged and verified", "damage", d.kind)
	}
	return r.events, v
}

// begin starts writers and loaders.
func begin(t *testing.T, seed uint64, o options) *round {
	t.Helper()
	r := &round{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), broker: o.broker, dir: filepath.Join(o.keep, fmt.Sprintf("seed-%d", seed)), topic: stacktest.Name("clicks")}
	r.lake = newLake(t, pick(r.rnd, o.lakes...))
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(r.dir, "faults.log"))
	if err != nil {
		t.Fatal(err)
	}
	r.log = slog.New(slog.NewTextHandler(out, nil))
	t.Cleanup(func() { r.keep(out) })
	broker := stacktest.Kafka(t)
	if r.broker != nil {
		broker = r.broker.Addr()
	}
	if r.broker != nil { // another round may have killed it
		r.broker.mu.Lock()
		defer r.broker.mu.Unlock()
	}
	stacktest.CreateTopic(t, broker, r.topic, partitions, nil)
	clicks := stacktest.NewClicks(t, r.topic, partitions)
	clicks.Spoilt = true
	r.writers = write(t, broker, clicks, 100*time.Millisecond, 12)
	for i := range 1 + r.rnd.IntN(o.loaders) {
		l := newLoader(t, i, broker, r.lake, r.topic)
		l.start()
		r.loaders = append(r.loaders, l)
	}
	r.guest = newLoader(t, len(r.loaders), broker, r.lake, r.topic)
	r.log.Info("round", "seed", seed, "lake", r.lake.kind, "loaders", len(r.loaders), "topic", r.topic)
	return r
}

// draw chooses faults that fit the round, each kind once before any comes twice.
func (r *round) draw(o options) (fs []fault) {
	r.t.Helper()
	all := slices.DeleteFunc(faults(), func(f fault) bool {
		named := slices.ContainsFunc(o.kinds, func(part string) bool { return strings.Contains(f.name, part) })
		return len(o.kinds) > 0 && !named || f.fits != nil && !f.fits(r)
	})
	if len(all) == 0 {
		r.t.Fatalf("no kind of fault is called one of %q, for a lake in %s", o.kinds, r.lake.kind)
	}
	for len(fs) < o.strikes {
		r.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		fs = append(fs, all...)
	}
	return fs[:o.strikes]
}

// strike lets a fault strike one of the loaders, and waits until that has committed again.
func (r *round) strike(f fault) {
	r.t.Helper()
	l := r.loaders[r.rnd.IntN(len(r.loaders))]
	s, ok := f.strike(r, l)
	if !ok {
		r.log.Info("did not strike", "fault", f.name, "loader", l.number, "last_step", l.process.last())
		r.working(time.Now())
		return
	}
	if s.loader != nil {
		l = s.loader
	}
	recovered := r.recovered(l, s)
	before, after, counts := s.process.around(s.struck)
	r.log.Info("struck", "fault", f.name, "loader", l.number, "process", s.process.number, "at", s.struck.UTC(), "after_step", before, "before_step", after,
		"lifted", s.lifted.UTC(), "recovered", recovered.Sub(s.lifted), "counts", counts)
	if counts {
		r.events = append(r.events, event{f.name, before, after, recovered.Sub(s.lifted)})
	}
}

// recovered waits for the first commit of the loader after the fault was lifted, and returns when that was.
func (r *round) recovered(l *loader, s strike) time.Time {
	r.t.Helper()
	ctx, cancel := within(patience)
	defer cancel()
	for ctx.Err() == nil {
		for _, x := range r.loaders {
			x.upright()
		}
		if c, ok := l.process.commit(ctx, s.lifted); ok {
			return c.at
		}
	}
	r.t.Fatalf("loader %d has not committed for %v after a fault was lifted; its last step is %q", l.number, patience, l.process.last())
	return time.Time{}
}

// working waits until every loader has committed after a moment.
func (r *round) working(after time.Time) {
	r.t.Helper()
	for _, l := range r.loaders {
		r.recovered(l, strike{lifted: after})
	}
}

// judge ends the writers, waits until everything is loaded, and has readers that are not ours compare the lake with what
// was produced; lakeloader's own proof must agree with them.
func (r *round) judge() (truth *stacktest.Truth, v verdict) {
	t := r.t
	t.Helper()
	r.log.Info("the writers end")
	truth = r.writers.end(t)
	r.log.Info("the loaders shall drain", "records", truth.Size())
	r.loaded(truth.Reached())
	r.log.Info("the loaders shall stop")
	for _, l := range r.loaders {
		if code := l.process.Stop(); code != 0 {
			t.Errorf("loader %d ends with %d when it is told to stop", l.number, code)
		}
	}
	r.log.Info("PyIceberg reads")
	read := stacktest.Read{Rows: true}
	rows := truth.CompareRows(t, stacktest.PyIceberg(t, r.lake.named("clicks"), read))
	dead := truth.CompareDead(t, "clicks", stacktest.PyIceberg(t, r.lake.named("clicks_dead_letters"), read))
	v.records = truth.Size()
	v.lost, v.duplicated = len(rows.Missing)+len(dead.Missing), len(rows.Repeated)+len(dead.Repeated)
	v.other = len(rows.Unwanted) + len(dead.Unwanted) + len(rows.Different) + len(dead.Different)
	if v.lost+v.duplicated+v.other > 0 {
		t.Errorf("seed %d: the table: %v\nthe dead letters: %v\nlogs are in %s", r.seed, rows, dead, r.dir)
	}
	r.log.Info("lakeloader verifies")
	r.verified(truth, v)
	return truth, v
}

// loaded waits until the loaders together own every partition and have committed all of it.
func (r *round) loaded(ends map[stacktest.Place]int64) {
	r.t.Helper()
	ctx, cancel := within(patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	at := map[stacktest.Place]int64{}
	for {
		for _, l := range r.loaders {
			l.upright()
			own, err := l.process.committed(ctx)
			if err != nil {
				continue // while it starts
			}
			for p, next := range own {
				at[p] = max(at[p], next)
			}
		}
		left := maps.Clone(ends)
		maps.DeleteFunc(left, func(p stacktest.Place, end int64) bool { return at[p] >= end })
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("after %v without faults, %v is not loaded, but %v; logs are in %s", patience, left, at, r.dir)
		}
	}
}

// verified runs lakeloader verify, whose verdict and counts must be those of the independent reader.
func (r *round) verified(truth *stacktest.Truth, v verdict) {
	t := r.t
	t.Helper()
	good := v.lost+v.duplicated+v.other == 0
	stdout, stderr, code := stacktest.ChaosLakeloader(t, "verify", "-c", r.direct(t), "-o", "json")
	if (code == 0) != good {
		t.Errorf("seed %d: PyIceberg finds the lake right: %v, but verify ends with %d:\n%s%s", r.seed, good, code, stdout, stderr)
	}
	var reports []struct {
		Partitions []struct {
			Rows, Filtered int
			Dead           int `json:"dead_letters"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &reports); err != nil || len(reports) != 1 {
		t.Fatalf("verify -o json ends with %d: %v\n%s%s", code, err, stdout, stderr)
	}
	rows, filtered, dead := 0, 0, 0
	for _, p := range reports[0].Partitions {
		rows, filtered, dead = rows+p.Rows, filtered+p.Filtered, dead+p.Dead
	}
	if good && (rows != len(truth.Rows) || filtered != truth.Filtered || dead != len(truth.Dead)) {
		t.Errorf("seed %d: verify counts %d rows, %d filtered, %d dead letters; Kafka has %d, %d, %d", r.seed, rows, filtered, dead, len(truth.Rows), truth.Filtered, len(truth.Dead))
	}
}

// direct writes a configuration without proxies.
func (r *round) direct(t *testing.T) string {
	t.Helper()
	return configure(t, t.TempDir(), r.writers.broker, stacktest.Registry(t), r.lake.direct, r.topic)
}

// keep writes the loaders' logs when the round has failed, and removes what is not needed otherwise.
func (r *round) keep(log *os.File) {
	if err := log.Close(); err != nil {
		r.t.Error(err)
	}
	if !r.t.Failed() {
		return
	}
	all := r.loaders
	if r.guest != nil {
		all = append(all, r.guest)
	}
	for _, l := range all {
		if err := l.keep(r.dir); err != nil {
			r.t.Error(err)
		}
	}
	r.t.Logf("seed %d: the logs of faults and loaders are in %s", r.seed, r.dir)
}
