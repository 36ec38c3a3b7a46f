package pipeline

import (
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Rounds that are pending or young are not folded, nor are those behind them.
func TestFoldable(t *testing.T) {
	o := &RoundObjects{Root: "file:///w", Pipeline: "p"}
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	mark := func(n int64, age time.Duration) objects.Info {
		return objects.Info{URI: o.dir("u", "committed") + committedName(n), Modified: now.Add(-age)}
	}
	marks := []objects.Info{mark(3, 2*FoldAge), mark(4, FoldAge), mark(6, FoldAge-time.Second), mark(7, 2*FoldAge)}
	for _, c := range []struct {
		name    string
		marks   []objects.Info
		pending []table.Pending
		want    int64
	}{
		{"all are old", marks[:2], nil, 9},
		{"the sixth is young", marks, nil, 5},
		{"the fifth is pending", marks, []table.Pending{{Number: 5, ID: "x"}, {Number: 8, ID: "y"}}, 4},
		{"the eighth is pending", marks[:2], []table.Pending{{Number: 8, ID: "y"}}, 7},
		{"there are none", nil, nil, 9},
	} {
		if got := o.foldable("u", c.marks, &table.Ledger{Number: 9, Pending: c.pending}, now); got != c.want {
			t.Errorf("%s: up to %d, want %d", c.name, got, c.want)
		}
	}
}
