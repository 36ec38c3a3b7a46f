package window

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// Audit recalculates all totals with SQL over the lake, adds the rows that Kafka has beyond it, and compares what is published. It is
// independent of the state that owners keep. It changes nothing, and is right beside them: only totals that differ each time they are looked at
// are wrong.
type Audit struct {
	Options
	Lake  Lake
	Kafka Kafka
	Rows  Rows
	// Totals answers a query of the columns key and total, both text, at a snapshot of the table.
	Totals func(ctx context.Context, query string, snapshot int64, each func(key, total string) error) error
	Now    func() time.Time

	view *view
	day  Day
	want map[string]Amount
}

// Audited is what an audit found.
type Audited struct {
	Keys     int      // that have a total
	Beyond   int64    // rows that the lake does not have yet
	Wrong    int      // totals
	Examples []string // of wrong ones
}

const (
	auditTries = 6
	auditPause = time.Second
	examples   = 5
)

// Run compares everything once, and what differs a few times more, as rows come in meanwhile.
func (a *Audit) Run(ctx context.Context) (out Audited, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("recalculating window %s: %w", a.Name, err)
		}
	}()
	a.day, a.want = DayOf(a.Now().In(a.Zone)), map[string]Amount{}
	at, err := a.lake(ctx)
	if err != nil {
		return out, err
	}
	in, err := a.Kafka.Read(at)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	var wrong map[string]string
	for try := range auditTries {
		n, err := a.beyond(ctx, in, at)
		if out.Beyond += n; err != nil {
			return out, err
		}
		now, err := a.compare(ctx)
		if err != nil {
			return out, err
		}
		if try > 0 {
			for key := range now {
				if _, ok := wrong[key]; !ok {
					delete(now, key)
				}
			}
		}
		if wrong = now; len(wrong) == 0 || try == auditTries-1 {
			break
		}
		t := time.NewTimer(auditPause)
		select {
		case <-ctx.Done():
			t.Stop()
			return out, ctx.Err()
		case <-t.C:
		}
	}
	if DayOf(a.Now().In(a.Zone)) != a.day {
		return out, errors.New("the day has changed meanwhile; run it again")
	}
	out.Keys, out.Wrong = len(a.want), len(wrong)
	for _, text := range wrong {
		out.Examples = append(out.Examples, text)
	}
	slices.Sort(out.Examples)
	out.Examples = out.Examples[:min(examples, len(out.Examples))]
	return out, nil
}

// lake calculates the totals of what is committed, and says where Kafka goes on.
func (a *Audit) lake(ctx context.Context) (map[Part]int64, error) {
	h, err := a.Lake.History(ctx)
	if err != nil {
		return nil, err
	}
	ends, err := a.Kafka.Inputs(ctx)
	if err != nil {
		return nil, err
	}
	o := New(a.Options, Deps{Lake: a.Lake})
	at, err := o.starts(h, ends)
	if err != nil || h.base == nil || h.base.Snapshot == 0 {
		return at, err
	}
	info, err := a.Lake.Catalog.Info(ctx, a.Lake.Table)
	if err != nil {
		return nil, err
	}
	query, err := a.SQL(a.Lake.Table.String(), info.Row, a.day)
	if err != nil {
		return nil, err
	}
	err = a.Totals(ctx, "SELECT key, CAST(total AS VARCHAR) AS total FROM ("+query+") AS totals", h.base.Snapshot, func(key, total string) error {
		amount, err := parseAmount(total)
		a.want[key] = amount
		return err
	})
	return at, err
}

// parseAmount reads digits, whatever the place of the point.
func parseAmount(text string) (sum Amount, err error) {
	digits, minus := strings.CutPrefix(strings.Replace(text, ".", "", 1), "-")
	ok := digits != ""
	for _, d := range []byte(digits) {
		var ok1, ok2 bool
		sum, ok1 = sum.times(small(10))
		sum, ok2 = sum.plus(small(int64(d - '0')))
		ok = ok && ok1 && ok2 && d >= '0' && d <= '9'
	}
	if !ok {
		return sum, fmt.Errorf("%q is no total", text)
	}
	if minus {
		sum = sum.neg()
	}
	return sum, nil
}

// beyond adds the rows from at up to where Kafka ends now, and moves at.
func (a *Audit) beyond(ctx context.Context, in Input, at map[Part]int64) (rows int64, err error) {
	ends, err := a.Kafka.Inputs(ctx)
	if err != nil {
		return 0, err
	}
	behind := func() bool {
		for p, next := range at {
			if next < ends[p].High {
				return true
			}
		}
		return false
	}
	rec := &batch.Records{}
	for behind() {
		rec.Reset()
		if err := in.Poll(ctx, rec, idle); err != nil {
			return rows, err
		}
		for _, s := range rec.Spans {
			at[Part{s.Topic, s.Partition}] = s.Next
		}
		if rec.Len() == 0 {
			continue
		}
		n, err := a.add(ctx, rec)
		if rows += n; err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// add adds the rows of some records.
func (a *Audit) add(ctx context.Context, rec *batch.Records) (rows int64, err error) {
	if err := a.Rows.Prepare(ctx, rec); err != nil {
		return 0, err
	}
	b, err := a.Rows.Apply(rec)
	if err != nil {
		return 0, err
	}
	if a.view == nil || a.view.row != a.Rows.Row() {
		if a.view, err = a.newView(a.Rows.Row()); err != nil {
			return 0, err
		}
	}
	amounts, err := a.view.amounts(b)
	if err != nil {
		return 0, err
	}
	floor := a.Length.Floor(a.day)
	for i, keep := range a.view.keep {
		if !keep {
			continue
		}
		if day := a.view.days.of(b.Root.Children[a.view.time], i); day <= floor || day > a.day {
			continue
		}
		key := string(a.view.keyText(b, i))
		amount, ok1 := amounts[i].times(a.view.lift)
		sum, ok2 := a.want[key].plus(amount)
		if !ok1 || !ok2 {
			return rows, fmt.Errorf("key %q: %w", key, errOverflow)
		}
		a.want[key] = sum
		rows++
	}
	return rows, nil
}

// compare reads the topic, and gives what is wrong by key.
func (a *Audit) compare(ctx context.Context) (map[string]string, error) {
	slots, err := a.Kafka.Slots(ctx)
	if err != nil {
		return nil, err
	}
	told := make(map[string]string, len(a.want))
	for n := range slots {
		err := a.Kafka.Published(ctx, n, func(key, value []byte) error {
			if value == nil {
				delete(told, string(key))
			} else {
				told[string(key)] = string(value)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	wrong := map[string]string{}
	for key, amount := range a.want {
		if total := string(amount.appendText(nil, a.Decimals)); told[key] != total {
			wrong[key] = fmt.Sprintf("the total of %q is %s, and the topic says %q", key, total, told[key])
		}
		delete(told, key)
	}
	zero := string(Amount{}.appendText(nil, a.Decimals))
	for key, total := range told {
		if total != zero {
			wrong[key] = fmt.Sprintf("%q has nothing in the window, and the topic says %q", key, total)
		}
	}
	return wrong, nil
}
