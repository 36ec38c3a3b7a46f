package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/window"
)

// windowState is what the process knows of a window that it keeps. It is safe for concurrent use.
type windowState struct {
	w     *configs.Window
	meter window.Meter

	mu      sync.Mutex
	begun   time.Time // the last time
	trouble error
	since   time.Time
	ends    map[source.Partition]int64
}

// steady is how long a window that has failed has to go on, if nothing is dealt out to it, to be well again.
const steady = time.Minute

func (s *windowState) begins(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = now
}

func (s *windowState) failed(err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil || s.well(s.meter.Read(), s.begun) {
		s.since = now
	}
	s.trouble, s.begun = err, time.Time{}
}

// well reports whether a window that has failed goes on.
func (s *windowState) well(p window.Progress, now time.Time) bool {
	return len(p.Owned) > 0 || !s.begun.IsZero() && now.Sub(s.begun) > steady
}

// status is what is shown.
func (s *windowState) status(now time.Time) obs.WindowStatus {
	p := s.meter.Read()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != nil && s.well(p, now) {
		s.trouble = nil
	}
	out := obs.WindowStatus{Name: s.w.Name, Pipeline: s.w.Pipeline, Topic: s.w.Topic, State: windowPhase(p, s.trouble), Slots: p.Slots, Owned: p.Owned, Live: p.Live, Keys: p.Keys,
		Updates: p.Updates, Published: p.Published, Memory: int64(s.w.Memory), Partitions: []obs.WindowPartition{}}
	if out.Owned == nil {
		out.Owned = []int32{}
	}
	if p.Day != 0 {
		out.Day = p.Day.String()
	}
	if s.trouble != nil {
		out.Trouble, out.Since = s.trouble.Error(), s.since
	}
	if r := p.Rebuild; r != nil {
		out.Rebuild = &obs.WindowRebuild{Started: r.Started, Files: r.Files, Done: r.Done, Rows: r.Rows}
	}
	for _, x := range p.Parts {
		part := obs.WindowPartition{Topic: x.Topic, Partition: x.Partition, Position: x.Next, Published: x.Published, HighWatermark: -1}
		if end, ok := s.ends[source.Partition(x.Part)]; ok {
			part.HighWatermark = end
		}
		out.Partitions = append(out.Partitions, part)
		out.Lag += part.Lag()
	}
	return out
}

func windowPhase(p window.Progress, trouble error) string {
	switch {
	case trouble != nil:
		return obs.WindowFailing
	case p.Rebuild != nil:
		return obs.WindowRebuilding
	case p.Slots == 0:
		return obs.WindowStarting
	case len(p.Owned) == 0:
		return obs.WindowStandby
	case p.Live < len(p.Owned):
		return obs.WindowCatchingUp
	}
	return obs.WindowLive
}

// watch asks every so often where the partitions end, until ctx does; at once where that is not known.
func (s *windowState) watch(ctx context.Context, admin *source.Admin, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(min(every, time.Second))
	defer tick.Stop()
	asked, failed := time.Time{}, false
	for {
		ps, known := s.parts()
		if len(ps) > 0 && (!known && !failed || time.Since(asked) >= every) {
			marks, err := admin.Watermarks(ctx, ps)
			if asked, failed = time.Now(), err != nil; failed && ctx.Err() == nil {
				log.Warn("the ends of partitions are not known, so the lag is not either", "error", err)
			}
			s.end(marks)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// parts are the partitions that are read; known: the ends of all of them are.
func (s *windowState) parts() (ps []source.Partition, known bool) {
	p := s.meter.Read()
	s.mu.Lock()
	defer s.mu.Unlock()
	known = true
	for _, x := range p.Parts {
		_, ok := s.ends[source.Partition(x.Part)]
		known = known && ok
		ps = append(ps, source.Partition(x.Part))
	}
	return ps, known
}

func (s *windowState) end(marks map[source.Partition]source.Watermarks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends == nil {
		s.ends = map[source.Partition]int64{}
	}
	for p, m := range marks {
		s.ends[p] = m.High
	}
}
