package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/window"
)

// windowOptions are what a window keeps.
func windowOptions(cfg *configs.Config, w *configs.Window) (o window.Options, p *configs.Pipeline, err error) {
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		return o, nil, fmt.Errorf("window %s: time_zone: %w", w.Name, err)
	}
	i := slices.IndexFunc(cfg.Pipelines, func(p configs.Pipeline) bool { return p.Name == w.Pipeline })
	if i < 0 {
		return o, nil, fmt.Errorf("window %s: there is no pipeline %s", w.Name, w.Pipeline)
	}
	p = &cfg.Pipelines[i]
	rules, err := rowRules(p)
	if err != nil {
		return o, nil, err
	}
	return window.Options{Name: w.Name, Key: w.Key, Time: w.Time, Sum: w.Sum, Decimals: *w.Decimals, Zone: zone, Definition: rules, Start: p.Source.Start,
		Length: window.Length{Months: w.Window.CalendarMonths + 12*w.Window.CalendarYears, Days: w.Window.Days}}, p, nil
}

// rowRules is a hash of what decides which rows a record becomes.
func rowRules(p *configs.Pipeline) (string, error) {
	of := configs.Pipeline{Name: p.Name, Source: configs.Source{Topics: p.Source.Topics, Pattern: p.Source.Pattern}, Decode: p.Decode, Cleanse: p.Cleanse}
	return of.Fingerprint()
}

// windows starts the windows of the configuration; they end with ctx.
func (d *daemon) windows(ctx context.Context) {
	all := make([]*windowState, len(d.cfg.Windows))
	for i := range all {
		all[i] = &windowState{w: &d.cfg.Windows[i]}
	}
	d.state.Windows(func() (out []obs.WindowStatus) {
		for _, s := range all {
			out = append(out, s.status(time.Now()))
		}
		return out
	})
	for _, s := range all {
		log := d.log.With("window", s.w.Name)
		d.bg.Go(func() { d.window(ctx, s, log) })
		d.bg.Go(func() { s.watch(ctx, d.admin, d.trial.endsEvery, log) })
	}
}

// window keeps a window, and begins again when it fails.
func (d *daemon) window(ctx context.Context, s *windowState, log *slog.Logger) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		started := time.Now()
		s.begins(started)
		err := d.runWindow(ctx, s, log)
		if ctx.Err() != nil {
			if err != nil {
				log.Warn("the window did not end well; it goes on from its state", "error", err)
			}
			return
		}
		if time.Since(started) > time.Minute {
			wait = time.Second
		}
		if window.Changed(err) {
			log.Info("the window begins again", "reason", err)
			wait = time.Second
		} else {
			s.failed(err, time.Now())
			log.Error("the window failed; it begins again", "error", err, "next_try", wait)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func (d *daemon) runWindow(ctx context.Context, s *windowState, log *slog.Logger) (err error) {
	w := s.w
	o, p, err := windowOptions(d.cfg, w)
	if err != nil {
		return err
	}
	room := window.Divide(int64(w.Memory))
	state, err := window.OpenState(w.State, room.Store)
	if err != nil {
		return fmt.Errorf("window %s: %w", w.Name, err)
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	rows, err := newWindowRows(d.cfg, p, log)
	if err != nil {
		return err
	}
	primary, _ := pipeline.Idents(d.cfg, p)
	return window.New(o, window.Deps{State: state, Rows: rows, Memory: room.Entries, Meter: &s.meter, Now: point.Now, Log: log,
		Lake:  window.Lake{Catalog: d.lake.catalog, Objects: d.lake.objects, Pipeline: p.Name, Table: primary},
		Kafka: &windowKafka{kafka: d.cfg.Kafka, admin: d.admin, source: p.Source, w: w, fetch: room.Fetch, log: log},
	}).Run(ctx)
}

// windowKafka is the cluster as a window sees it.
type windowKafka struct {
	kafka  configs.Kafka
	admin  *source.Admin
	source configs.Source
	w      *configs.Window
	fetch  int64 // what is fetched ahead, bytes
	log    *slog.Logger
}

func (k *windowKafka) id() string { return "lakeloader-window-" + k.w.Name }

func (k *windowKafka) options() source.Options {
	return source.Options{Kafka: k.kafka, Source: configs.Source{Topics: []string{k.w.Topic}, Group: k.id(), Consume: "batch"}, Pipeline: "window-" + k.w.Name,
		Memory: k.fetch, Log: k.log}
}

// Inputs is part of window.Kafka, and so are the following.
func (k *windowKafka) Inputs(ctx context.Context) (map[window.Part]window.Ends, error) {
	ps, err := k.admin.Partitions(ctx, k.source)
	if err != nil {
		return nil, err
	}
	topics := map[string]bool{}
	var names []string
	for _, p := range ps {
		if !topics[p.Topic] {
			topics[p.Topic] = true
			names = append(names, p.Topic)
		}
	}
	ids, err := k.admin.TopicIDs(ctx, names)
	if err != nil {
		return nil, err
	}
	marks, err := k.admin.Watermarks(ctx, ps)
	if err != nil {
		return nil, err
	}
	out := map[window.Part]window.Ends{}
	for p, m := range marks {
		out[window.Part(p)] = window.Ends{Low: m.Low, High: m.High, ID: ids[p.Topic]}
	}
	return out, nil
}

func (k *windowKafka) outputs(ctx context.Context) ([]source.Partition, error) {
	ps, err := k.admin.Partitions(ctx, configs.Source{Topics: []string{k.w.Topic}})
	if err != nil {
		return nil, fmt.Errorf("the topic of the totals (create it, with cleanup.policy=compact): %w", err)
	}
	return ps, nil
}

func (k *windowKafka) Slots(ctx context.Context) (int32, error) {
	ps, err := k.outputs(ctx)
	return int32(len(ps)), err
}

func (k *windowKafka) Read(start map[window.Part]int64) (window.Input, error) {
	at := map[source.Partition]int64{}
	for p, offset := range start {
		at[source.Partition(p)] = offset
	}
	return source.NewAssigned(k.options(), at)
}

func (k *windowKafka) Write(ctx context.Context, slot int32) (window.Output, error) {
	t, err := source.NewTransactor(ctx, k.kafka, k.w.Topic, fmt.Sprintf("%s-%d", k.id(), slot), "", k.log)
	if err != nil {
		return nil, err
	}
	return &windowOutput{t, slot}, nil
}

func (k *windowKafka) Published(ctx context.Context, slot int32, each func(key, value []byte) error) error {
	p := source.Partition{Topic: k.w.Topic, Partition: slot}
	marks, err := k.admin.Watermarks(ctx, []source.Partition{p})
	if err != nil {
		return err
	}
	from, until := map[source.Partition]int64{p: marks[p].Low}, map[source.Partition]int64{p: marks[p].High}
	o := k.options()
	o.Memory /= 2 // some slots are read at once
	return source.ReadUntil(ctx, o, from, until, func(r *batch.Records, i int) error {
		return each(r.Bytes(r.Key[i]), r.Bytes(r.Value[i]))
	})
}

func (k *windowKafka) Join(ctx context.Context, h window.Holder) (err error) {
	m := &windowMember{h: h, admin: k.admin}
	c, err := source.New(k.options(), m)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	r := &batch.Records{}
	paused := map[source.Partition]int64{}
	for {
		r.Reset()
		err := c.Poll(ctx, r, time.Second)
		var lost *source.OffsetOutOfRange
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &lost): // nothing is read of them
		case err != nil:
			return err
		}
		// The group only deals the partitions out: what is in them is not to be fetched.
		var now []source.Partition
		for _, p := range c.Assignment() {
			if e := c.Epoch(p); paused[p] != e {
				paused[p], now = e, append(now, p)
			}
		}
		if len(now) > 0 {
			if err := c.Pause(now); err != nil {
				return err
			}
		}
	}
}

// windowMember hands on what the group deals out.
type windowMember struct {
	h     window.Holder
	admin *source.Admin
}

// Assigned is part of source.Handler, and so is Revoked.
func (m *windowMember) Assigned(ctx context.Context, ps []source.Partition) (map[source.Partition]int64, error) {
	marks, err := m.admin.Watermarks(ctx, ps)
	if err != nil {
		return nil, err
	}
	start := map[source.Partition]int64{}
	for p, at := range marks {
		start[p] = at.High
	}
	m.h.Assigned(slotsOf(ps))
	return start, nil
}

func (m *windowMember) Revoked(_ context.Context, ps []source.Partition, _ bool) {
	m.h.Revoked(slotsOf(ps))
}

func slotsOf(ps []source.Partition) (slots []int32) {
	for _, p := range ps {
		slots = append(slots, p.Partition)
	}
	return slots
}

// windowOutput writes to a slot.
type windowOutput struct {
	t    *source.Transactor
	slot int32
}

// Publish is part of window.Output, and so is Close.
func (o *windowOutput) Publish(ctx context.Context, ms []window.Message) error {
	return o.t.Publish(ctx, o.slot, len(ms), func(i int) source.Message { return source.Message{Key: ms[i].Key, Value: ms[i].Value} })
}

func (o *windowOutput) Close() { o.t.Close() }
