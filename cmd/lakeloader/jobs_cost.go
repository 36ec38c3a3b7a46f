package main

import (
	"context"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/table"
)

// priced adds what a planned run would cost. A local folder has no requests.
func (u *upkeep) priced(r *jobs.Report, c jobs.Cost) *jobs.Report {
	if strings.HasPrefix(u.lake.root, "s3://") {
		c.Price(jobs.Prices{Put: dollars(u.cfg.Jobs.Prices.Put), Get: dollars(u.cfg.Jobs.Prices.Get)})
	} else {
		c = jobs.Cost{ReadBytes: c.ReadBytes, WriteBytes: c.WriteBytes, FreeBytes: c.FreeBytes}
	}
	r.Cost = &c
	if line := c.String(); line != "" {
		r.Details = append([]string{line}, r.Details...)
	}
	return r
}

func dollars(d configs.Dollars) float64 { return float64(d) / 1e6 }

// layout is that of a table whose files have the settings of a pipeline.
func (u *upkeep) layout(ctx context.Context, id table.Ident, p *configs.Pipeline) (jobs.Layout, error) {
	l := jobs.Layout{RowGroup: int64(p.Files.RowGroupSize), TargetSize: int64(p.Files.TargetSize), Part: int64(u.cfg.Warehouse.S3.PartSize)}
	info, err := u.lake.catalog.Info(ctx, id)
	if err == nil {
		l.Columns = leaves(info.Row)
	}
	return l, err
}

func leaves(t *batch.Type) (n int64) {
	for _, f := range t.Fields {
		n += leaves(f.Type)
	}
	return max(1, n)
}

// sizes are those of a table's objects.
func (u *upkeep) sizes(ctx context.Context, id table.Ident) (map[string]int64, error) {
	list, err := folders{u.lake}.List(ctx, id)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(list))
	for _, o := range list {
		sizes[o.URI] = o.Size
	}
	return sizes, nil
}

// expiryCost: the manifest lists of what expires are read, and one metadata file is written.
func (u *upkeep) expiryCost(r *jobs.Report, err error) (*jobs.Report, error) {
	if err != nil {
		return r, err
	}
	var c jobs.Cost
	if n := r.Numbers["expired"]; n > 0 {
		c.Get, c.Put = 2+n, 1
		c.Remove(r.Numbers["objects"], r.Numbers["bytes"])
	}
	return u.priced(r, c), nil
}

// compactionCost: files are read, written anew, and what was written is read again.
func (u *upkeep) compactionCost(ctx context.Context, t owned, r *jobs.Report, err error) (*jobs.Report, error) {
	if err != nil {
		return r, err
	}
	l, err := u.layout(ctx, t.Ident, t.pipeline)
	if err != nil {
		return nil, err
	}
	var c jobs.Cost
	files, bytes, merges := r.Numbers["files"], r.Numbers["bytes"], r.Numbers["merges"]
	c.Read(files, bytes, l.Columns, l)
	c.Read(c.Write(bytes, merges, l), bytes, l.Columns, l)
	c.Commit(merges)
	return u.priced(r, c), nil
}

// rowsTask is the retention of rows: the columns of the offsets are read, and the files go with their snapshots.
func (u *upkeep) rowsTask(id table.Ident, p *configs.Pipeline, do func(ctx context.Context, dry bool) (*jobs.Report, error)) jobs.Task {
	t := retentionTask(id, do)
	plan := t.Plan
	t.Plan = func(ctx context.Context) (*jobs.Report, error) {
		r, err := plan(ctx)
		if err != nil {
			return r, err
		}
		l, err := u.layout(ctx, id, p)
		if err != nil {
			return nil, err
		}
		var c jobs.Cost
		if files := r.Numbers["files"]; files > 0 {
			const offsets = 4 // topic, partition, offset, epoch
			c.Read(files, r.Numbers["bytes"], offsets, l)
			c.Commit(1)
			c.Put += 2 // the round's objects
			c.FreeBytes = r.Numbers["bytes"]
		}
		return u.priced(r, c), nil
	}
	return t
}

// orphansCost: the folders of the tables and of the rounds are listed, and an empty snapshot is committed to every table.
func (u *upkeep) orphansCost(tables int, r *jobs.Report, err error) (*jobs.Report, error) {
	if err != nil {
		return r, err
	}
	var c jobs.Cost
	c.Listing(r.Numbers["listed_objects"], 2*int64(tables)+1)
	c.Commit(int64(tables))
	c.Remove(r.Numbers["orphans"], r.Numbers["bytes"])
	c.Delete += r.Numbers["uploads"]
	return u.priced(r, c), nil
}
