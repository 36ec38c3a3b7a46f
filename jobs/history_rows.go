package jobs

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// Columns of the history's table.
const (
	runID      = "run"
	runJob     = "job"
	runTarget  = "target"
	runStarted = "started"
	runEnded   = "ended"
	runOutcome = "outcome"
	runSummary = "summary"
	runError   = "error"
	runNumbers = "numbers"
	runOwner   = "owner"
)

// Outcomes of a run.
const (
	succeeded = "succeeded"
	failed    = "failed"
)

// historyRow is the row type of the history's table, whose rows are ended runs.
func historyRow() *batch.Type {
	column := func(name string, t *batch.Type, required bool, doc string) batch.Field {
		return batch.Field{Name: name, Type: t, Required: required, Doc: doc}
	}
	text := func() *batch.Type { return batch.Prim(batch.String) }
	return batch.StructOf(
		column(runID, text(), true, "name of the run, unique"),
		column(runJob, text(), true, "name of the job"),
		column(runTarget, text(), true, "table that it ran on, or all-tables"),
		column(runStarted, batch.Prim(batch.TimestampTZ), true, "when it began"),
		column(runEnded, batch.Prim(batch.TimestampTZ), true, "when it ended"),
		column(runOutcome, text(), true, "succeeded or failed"),
		column(runSummary, text(), false, "what it did"),
		column(runError, text(), false, "why it failed"),
		column(runNumbers, batch.MapOf(text(), batch.Prim(batch.Long), true), false, "what it did in numbers, by what they count"),
		column(runOwner, text(), true, "process that ran it"),
	)
}

func historyDef(id table.Ident) table.Def {
	return table.Def{Ident: id, Row: historyRow(),
		PartitionBy: []table.PartitionField{{Source: runStarted, Transform: "month", Name: runStarted + "_month"}}}
}

// HistoryRows makes rows of runs, for the history's table.
func HistoryRows(runs []Ended) *batch.Batch {
	b := batch.New(&batch.Records{}, historyRow())
	columns := map[string]*batch.Column{}
	for i, f := range b.Root.Type.Fields {
		columns[f.Name] = b.Root.Children[i]
	}
	text := func(column, value string) { columns[column].AppendView(b.AppendString(value)) }
	optional := func(column, value string) {
		if value == "" {
			columns[column].AppendNull()
			return
		}
		text(column, value)
	}
	for i, r := range runs {
		report := r.Done
		if report == nil {
			report = &Report{}
		}
		text(runID, r.Name)
		text(runJob, r.Job)
		text(runTarget, r.Target)
		columns[runStarted].AppendInt64(r.Started.UnixMicro())
		columns[runEnded].AppendInt64(r.Ended.UnixMicro())
		if r.Error == "" {
			text(runOutcome, succeeded)
		} else {
			text(runOutcome, failed)
		}
		optional(runSummary, report.Summary)
		optional(runError, r.Error)
		numbers := columns[runNumbers]
		for _, name := range slices.Sorted(maps.Keys(report.Numbers)) {
			numbers.Children[0].AppendView(b.AppendString(name))
			numbers.Children[1].AppendInt64(report.Numbers[name])
		}
		if len(report.Numbers) == 0 {
			numbers.AppendNull()
		} else {
			numbers.AppendList()
		}
		text(runOwner, r.Owner)
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	return b
}

// startedBefore are the files of a history's table all of whose runs began before a time, by their upper bounds. A file
// without one stays.
func startedBefore(info table.Info, files []table.File, t time.Time) (paths []string) {
	at := info.Row.Index(runStarted)
	if at < 0 {
		return nil
	}
	for _, f := range files {
		if last := f.UpperBounds[info.Row.Fields[at].ID]; len(last) == 8 && int64(binary.LittleEndian.Uint64(last)) < t.UnixMicro() {
			paths = append(paths, f.Path)
		}
	}
	return paths
}
