package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// publish sends what changed in an aggregate's table to its topic, after the days were replaced, and adds that to the report.
func (u *upkeep) publish(ctx context.Context, a *configs.Aggregate, r *jobs.Report, err error) (*jobs.Report, error) {
	if err != nil || a.Publish == nil {
		return r, err
	}
	id := named(u.cfg, a.Table)
	form := aggregate.Form{Key: a.Publish.Key, Value: a.Publish.Value, Without: func(column string) bool { return partial(a, column) }}
	text, err := json.Marshal([]any{a.Publish.Topic, form.Key, form.Value})
	if err != nil {
		return r, err
	}
	p := &aggregate.Publisher{Name: a.Name, Target: id, Catalog: u.lake.catalog, Form: string(text), DayInKey: slices.Contains(form.Key, aggregate.ColumnDay), Wait: table.Backoff(2 * time.Second),
		Rows: func(ctx context.Context) (aggregate.TargetRows, error) {
			return aggregate.NewLakeRows(ctx, u.lake.catalog, u.lake.objects, id, form)
		},
		Sink: func(ctx context.Context) (aggregate.Sink, func(), error) {
			k, err := source.NewProducer(ctx, u.cfg.Kafka, a.Publish.Topic, "lakeloader-"+a.Name, u.log)
			if err != nil {
				return nil, nil, err
			}
			return &sink{k, u.now}, k.Close, nil
		}}
	x, err := p.Run(ctx)
	r.Numbers["published"], r.Numbers["published_gone"] = x.Sent, x.Gone
	switch {
	case err != nil:
	case x.Unknown:
		r.Summary += fmt.Sprintf("; %s sent to %s: what was published last has expired, so keys that went are not known", count(x.Sent, "row"), a.Publish.Topic)
	default:
		r.Summary += fmt.Sprintf("; %s and %s sent to %s", count(x.Sent, "row"), count(x.Gone, "gone key"), a.Publish.Topic)
	}
	return r, err
}

// partial says whether a column is only there so that days can be summed up to weeks and months.
func partial(a *configs.Aggregate, column string) bool {
	return slices.ContainsFunc(a.Measures, func(m configs.Measure) bool { return strings.HasPrefix(column, m.Name+"__") })
}

// sink sends an aggregate's messages.
type sink struct {
	*source.Producer
	now func() time.Time
}

// Send implements aggregate.Sink.
func (s *sink) Send(ctx context.Context, key, value []byte) error {
	return s.Producer.Send(ctx, source.Message{Key: key, Value: value, Timestamp: s.now().UnixMilli()})
}
