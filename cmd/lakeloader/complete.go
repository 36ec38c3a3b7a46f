package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// completions are the tables of the pipelines that say what is complete, those that rows are routed to included.
func (u *upkeep) completions(ctx context.Context) ([]jobs.Task, error) {
	var tasks []jobs.Task
	for i := range u.cfg.Pipelines {
		p := &u.cfg.Pipelines[i]
		if p.Table.Complete == nil {
			continue
		}
		c := u.completer(p)
		ids, err := u.rowTables(ctx, p.Name, c.Primary)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			there, err := u.published(ctx, p.Name, id)
			if err != nil {
				return nil, err
			}
			if there {
				tasks = append(tasks, u.completion(p.Name, c, id))
			}
		}
	}
	return tasks, nil
}

// published tells the status what a table says, whichever process has found it out; there: the table exists.
func (u *upkeep) published(ctx context.Context, pipeline string, id table.Ident) (there bool, err error) {
	s, err := u.lake.catalog.Open(ctx, id)
	if errors.Is(err, table.ErrNoTable) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("opening table %s: %w", id, err)
	}
	base, err := s.Load(ctx)
	if err != nil {
		return false, fmt.Errorf("reading table %s: %w", id, err)
	}
	state, err := jobs.ParseComplete(pipeline, base.Props)
	if err == nil && u.said != nil { // an error is that of the run
		u.said(pipeline, completeStatus(id, state, ""), false)
	}
	return true, nil
}

func (u *upkeep) completion(pipeline string, c *jobs.Completer, id table.Ident) jobs.Task {
	return jobs.Task{Job: "complete", Target: id.String(),
		Plan: func(ctx context.Context) (*jobs.Report, error) { return completeReport(c.Plan(ctx, id)) },
		Run: func(ctx context.Context) (*jobs.Report, error) {
			x, err := c.Run(ctx, id)
			if x != nil && x.State != nil && u.said != nil {
				u.said(pipeline, completeStatus(id, x.State, x.Held), true)
			}
			return completeReport(x, err)
		}}
}

func (u *upkeep) completer(p *configs.Pipeline) *jobs.Completer {
	set := p.Table.Complete
	primary, _ := pipeline.Idents(u.cfg, p)
	rounds := &pipeline.RoundObjects{Store: u.lake.objects, Root: u.lake.root, Pipeline: p.Name}
	c := &jobs.Completer{Tables: u.lake.catalog, Pipeline: p.Name, Primary: primary, Committed: rounds.IsCommitted, Now: u.now, Seen: &u.seen,
		Ends:     func(ctx context.Context) ([]jobs.End, error) { return u.ends(ctx, p) },
		Lateness: time.Duration(set.Lateness), Quiet: time.Duration(set.Quiet), Retention: time.Duration(p.Table.Retention),
		Refresh: min(time.Hour, time.Duration(u.cfg.Jobs.Expire.Age)/2), Wait: table.Backoff(2 * time.Second)}
	r := &receivers{upkeep: u, pipeline: p.Name, topic: set.Topic, marker: set.Marker}
	var names []string
	if set.Topic != "" {
		names = append(names, "topic "+set.Topic)
	}
	if set.Marker {
		names = append(names, "markers")
		c.Dropped = r.unmark
	}
	c.Receiver, c.Tell = strings.Join(names, ", "), r.tell
	return c
}

// ends asks Kafka what there is of a pipeline's topics.
func (u *upkeep) ends(ctx context.Context, p *configs.Pipeline) ([]jobs.End, error) {
	admin := u.admin
	if admin == nil {
		var err error
		if admin, err = source.NewAdmin(u.cfg.Kafka, u.log); err != nil {
			return nil, err
		}
		defer admin.Close()
	}
	ps, err := admin.Partitions(ctx, p.Source)
	if err != nil {
		return nil, err
	}
	var topics []string
	for i, x := range ps { // by topic
		if i == 0 || x.Topic != ps[i-1].Topic {
			topics = append(topics, x.Topic)
		}
	}
	ids, err := admin.TopicIDs(ctx, topics)
	if err != nil {
		return nil, err
	}
	extents, err := admin.Extents(ctx, ps)
	if err != nil {
		return nil, err
	}
	ends := make([]jobs.End, len(ps))
	for i, x := range ps {
		ends[i] = jobs.End{Key: table.Key(x), TopicID: ids[x.Topic], Low: extents[x].Low, High: extents[x].High}
	}
	return ends, nil
}

// receivers are the topic and the markers of a pipeline.
type receivers struct {
	*upkeep
	pipeline string
	topic    string
	marker   bool
}

// completeMessage is the value of a message; its key is the table and the partition, so that a compacted topic keeps the last one.
type completeMessage struct {
	Pipeline  string    `json:"pipeline"`
	Table     string    `json:"table"`
	Partition string    `json:"partition"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Event     string    `json:"event"` // complete or dirty
	Revision  int64     `json:"revision"`
}

func (r *receivers) message(info table.Info, n jobs.Notice) (key, value []byte, err error) {
	m := completeMessage{r.pipeline, info.Ident.String(), n.Partition, n.From, n.To, "dirty", n.Revision}
	if n.Complete {
		m.Event = "complete"
	}
	value, err = json.Marshal(m)
	return []byte(m.Table + "/" + n.Partition), value, err
}

// tell writes and removes markers, and then sends the messages. It returns when all in-sync replicas have them.
func (r *receivers) tell(ctx context.Context, info table.Info, notices []jobs.Notice) error {
	if r.marker {
		for _, n := range notices {
			if err := r.mark(ctx, info, n); err != nil {
				return err
			}
		}
	}
	if r.topic == "" || len(notices) == 0 {
		return nil
	}
	p, err := source.NewProducer(ctx, r.cfg.Kafka, r.topic, "lakeloader-"+r.pipeline, r.log)
	if err != nil {
		return err
	}
	defer p.Close()
	for _, n := range notices {
		key, value, err := r.message(info, n)
		if err == nil {
			err = p.Send(ctx, source.Message{Key: key, Value: value, Timestamp: r.now().UnixMilli()})
		}
		if err != nil {
			return err
		}
	}
	return p.Flush(ctx)
}

// mark puts a marker into the folder of a partition, or takes it away.
func (r *receivers) mark(ctx context.Context, info table.Info, n jobs.Notice) error {
	uri, err := marker(info, n.Partition)
	if err != nil {
		return err
	}
	if err := r.lake.objects.Delete(ctx, uri); err != nil || !n.Complete {
		return err
	}
	_, value, err := r.message(info, n)
	if err == nil {
		err = r.lake.objects.Put(ctx, uri, value)
	}
	if errors.Is(err, objects.ErrExists) { // another run of the job was faster, with the same in mind
		return nil
	}
	return err
}

// unmark takes the markers of partitions away whose rows are dropped.
func (r *receivers) unmark(ctx context.Context, info table.Info, partitions []string) error {
	for _, label := range partitions {
		uri, err := marker(info, label)
		if err == nil {
			err = r.lake.objects.Delete(ctx, uri)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// marker is where the marker of a partition is: beside its files, or in the folder that has theirs.
func marker(info table.Info, label string) (string, error) {
	at, _ := info.TimeField()
	if at != 0 {
		return "", fmt.Errorf("table %s: a marker needs the time to be first in partition_by, since it has many folders else: leave table.complete.marker out", info.Ident)
	}
	return info.Location + "/data/" + url.QueryEscape(info.PartitionBy[0].Name) + "=" + label + "/" + jobs.Marker, nil
}

func completeStatus(id table.Ident, c *jobs.Complete, held string) obs.CompleteStatus {
	s := obs.CompleteStatus{Table: id.String(), Held: held}
	if c == nil {
		return s
	}
	s.Through, s.Revision, s.Count = c.Through, c.Revision, c.DirtyPartitions()
	for _, d := range c.Dirty {
		text := d.First
		if d.Last != d.First {
			text += " to " + d.Last
		}
		s.Dirty = append(s.Dirty, text)
	}
	return s
}

func completeReport(x *jobs.Completion, err error) (*jobs.Report, error) {
	if x == nil {
		return nil, err
	}
	r := &jobs.Report{Idle: !x.Changed && len(x.Notices) == 0, Numbers: map[string]int64{"notices": int64(len(x.Notices))}}
	switch s := completeStatus(x.Table, x.State, x.Held); {
	case x.State == nil:
		r.Summary = "nothing is known yet"
	default:
		r.Numbers["dirty"], r.Numbers["revision"], r.Numbers["through"] = int64(s.Count), s.Revision, s.Through.Unix()
		r.Summary = "complete through " + s.Through.Format(time.RFC3339)
		if s.Count > 0 {
			r.Summary += fmt.Sprintf(", but not %s: %s", count(s.Count, "partition"), strings.Join(s.Dirty, ", "))
		}
	}
	if x.WentBack {
		r.Summary += "; it went back, since offsets began anew"
	}
	if x.Held != "" {
		r.Summary += "; held by " + x.Held
	}
	for i, n := range x.Notices {
		if i == 20 {
			r.Details = append(r.Details, fmt.Sprintf("and %d more", len(x.Notices)-i))
			break
		}
		event := "dirty"
		if n.Complete {
			event = "complete"
		}
		r.Details = append(r.Details, fmt.Sprintf("%s is %s (revision %d)", n.Partition, event, n.Revision))
	}
	return r, err
}
