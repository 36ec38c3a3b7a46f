package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Report is what a run of a job did, or what it would do.
type Report struct {
	// Summary is one line for people.
	Summary string `json:"summary"`
	// Numbers are by what they count: snapshots, objects, bytes.
	Numbers map[string]int64 `json:"numbers,omitempty"`
	// Details are lines for people who plan.
	Details []string `json:"details,omitempty"`
	// Idle: there was nothing to do, which is not worth a line in the log.
	Idle bool `json:"idle,omitempty"`
	// Cost is what a planned run would ask of the object store; nil: it is not known.
	Cost *Cost `json:"cost,omitempty"`
}

// Task is a job on one target: a table, or the whole lake.
type Task struct {
	Job    string
	Target string
	// Plan says what a run would do now, and changes nothing.
	Plan func(ctx context.Context) (*Report, error)
	Run  func(ctx context.Context) (*Report, error)
}

// Job is a kind of task with its schedule.
type Job struct {
	Name string
	// Schedule is in the form of cron, with five fields, or @hourly and so on; empty: it runs only when asked to.
	Schedule string
	// Heavy jobs need memory of their own, and are not run beside loaders.
	Heavy bool
	// Tasks finds the targets anew for each run: tables come and go.
	Tasks func(ctx context.Context) ([]Task, error)
}

// ParseSchedule reads a schedule in the form of cron. The zone is that of the times at which it is asked.
func ParseSchedule(text string) (cron.Schedule, error) {
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no schedule: give five fields as in cron (minute hour day month weekday), @hourly, @daily, @weekly, @monthly, or @every 30m: %w", text, err)
	}
	return s, nil
}

// Runner runs jobs on their schedules, one after the other.
type Runner struct {
	Jobs   []Job
	Leases *Leases
	Log    *slog.Logger
	Zone   *time.Location
	// Tries and Pause say how often a task that failed is tried in one run, and the pause before the second try, which doubles.
	Tries int
	Pause time.Duration
	// Deadline bounds a run, all its tries included; 0: nothing does.
	Deadline time.Duration
	// CatchUp has what was missed, while no process was there, run at the start.
	CatchUp bool
	// Ended is told of every run, but of those that were left to another process; nil: nobody is.
	Ended func(t Task, started time.Time, did string, err error)
}

// Run goes on until ctx ends. What runs then is cancelled.
func (r *Runner) Run(ctx context.Context) error {
	c := cron.New(cron.WithLocation(r.Zone))
	var one sync.Mutex // at a time in this process: upkeep must leave room for loading
	var missed []func()
	for _, j := range r.Jobs {
		if j.Schedule == "" {
			continue
		}
		s, err := ParseSchedule(j.Schedule)
		if err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
		skip := cron.NewChain(cron.SkipIfStillRunning(cron.DiscardLogger))
		c.Schedule(s, skip.Then(cron.FuncJob(func() {
			one.Lock()
			defer one.Unlock()
			if ctx.Err() == nil {
				r.Once(ctx, j)
			}
		})))
		missed = append(missed, func() { r.catchUp(ctx, j, s) })
	}
	if r.CatchUp {
		for _, run := range missed {
			run()
		}
	}
	c.Start()
	<-ctx.Done()
	<-c.Stop().Done()
	return nil
}

// catchUp runs the tasks of a job whose last run, by whichever process, was to be followed by another one before now.
func (r *Runner) catchUp(ctx context.Context, j Job, s cron.Schedule) {
	tasks, ok := r.tasks(ctx, j)
	if !ok {
		return
	}
	r.each(ctx, slices.DeleteFunc(tasks, func(t Task) bool {
		last, err := r.Leases.History(ctx, t.Job, t.Target, 1)
		if err != nil {
			r.Log.Warn("it is not known whether a run of the job was missed", "job", t.Job, "target", t.Target, "error", err)
		}
		return len(last) == 0 || s.Next(last[0].Started.In(r.Zone)).After(r.Leases.Now())
	}))
}

func (r *Runner) tasks(ctx context.Context, j Job) ([]Task, bool) {
	tasks, err := j.Tasks(ctx)
	if err != nil && ctx.Err() == nil {
		r.Log.Error("the job's tables cannot be found", "job", j.Name, "error", err)
	}
	return tasks, err == nil
}

// Once runs all tasks of a job now, and logs what becomes of each. It says how many failed.
func (r *Runner) Once(ctx context.Context, j Job) (failed int) {
	tasks, ok := r.tasks(ctx, j)
	if !ok {
		return 1
	}
	return r.each(ctx, tasks)
}

func (r *Runner) each(ctx context.Context, tasks []Task) (failed int) {
	for _, t := range tasks {
		started := r.Leases.Now()
		report, err := r.Do(ctx, t)
		log := r.Log.With("job", t.Job, "target", t.Target)
		switch {
		case errors.Is(err, ErrHeld):
			log.Info("the job is left to another process", "reason", err)
			continue
		case ctx.Err() != nil:
			log.Info("the job was stopped", "reason", err)
			return failed + 1
		case err != nil:
			log.Error("the job failed", "error", err)
			failed++
		case report.Idle:
			log.Debug("the job ended", "did", report.Summary)
		default:
			log.Info("the job ended", "did", report.Summary)
		}
		if r.Ended != nil {
			did := ""
			if report != nil {
				did = report.Summary
			}
			r.Ended(t, started, did, err)
		}
	}
	return failed
}

// Do runs one task under its lease, with all its tries.
func (r *Runner) Do(ctx context.Context, t Task) (*Report, error) {
	if r.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Deadline, fmt.Errorf("it took longer than its deadline, %v", r.Deadline))
		defer cancel()
	}
	return r.Leases.Do(ctx, t.Job, t.Target, func(ctx context.Context) (*Report, error) {
		pause := r.Pause
		for n := 1; ; n++ {
			report, err := t.Run(ctx)
			if err != nil && ctx.Err() != nil {
				return report, errors.Join(err, context.Cause(ctx))
			}
			if err == nil || n >= r.Tries || errors.Is(err, ErrRolledBack) {
				return report, err
			}
			r.Log.Warn("the job failed and is tried again", "job", t.Job, "target", t.Target, "error", err, "next_try", pause)
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
				timer.Stop()
				return report, errors.Join(err, context.Cause(ctx))
			case <-timer.C:
			}
			pause *= 2
		}
	})
}
