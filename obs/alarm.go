package obs

import (
	"log/slog"
	"time"
)

// AlarmAfter sets how long the pipeline may not be ready before it is an alarm. Left out: twice its commit interval and 30 s.
func (r *Recorder) AlarmAfter(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alarmAfter = d
}

// alarmEvery is the time between two log lines about the same alarm.
const alarmEvery = 5 * time.Minute

// Check looks whether the pipeline is ready, and says so in the log when it has not been for too long, and when it is again.
// It is to be called every few seconds.
func (r *Recorder) Check(log *slog.Logger) {
	s := r.Status()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if s.Ready || s.Phase == Stopped {
		if !r.alarmed.IsZero() {
			log.Info("the alarm is over", "state", s.Phase, "after", age(now.Sub(r.notReadySince)))
		}
		r.notReadySince, r.alarmed = time.Time{}, time.Time{}
		return
	}
	if r.notReadySince.IsZero() {
		r.notReadySince = now
	}
	if now.Sub(r.notReadySince) <= r.alarmAfter || now.Sub(r.alarmed) < alarmEvery {
		return
	}
	r.alarmed = now
	args := []any{"reason", s.NotReady, "since", r.notReadySince.Format(time.RFC3339)}
	if e := s.LastError; e != nil && s.Phase == Failing {
		args = append(args, "failing_since", e.Since.Format(time.RFC3339), "attempts", e.Attempts)
		if !e.NextTry.IsZero() {
			args = append(args, "next_try", e.NextTry.Format(time.RFC3339))
		}
	}
	log.Error("ALARM: commits make no progress", args...)
}
