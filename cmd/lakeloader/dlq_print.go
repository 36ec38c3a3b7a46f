package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lakeloader/lakeloader/pipeline"
)

func printGroups(w io.Writer, list []pipeline.LetterGroup) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "count\treplayed\tstage\tstep\tfirst\tlast\texample\terror")
	n := int64(0)
	for _, g := range list {
		fmt.Fprintf(tw, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Count, g.Replayed, g.Stage, g.Step, moment(g.First), moment(g.Last), g.Sample, line(g.Error))
		n += g.Count
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, count(n, "dead letter"))
	return err
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.RFC3339)
}

// line keeps what came from outside from breaking a table or moving the cursor.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func printLetters(w io.Writer, list []pipeline.Letter) error {
	for i, l := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printLetter(w, &l); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "There are none.")
		return err
	}
	return nil
}

func printLetter(w io.Writer, l *pipeline.Letter) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(tw, "%s\t%s\n", name, value) }
	row("record", fmt.Sprintf("%s-%d-%d", l.Topic, l.Partition, l.Offset))
	if l.Epoch > 0 {
		row("epoch", fmt.Sprint(l.Epoch))
	}
	if l.Timestamp != nil {
		row("timestamp", l.Timestamp.Format(time.RFC3339Nano))
	}
	row("refused by", strings.TrimSuffix(l.Stage+", "+line(l.Step), ", "))
	row("reason", line(l.Error))
	row("failed at", moment(l.FailedAt))
	row("pipeline", strings.TrimSuffix(l.Pipeline+", version "+l.Version, ", version "))
	if l.ReplayedAt != nil {
		row("replayed", fmt.Sprintf("%s, round %d", moment(*l.ReplayedAt), l.ReplayedRound))
	}
	if l.SchemaID != 0 {
		row("schema id", fmt.Sprint(l.SchemaID))
	}
	if l.KeySchemaID != 0 {
		row("key's schema id", fmt.Sprint(l.KeySchemaID))
	}
	payload := func(name string, p *pipeline.Payload) {
		switch {
		case p == nil:
			row(name, "null")
			return
		case p.Text != nil:
			row(name, line(*p.Text))
		}
		row(name+" (hex)", p.Hex)
	}
	payload("key", l.Key)
	payload("value", l.Value)
	for _, h := range l.Headers {
		payload("header "+line(h.Name), h.Value)
	}
	return tw.Flush()
}

func printReplay(w io.Writer, r *pipeline.ReplayReport, dry bool) error {
	fmt.Fprintf(w, "pipeline %s, table %s\n\n%s: %s", r.Pipeline, r.Table, count(r.Letters, "dead letter"), count(r.Rows, "row"))
	for _, step := range slices.Sorted(maps.Keys(r.Filtered)) {
		fmt.Fprintf(w, ", %d filtered by %s", r.Filtered[step], line(step))
	}
	failed := int64(0)
	for _, g := range r.Failed {
		failed += g.Count
	}
	fmt.Fprintf(w, ", %d refused again.\n", failed)
	if failed > 0 {
		fmt.Fprintln(w)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "count\tstage\tstep\texample\terror")
		for _, g := range r.Failed {
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\n", g.Count, g.Stage, line(g.Step), g.Sample, line(g.Error))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	var err error
	switch {
	case r.Done:
		_, err = fmt.Fprintf(w, "Done, in round %d.\n", r.Round)
	case dry:
		_, err = fmt.Fprintln(w, "Nothing was changed (--dry-run).")
	default:
		_, err = fmt.Fprintln(w, "There was nothing to change.")
	}
	return err
}

func printPurge(w io.Writer, r *pipeline.PurgeReport) error {
	fmt.Fprintf(w, "pipeline %s, table %s\n\n%s: %d replayed, %d never replayed.\n", r.Pipeline, r.Table, count(r.Letters, "dead letter"), r.Replayed, r.Letters-r.Replayed)
	return conclude(w, r.Done, r.Round, int(r.Letters))
}
