package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// threshold stops a pipeline that makes too many dead letters. It looks at the rounds that this loader committed within the
// window and at the open round whole. The open round that crosses it is dropped, so that everything in it is read again when
// the cause is mended; rounds before it stay committed.
type threshold struct {
	cfg  configs.DeadLetters
	past []tally // of committed rounds, oldest first
	open tally
}

// tally counts records and what became of them.
type tally struct {
	at            time.Time // of the commit
	records, dead int64
	reasons       map[string]int64
}

const (
	// leastSample is how many records make a share: one bad record of two says nothing.
	leastSample = 100
	// knownReasons bounds what is remembered: a reason may quote the record.
	knownReasons = 1000
	// toldReasons is how many the explanation names.
	toldReasons = 3
)

// on: there is a threshold. Where records are only tried out there is none at all.
func (h *threshold) on() bool { return h != nil && (h.cfg.MaxShare > 0 || h.cfg.MaxCount > 0) }

// take adds a fetch to the open round; an error says that there are too many dead letters.
func (h *threshold) take(now time.Time, b *batch.Batch, ts *tracks) error {
	if !h.on() {
		return nil
	}
	for _, x := range ts.runs {
		if x.t.stopped == nil {
			h.open.records += int64(x.to - x.from)
		}
	}
	before := h.open.dead
	for _, r := range b.Rejects {
		if t := ts.m[table.Key{Topic: b.Topics[b.Topic[r.Record]], Partition: b.Partition[r.Record]}]; t.stopped == nil {
			h.open.dead++
			h.open.reason(rejectedBy(r.Stage, r.Step)+": "+r.Reason, 1)
		}
	}
	if h.open.dead == before {
		return nil
	}
	return h.judge(now)
}

// judge says whether there are too many.
func (h *threshold) judge(now time.Time) error {
	h.past = slices.DeleteFunc(h.past, func(t tally) bool { return now.Sub(t.at) > time.Duration(h.cfg.Window) })
	all := tally{records: h.open.records, dead: h.open.dead}
	for _, t := range h.past {
		all.records, all.dead = all.records+t.records, all.dead+t.dead
	}
	var crossed string
	switch {
	case h.cfg.MaxCount > 0 && all.dead > h.cfg.MaxCount:
		crossed = fmt.Sprintf("dead_letters.max_count is %d", h.cfg.MaxCount)
	case h.cfg.MaxShare > 0 && all.records >= leastSample && h.cfg.MaxShare.Exceeded(all.dead, all.records):
		crossed = fmt.Sprintf("dead_letters.max_share is %v", h.cfg.MaxShare)
	default:
		return nil
	}
	for _, t := range append(h.past, h.open) {
		for why, n := range t.reasons {
			all.reason(why, n)
		}
	}
	return fmt.Errorf("%w: %d of the last %d records became dead letters, and %s (within %v): the open round is dropped and will be read again after a restart. Most frequent: %s",
		ErrStop, all.dead, all.records, crossed, h.cfg.Window, all.most())
}

func (t *tally) reason(why string, n int64) {
	if t.reasons == nil {
		t.reasons = map[string]int64{}
	}
	if _, known := t.reasons[why]; !known && len(t.reasons) >= knownReasons {
		return
	}
	t.reasons[why] += n
}

// most names the most frequent reasons.
func (t *tally) most() string {
	list := slices.SortedFunc(maps.Keys(t.reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.reasons[b], t.reasons[a]), strings.Compare(a, b))
	})
	var out []string
	for _, why := range list[:min(len(list), toldReasons)] {
		out = append(out, fmt.Sprintf("%d times %s", t.reasons[why], why))
	}
	return strings.Join(out, "; ")
}

// committed moves the open round into the window.
func (h *threshold) committed(now time.Time) {
	if !h.on() {
		return
	}
	if h.open.records > 0 {
		h.open.at = now
		h.past = append(h.past, h.open)
	}
	h.open = tally{}
}

// dropped forgets the open round: it is read again.
func (h *threshold) dropped() {
	if h.on() {
		h.open = tally{}
	}
}
