package obs

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/lakeloader/lakeloader/views"
)

// State is what a daemon knows of itself. It is safe for concurrent use.
type State struct {
	version string
	now     func() time.Time
	started time.Time

	mu        sync.Mutex
	memory    MemoryStatus
	recorders map[string]*Recorder
	jobs      []JobStatus           // by job and target
	views     map[string]*views.Set // by pipeline
	lookups   func() []LookupStatus
	windows   func() []WindowStatus
}

// NewState returns the state of a daemon without pipelines. now is the clock, nil for the machine's.
func NewState(version string, now func() time.Time) *State {
	if now == nil {
		now = time.Now
	}
	return &State{version: version, now: now, started: now(), recorders: map[string]*Recorder{}, views: map[string]*views.Set{}}
}

// Pipeline adds a pipeline, in the phase starting, and returns where it tells what happens to it. Commits are
// expected once an interval: when rows wait for much longer, the pipeline is not ready. A name that is there already
// gets its old Recorder.
func (s *State) Pipeline(name, table string, interval time.Duration) *Recorder {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.recorders[name]
	if !ok {
		r = newRecorder(name, table, interval, s.now)
		s.recorders[name] = r
	}
	return r
}

// Memory says how the memory ceiling is divided; Used is filled in.
func (s *State) Memory(m MemoryStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = m
}

// Status is the state at this moment, a copy.
func (s *State) Status() Status {
	out := Status{Version: s.version, Started: s.started, Now: s.now(), Pipelines: []PipelineStatus{}}
	all := s.list()
	s.mu.Lock()
	out.Memory, out.Jobs = s.memory, slices.Clone(s.jobs)
	lookups, windows := s.lookups, s.windows
	s.mu.Unlock()
	if lookups != nil {
		out.Lookups = lookups()
	}
	if windows != nil {
		out.Windows = windows()
	}
	out.Ready = len(all) > 0
	for _, r := range all {
		p := r.Status()
		if v := s.viewsOf(p.Name); v != nil {
			p.Views = v.Read(out.Now)
		}
		out.Ready = out.Ready && p.Ready
		out.Memory.Used += p.Memory.Batches + p.Memory.Files + p.Memory.Uploads + p.Memory.Finished
		out.Pipelines = append(out.Pipelines, p)
	}
	for _, l := range out.Lookups {
		out.Memory.Lookups += l.Bytes
	}
	return out
}

// list returns the recorders by name.
func (s *State) list() []*Recorder {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Recorder, 0, len(s.recorders))
	for _, r := range s.recorders {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *Recorder) int { return cmp.Compare(a.name, b.name) })
	return out
}
