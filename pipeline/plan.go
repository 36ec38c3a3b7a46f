package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// PlanReport is what a pipeline would do, from a sample of real records.
type PlanReport struct {
	Pipeline    string         `json:"pipeline"`
	Table       string         `json:"table"`
	Exists      bool           `json:"table_exists"`
	Columns     []PlanColumn   `json:"columns"`
	PartitionBy []string       `json:"partition_by"`
	Partitions  int            `json:"kafka_partitions"`
	Sampled     int            `json:"sampled_records"`
	Rows        int            `json:"rows"`
	Filtered    map[string]int `json:"filtered,omitempty"`
	// Rejected counts dead letters by stage, step and reason.
	Rejected map[string]int `json:"dead_letters,omitempty"`
	// Routed counts the rows of each table, when there are several.
	Routed map[string]int `json:"rows_by_table,omitempty"`
	// TablePartitions counts the sample's rows by partition folder.
	TablePartitions map[string]int `json:"table_partitions"`
	BytesPerRecord  float64        `json:"bytes_per_record"`
	// RecordsPerSecond is the topics' rate over the last hour.
	RecordsPerSecond float64 `json:"records_per_second"`
	// FileBytes is the expected size of a file: one a partition folder and commit, up to the target size.
	FileBytes   int64            `json:"expected_file_bytes"`
	Expressions []PlanExpression `json:"expressions,omitempty"`
	Hints       []string         `json:"hints,omitempty"`
}

// PlanColumn is a column of the table.
type PlanColumn struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required"`
}

// PlanExpression says how a CEL expression runs.
type PlanExpression struct {
	Step       string `json:"step"`
	Expression string `json:"expression"`
	Kernels    bool   `json:"kernels"`
	Why        string `json:"why,omitempty"`
}

// Plan samples up to n records from the ends of the topics, without joining the pipeline's group, and says what the
// pipeline would do with them. It writes nothing but a temporary file.
func Plan(ctx context.Context, cfg *configs.Config, i, n int, d Deps) (rep *PlanReport, err error) {
	p := &cfg.Pipelines[i]
	rep = &PlanReport{Pipeline: p.Name, Table: d.Primary.String(), PartitionBy: p.Table.PartitionBy, Filtered: map[string]int{}, Rejected: map[string]int{}, Routed: map[string]int{}, TablePartitions: map[string]int{}}
	recs, err := sample(ctx, p, n, d, rep)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lakeloader-plan-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &stages{cfg: p, sampling: true, letters: newDeadLetters(p.Name, Version), primaryTable: d.Primary, deadTable: d.DeadLetters}
	if p.Table.Route != nil {
		if s.routes, err = newRoutes(ctx, p, d); err != nil {
			return nil, err
		}
	}
	s.d = d
	s.d.Objects, s.d.Catalog = objects.NewLocal(), &planCatalog{location: "file://" + dir}
	if s.decoder, err = d.NewDecoder(s.accepts); err != nil {
		return nil, err
	}
	if err := s.decoder.Bootstrap(ctx, topicsOf(recs.parts)); err != nil {
		return nil, err
	}
	if _, err := s.decoder.Prepare(ctx, &recs.Records); err != nil {
		return nil, err
	}
	if !s.decoder.Known() {
		return nil, fmt.Errorf("pipeline %s: no schema is registered yet, and there is no record to learn one from", p.Name)
	}
	checked, problems := Check(cfg, nil, i, s.decoder.Row(), s.decoder.KeyRow(), d.Lookup)
	if len(problems) > 0 {
		return nil, problems.Err()
	}
	if err := s.ensure(ctx, &s.dead, table.Def{Ident: d.DeadLetters, Row: deadLetterRow(), PartitionBy: deadLetterPartitioning()}, nil); err != nil {
		return nil, err
	}
	if err := s.rebuild(ctx); err != nil {
		return nil, err
	}
	for _, f := range checked.Table.Fields {
		rep.Columns = append(rep.Columns, PlanColumn{f.Name, f.Type.String(), f.Required})
	}
	for _, e := range checked.Expressions {
		rep.Expressions = append(rep.Expressions, PlanExpression{e.Step, e.Expression, e.Kernels, e.Why})
	}
	if _, err := d.Catalog.Info(ctx, d.Primary); err == nil {
		rep.Exists = true
	} else if !errors.Is(err, table.ErrNoTable) {
		return nil, err
	}
	return rep, rep.measure(ctx, p, s, recs)
}

// sampled is records with the partitions that they could have come from.
type sampled struct {
	batch.Records
	parts []source.Partition
}

// sample reads from n records before the ends.
func sample(ctx context.Context, p *configs.Pipeline, n int, d Deps, rep *PlanReport) (*sampled, error) {
	parts, err := d.Topics.Partitions(ctx, p.Source)
	if err != nil {
		return nil, err
	}
	s := &sampled{parts: parts}
	marks, err := d.Topics.Watermarks(ctx, parts)
	if err != nil {
		return nil, err
	}
	hour, err := d.Topics.OffsetsForTime(ctx, parts, d.Now().Add(-time.Hour))
	if err != nil {
		return nil, err
	}
	h := &sampler{start: map[source.Partition]int64{}}
	each := int64(n/max(1, len(parts)) + 1)
	want := int64(0)
	for _, part := range parts {
		m := marks[part]
		h.start[part] = max(m.Low, m.High-each)
		want += m.High - h.start[part]
		rep.RecordsPerSecond += float64(m.High-hour[part]) / 3600
	}
	rep.Partitions = len(parts)
	if want == 0 {
		return s, nil
	}
	c, err := d.NewConsumer(h)
	if err != nil {
		return nil, err
	}
	last := d.Now()
	for err == nil && s.Len() < n && !h.complete(s.Spans, marks) && d.Now().Sub(last) < 10*time.Second {
		before := s.Len()
		if err = c.Poll(ctx, &s.Records, 200*time.Millisecond); s.Len() > before {
			last = d.Now()
		}
	}
	return s, errors.Join(err, c.Close())
}

// sampler is the handler of a group of its own.
type sampler struct{ start map[source.Partition]int64 }

// Assigned implements source.Handler.
func (h *sampler) Assigned(_ context.Context, ps []source.Partition) (map[source.Partition]int64, error) {
	out := map[source.Partition]int64{}
	for _, p := range ps {
		out[p] = h.start[p]
	}
	return out, nil
}

// Revoked implements source.Handler.
func (h *sampler) Revoked(context.Context, []source.Partition, bool) {}

// complete: every partition was read to its end.
func (h *sampler) complete(spans []batch.Span, marks map[source.Partition]source.Watermarks) bool {
	at := maps.Clone(h.start)
	for _, s := range spans {
		at[source.Partition{Topic: s.Topic, Partition: s.Partition}] = s.Next
	}
	for p, next := range at {
		if next < marks[p].High {
			return false
		}
	}
	return true
}

// measure brings the sample through the stages.
func (rep *PlanReport) measure(ctx context.Context, p *configs.Pipeline, s *stages, recs *sampled) error {
	rep.Sampled = recs.Len()
	ts := &tracks{}
	for i := 0; i < recs.Len(); {
		j, k := i, table.Key{Topic: recs.Topics[recs.Topic[i]], Partition: recs.Partition[i]}
		for ; j < recs.Len() && recs.Topic[j] == recs.Topic[i] && recs.Partition[j] == recs.Partition[i]; j++ {
			continue
		}
		if ts.m[k] == nil {
			ts.add(newTrack(k, false, table.Record{}))
		}
		ts.runs = append(ts.runs, run{ts.m[k], i, j})
		i = j
	}
	b, err := s.run(ctx, &recs.Records, ts)
	if err != nil {
		return err
	}
	for step, list := range b.FilteredBy {
		rep.Filtered[step] = len(list)
	}
	for _, r := range b.Rejects {
		rep.Rejected[rejectedBy(r.Stage, r.Step)+": "+r.Reason]++
	}
	tables, err := s.finish(ctx)
	if err != nil {
		return err
	}
	var size int64
	files := 0                                 // how many a round has, one a table and partition
	for _, t := range tables[:len(tables)-1] { // the last is for dead letters
		folders := map[string]bool{}
		for _, f := range t.Files {
			rep.Rows += int(f.Rows)
			size += f.Size
			rep.TablePartitions[folderOf(f.Path)] += int(f.Rows)
			folders[folderOf(f.Path)] = true
			if s.routes != nil {
				rep.Routed[t.Table.String()] += int(f.Rows)
			}
		}
		files += len(folders)
	}
	if rep.Rows > 0 {
		rep.BytesPerRecord = float64(size) / float64(rep.Rows)
	}
	folders := max(1, len(rep.TablePartitions))
	rep.FileBytes = min(int64(rep.RecordsPerSecond*time.Duration(p.Commit.Interval).Seconds()*rep.BytesPerRecord/float64(max(1, files))), int64(p.Files.TargetSize))
	if recs.Len() == 0 {
		rep.Hints = append(rep.Hints, "the topics are empty: the columns come from the schema alone")
	}
	if rep.FileBytes > 0 && rep.FileBytes < 8<<20 {
		rep.Hints = append(rep.Hints, fmt.Sprintf("files will be about %d KiB: a longer commit.interval, or coarser partitions, makes them larger", rep.FileBytes>>10))
	}
	if folders > 50 && folders*4 > rep.Rows {
		rep.Hints = append(rep.Hints, fmt.Sprintf("%d rows fall into %d partitions of the table: partition_by is too fine", rep.Rows, folders))
	}
	return nil
}

// folderOf is the partition folder of a data file: what is between data/ and the file's name.
func folderOf(file string) string {
	_, rest, _ := strings.Cut(file, "/data/")
	return path.Dir(rest)
}

// planCatalog stands in for the catalog: tables get field ids and no one sees them.
type planCatalog struct {
	table.Catalog
	location string
}

// Ensure implements table.Catalog.
func (c *planCatalog) Ensure(_ context.Context, def table.Def) (table.Info, error) {
	next := 0
	info := table.Info{Ident: def.Ident, UUID: "plan", Location: c.location + "/" + def.Ident.Name, Row: number(def.Row, &next), PartitionBy: slices.Clone(def.PartitionBy)}
	for i := range info.PartitionBy {
		info.PartitionBy[i].FieldID = 1000 + i
		if at := info.Row.Index(info.PartitionBy[i].Source); at >= 0 {
			info.PartitionBy[i].SourceID = info.Row.Fields[at].ID
		}
	}
	return info, nil
}

// Info implements table.Catalog.
func (c *planCatalog) Info(context.Context, table.Ident) (table.Info, error) {
	return table.Info{}, table.ErrNoTable
}

// number gives every field an id.
func number(t *batch.Type, next *int) *batch.Type {
	if len(t.Fields) == 0 {
		return t
	}
	c := *t
	c.Fields = slices.Clone(t.Fields)
	for i := range c.Fields {
		*next++
		c.Fields[i].ID = *next
		c.Fields[i].Type = number(c.Fields[i].Type, next)
	}
	return &c
}
