package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// fetched is a fetch of records of one partition, the first ones rejected for a reason each.
func fetched(records int, reasons ...string) (*batch.Batch, *tracks) {
	r := &batch.Records{Topics: []string{"a"}}
	b := &batch.Batch{Records: r}
	for i := range records {
		r.Topic, r.Partition, r.Offset = append(r.Topic, 0), append(r.Partition, 0), append(r.Offset, int64(i))
	}
	for i, why := range reasons {
		b.Rejects = append(b.Rejects, batch.Reject{Record: int32(i), Stage: "cleanse", Step: "s", Reason: why})
	}
	ts := &tracks{}
	ts.add(newTrack(table.Key{Topic: "a"}, false, table.Record{}))
	ts.runs = []run{{ts.m[table.Key{Topic: "a"}], 0, records}}
	return b, ts
}

func TestThreshold(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	h := &threshold{cfg: configs.DeadLetters{MaxCount: 3, Window: configs.Duration(time.Minute)}}
	take := func(after time.Duration, records int, reasons ...string) error {
		b, ts := fetched(records, reasons...)
		return h.take(start.Add(after), b, ts)
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(take(0, 5, "x", "x"))
	h.dropped() // it is read again
	ok(take(0, 5, "x", "x"))
	h.committed(start)
	ok(take(time.Second, 1, "y"))
	err := take(2*time.Second, 1, "y")
	if !errors.Is(err, ErrStop) || !strings.Contains(err.Error(), "4 of the last 7 records") || !strings.HasSuffix(err.Error(), "2 times cleanse: s: x; 2 times cleanse: s: y") {
		t.Errorf("%v", err)
	}
	h.dropped()
	ok(take(time.Minute, 1, "z"))
	if err := take(time.Minute+time.Millisecond, 2, "z", "z"); err != nil {
		t.Errorf("the first round lies before the window: %v", err)
	}
	if err := take(time.Minute+time.Millisecond, 2, "z"); err == nil {
		t.Error("four in the open round")
	}
}

func TestThresholdShareNeedsASample(t *testing.T) {
	h := &threshold{cfg: configs.DeadLetters{MaxShare: 500_000, Window: configs.Duration(time.Minute)}}
	b, ts := fetched(leastSample-1, make([]string, leastSample-1)...)
	if err := h.take(time.Now(), b, ts); err != nil {
		t.Errorf("a few records: %v", err)
	}
	if b, ts = fetched(1, ""); h.take(time.Now(), b, ts) == nil {
		t.Error("all of 100 are bad")
	}
}

// Records of a stopped topic are not loaded, so they do not count; nor is what is remembered without bounds.
func TestThresholdBounds(t *testing.T) {
	h := &threshold{cfg: configs.DeadLetters{MaxCount: 1 << 40, Window: configs.Duration(time.Minute)}}
	var reasons []string
	for i := range 3 * knownReasons {
		reasons = append(reasons, fmt.Sprint(i))
	}
	b, ts := fetched(len(reasons), reasons...)
	if err := h.take(time.Now(), b, ts); err != nil || len(h.open.reasons) != knownReasons || h.open.dead != int64(len(reasons)) {
		t.Errorf("%v: %d reasons, %d dead", err, len(h.open.reasons), h.open.dead)
	}
	h.dropped()
	ts.m[table.Key{Topic: "a"}].stopped = errors.New("gone")
	if err := h.take(time.Now(), b, ts); err != nil || h.open.dead != 0 || h.open.records != 0 {
		t.Errorf("%v: %+v", err, h.open)
	}
	var none *threshold
	if err := none.take(time.Now(), b, ts); err != nil {
		t.Error(err)
	}
}
