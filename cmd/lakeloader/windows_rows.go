package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/schemas"
)

// windowRows makes rows as the pipeline does, but for its joins: these neither drop rows of a pipeline that has a window, nor make
// columns that it uses (configs).
type windowRows struct {
	p       *configs.Pipeline
	decoder *schemas.Decoder
	asked   bool // the registry, for what there is already
	steps   *pipeline.Steps
	b       *batch.Batch
	log     *slog.Logger
}

func newWindowRows(cfg *configs.Config, p *configs.Pipeline, log *slog.Logger) (*windowRows, error) {
	reg, err := registry(cfg)
	if err != nil {
		return nil, err
	}
	r := &windowRows{p: p, log: log}
	r.decoder, err = schemas.NewDecoder(p.Decode, reg, schemas.Options{Clock: point.Now, UnknownIDAfter: time.Duration(cfg.Registry.UnknownIDAfter),
		Freeze: p.Table.Evolve != nil && !*p.Table.Evolve, Accept: r.accepts})
	return r, err
}

// accepts refuses a schema that the steps cannot take, as the loader does.
func (r *windowRows) accepts(row *batch.Type) error {
	var key *batch.Type
	if r.decoder != nil {
		if key = r.decoder.KeyRow(); r.p.Decode.Changes != nil && !r.decoder.Known() {
			return nil
		}
	}
	_, err := pipeline.CompileSteps(row, key, r.p)
	return err
}

// Prepare is part of window.Rows, and so are the following.
func (r *windowRows) Prepare(ctx context.Context, rec *batch.Records) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := r.prepare(ctx, rec)
		if err == nil || !errors.Is(err, schemas.ErrRegistry) && !errors.Is(err, schemas.ErrUnknownID) && !errors.Is(err, errNoSchema) {
			return err
		}
		r.log.Warn("waiting for a schema", "error", err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

var errNoSchema = errors.New("no schema is known yet for the topics of the pipeline")

func (r *windowRows) prepare(ctx context.Context, rec *batch.Records) error {
	if !r.asked {
		topics := r.p.Source.Topics
		if len(topics) == 0 {
			topics = rec.Topics
		}
		err := r.decoder.Bootstrap(ctx, topics)
		if errors.Is(err, schemas.ErrRegistry) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if err != nil {
			r.log.Warn("some schemas cannot be used; their records are dead letters", "error", err)
		}
		r.asked = true
	}
	changed, err := r.decoder.Prepare(ctx, rec)
	if (changed || r.steps == nil) && r.decoder.Known() {
		steps, cerr := pipeline.CompileSteps(r.decoder.Row(), r.decoder.KeyRow(), r.p)
		if cerr != nil {
			return fmt.Errorf("the steps do not fit the columns: %w", cerr)
		}
		r.steps, r.b = steps, batch.New(&batch.Records{}, r.decoder.Row())
	}
	if err == nil && r.steps == nil {
		r.asked = false
		return errNoSchema
	}
	return err
}

func (r *windowRows) Row() *batch.Type { return r.steps.Row() }

func (r *windowRows) Apply(rec *batch.Records) (*batch.Batch, error) {
	b := r.b
	b.Reset(rec)
	root := b.Root
	if err := r.decoder.Decode(rec, b); err != nil {
		return nil, err
	}
	if err := r.steps.Apply(b); err != nil {
		return nil, err
	}
	out := *b
	b.Root = root // the decoder appends to its own columns again
	return &out, nil
}
