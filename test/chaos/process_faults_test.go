//go:build stack

package chaos

import (
	"time"

	"github.com/lakeloader/lakeloader/internal/point"
)

// processFaults kill and freeze loaders, and have others come and go.
func processFaults() (fs []fault) {
	for _, at := range everyRound {
		fs = append(fs, fault{name: "kill -9 at " + at, strike: func(_ *round, l *loader) (strike, bool) { return l.killAt(at) }})
	}
	return append(fs,
		fault{name: "kill -9 at " + point.Settle, strike: killInSettle},
		fault{name: "kill -9 at " + point.Reload, strike: killInReload},
		fault{name: "kill -9 at " + point.HandOver, strike: killInHandOver},
		fault{name: "SIGSTOP beyond the session, SIGCONT", strike: freeze},
		fault{name: "members join and leave", strike: storm},
	)
}

// killAt kills the process at a step, and starts another.
func (l *loader) killAt(at string) (strike, bool) {
	l.t.Helper()
	p := l.process
	s, ok := p.arm(at, "kill")
	if !ok {
		return strike{}, false
	}
	<-p.Done()
	l.start()
	return strike{l, p, s.at, time.Now()}, true
}

// killInSettle kills a process in the middle of a round, and the next one when it is about to finish what the first began.
func killInSettle(r *round, l *loader) (strike, bool) {
	first := l.process
	if _, ok := first.arm(pick(r.rnd, everyRound...), "kill"); !ok {
		return strike{}, false
	}
	<-first.Done()
	l.start("arm " + point.Settle + " kill")
	p := l.process
	ctx, cancel := within(patience)
	defer cancel()
	s, ok := p.wait(ctx, func(s step) bool { return s.what == "kill" })
	if !ok {
		r.t.Errorf("loader %d was started and did not come to %s", l.number, point.Settle)
		return strike{}, false
	}
	<-p.Done()
	l.start()
	return strike{l, p, s.at, time.Now()}, true
}

// killInReload freezes a process for so long that it loses its partitions, and kills it when it reads the table again.
func killInReload(r *round, l *loader) (strike, bool) {
	p := l.process
	p.order("arm %s kill", point.Reload)
	if _, ok := p.arm(pick(r.rnd, point.FirstRecord, point.BeforeFiles, point.BeforeSwap), "stop"); !ok {
		return strike{}, false
	}
	lasting(sessionTimeout + 1500*time.Millisecond)
	p.Resume()
	ctx, cancel := within(soon)
	defer cancel()
	s, ok := p.wait(ctx, func(s step) bool { return s.what == "kill" })
	if !ok {
		p.order("disarm")
		return strike{}, false
	}
	<-p.Done()
	l.start()
	return strike{l, p, s.at, time.Now()}, true
}

// killInHandOver has another member join, and kills the first process that partitions are taken from.
func killInHandOver(r *round, _ *loader) (strike, bool) {
	ctx, cancel := within(soon)
	defer cancel()
	killed := make(chan *loader, len(r.loaders))
	began := time.Now()
	for _, l := range r.loaders {
		p := l.process
		p.order("arm %s kill", point.HandOver)
		go func() {
			if _, ok := p.wait(ctx, func(s step) bool { return s.what == "kill" && s.at.After(began) }); ok {
				killed <- l
			}
		}()
	}
	r.guest.start()
	defer r.guest.process.Stop()
	var l *loader
	select {
	case l = <-killed:
	case <-ctx.Done():
	}
	for _, other := range r.loaders {
		other.process.order("disarm")
	}
	if l == nil {
		return strike{}, false
	}
	p := l.process
	s, _ := p.wait(ctx, func(s step) bool { return s.what == "kill" })
	<-p.Done()
	l.start()
	return strike{l, p, s.at, time.Now()}, true
}

// freeze stops a process at a step for longer than its session, so that others take its partitions over, and lets it go on
// with full buffers.
func freeze(r *round, l *loader) (strike, bool) {
	p := l.process
	s, ok := p.arm(pick(r.rnd, everyRound...), "stop")
	if !ok {
		return strike{}, false
	}
	lasting(sessionTimeout + between(r.rnd, 500*time.Millisecond, 3*time.Second))
	p.Resume()
	return strike{l, p, s.at, time.Now()}, true
}

// storm has another member join and leave again and again, now and then by a kill.
func storm(r *round, _ *loader) (strike, bool) {
	began := time.Now()
	for range 3 {
		r.guest.start()
		lasting(between(r.rnd, 1500*time.Millisecond, 3*time.Second))
		if r.rnd.IntN(2) == 0 {
			r.guest.process.Kill()
		} else {
			r.guest.process.Stop()
		}
	}
	for _, l := range r.loaders {
		p := l.process
		for _, s := range p.after(began) {
			if s.name == point.HandOver {
				return strike{l, p, s.at, time.Now()}, true
			}
		}
	}
	return strike{}, false
}
