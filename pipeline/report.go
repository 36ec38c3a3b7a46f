package pipeline

import (
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/table"
)

// reportRead tells the recorder what a fetch was, once a fetch.
func (l *Loader) reportRead(r *batch.Records, rejects []batch.Reject) {
	b := obs.Batch{Records: int64(r.Len()), Bytes: payload(r), Rejected: int64(len(rejects))}
	if n := len(rejects); n > 0 {
		last := rejects[n-1]
		b.Last = obs.RejectStatus{Stage: last.Stage, Step: last.Step, Reason: last.Reason}
	}
	for _, x := range l.tracks.runs {
		b.Partitions = append(b.Partitions, obs.Progress{Topic: x.t.key.Topic, Partition: x.t.key.Partition, Position: x.t.next,
			Records: int64(x.to - x.from), First: r.Timestamp[x.from]})
	}
	l.rec.Read(b)
	records, _ := l.tracks.records()
	l.rec.Unpublished(records, l.stages.size())
}

// reportPhase says whether Kafka and the catalog answer. A stopped or missing topic keeps the pipeline failing.
func (l *Loader) reportPhase() {
	if l.absent != nil {
		return
	}
	for _, t := range l.tracks.m {
		if t.stopped != nil {
			return
		}
	}
	if err, at := l.consumer.LastError(); err != nil && l.recs.Len() == 0 && l.now().Sub(at) < time.Minute {
		l.rec.Waiting("Kafka: " + err.Error())
		return
	}
	if l.catalog.trouble != "" {
		l.rec.Waiting(l.catalog.trouble)
		return
	}
	l.rec.Running()
}

// payload is the bytes of keys, values and headers.
func payload(r *batch.Records) (n int64) {
	for _, views := range [][]batch.View{r.Key, r.Value, r.Headers} {
		for _, v := range views {
			n += int64(v.Len)
		}
	}
	return n
}

func (l *Loader) reportCommit(r *Round, number int64, took time.Duration) {
	c := obs.Commit{ID: r.ID, Number: number, Took: took, Rows: rowsOf(r), Filtered: map[string]int64{}}
	for _, t := range r.Tables {
		for _, f := range t.Files {
			c.Bytes, c.Files = c.Bytes+f.Size, c.Files+1
		}
	}
	for _, t := range r.Tables[1:] {
		if t.Routed {
			if c.Routed == nil {
				c.Routed = map[string]int64{}
			}
			c.Routed[t.Table.String()] += rows(t.Files)
		}
	}
	dead := map[string]int64{}
	for _, m := range r.Moves {
		for step, o := range m.Filtered {
			c.Filtered[step] += int64(o.GetCardinality())
		}
		for step, o := range m.Dead {
			dead[step] += int64(o.GetCardinality())
		}
		c.Offsets = append(c.Offsets, obs.CommittedOffset{Topic: m.Key.Topic, Partition: m.Key.Partition, Epoch: m.To.Epoch, Next: m.To.Next, Last: m.To.MaxTimestamp})
	}
	for by, n := range dead {
		stage, step := splitRejectedBy(by)
		c.Dead = append(c.Dead, obs.DeadStatus{Stage: stage, Step: step, Count: n})
	}
	l.rec.Committed(c)
	l.rec.Unpublished(0, 0)
	if l.committed != nil {
		l.committed()
	}
}

func (l *Loader) reportOwned(gained map[table.Key]bool) {
	var ps []obs.Ownership
	for k := range gained {
		if t := l.tracks.m[k]; t != nil {
			ps = append(ps, obs.Ownership{Topic: k.Topic, Partition: k.Partition, Epoch: t.from.Epoch, Committed: t.from.Next, Last: t.from.MaxTimestamp})
		}
	}
	l.rec.Assigned(ps)
	l.reportStopped()
}

// reportStopped names the topics that are not loaded.
func (l *Loader) reportStopped() {
	for k, t := range l.tracks.m {
		if t.stopped != nil {
			l.rec.StoppedPartition(k.Topic, k.Partition, t.stopped.Error())
		}
	}
}
