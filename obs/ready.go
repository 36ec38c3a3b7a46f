package obs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// grace is added to twice the commit interval before a pipeline that does not commit counts as stuck: a commit may take
// a while, and be tried again.
const grace = 30 * time.Second

// Status is the state of the pipeline at this moment, a copy.
func (r *Recorder) Status() PipelineStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, s := r.now(), r.status
	s.RecordsPerSecond = r.records.perSecond(now)
	s.BytesPerSecond = r.bytes.perSecond(now)
	s.DeadLettersPerSecond = r.rejects.perSecond(now)
	s.FilteredBy, s.RoutedRows = maps.Clone(s.FilteredBy), maps.Clone(s.RoutedRows)
	s.Complete = slices.Clone(s.Complete)
	s.Joins = slices.Clone(s.Joins)
	s.Routes = slices.Clone(s.Routes)
	s.LastError, s.LastReject, s.LastCommit = copied(s.LastError), copied(s.LastReject), copied(s.LastCommit)
	for k, n := range r.dead {
		s.DeadBy = append(s.DeadBy, DeadStatus{k.stage, k.step, n})
	}
	slices.SortFunc(s.DeadBy, func(a, b DeadStatus) int { return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Step, b.Step)) })
	s.Partitions = make([]PartitionStatus, 0, len(r.partitions))
	for k, p := range r.partitions {
		ps := PartitionStatus{Topic: k.topic, Partition: k.partition, Epoch: p.epoch, Committed: p.committed, Position: p.position,
			HighWatermark: p.high, LagRecords: p.lagRecords(), LagSeconds: p.lagSeconds(now), Stopped: p.stopped}
		s.LagRecords += ps.LagRecords
		s.LagSeconds = max(s.LagSeconds, ps.LagSeconds)
		s.Partitions = append(s.Partitions, ps)
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	s.NotReady = r.notReady(&s, now)
	s.Ready = s.NotReady == ""
	s.Alarm = !s.Ready && !r.notReadySince.IsZero() && now.Sub(r.notReadySince) > r.alarmAfter
	return s
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// notReady says why commits are not progressing; "" when they are, or there is nothing to commit.
func (r *Recorder) notReady(s *PipelineStatus, now time.Time) string {
	switch s.Phase {
	case Starting:
		return "starting"
	case Stopped:
		return "stopped"
	case Waiting:
		return "waiting: " + s.Reason
	case Failing:
		return "failing: " + s.LastError.Message
	}
	most := r.alarmAfter
	if since := s.UnpublishedSince; !since.IsZero() && now.Sub(since) > most {
		return fmt.Sprintf("rows wait to be committed since %s, which is due every %s", age(now.Sub(since)), age(r.interval))
	}
	for _, p := range s.Partitions {
		if behind := p.HighWatermark - p.Position; p.HighWatermark >= 0 && p.Position >= 0 && behind > 0 && now.Sub(r.progress) > most {
			return fmt.Sprintf("nothing was read for %s, though %d records wait in %s-%d", age(now.Sub(r.progress)), behind, p.Topic, p.Partition)
		}
	}
	return ""
}
