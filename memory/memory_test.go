package memory

import (
	"fmt"
	"strings"
	"testing"
)

func TestDivide(t *testing.T) {
	for _, pipelines := range []int{0, 1, 2, 7, 40} {
		lookups, windows := int64(pipelines%3)*80*mib, int64(pipelines%4)*64*mib
		needs := Needs{Pipelines: pipelines, Lookups: lookups, Windows: windows, Current: pipelines%2 == 0}
		least := Least(needs)
		for _, ceiling := range []int64{least, least + 1, 2 * least, 10 * least, 1 << 40} {
			l, err := Divide(ceiling, needs)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(max(1, pipelines))
			if sum := pages + n*l.Fetch + l.Go + windows*3/4; sum > ceiling*9/10 || sum < ceiling*9/10-n {
				t.Errorf("%d MiB for %d: the shares are %d MiB", ceiling/mib, n, sum/mib)
			}
			if l.Fetch < leastFetch || l.Fetch > mostFetch || l.Work < n*leastWork || l.Work > (l.Go-lookups-windows/4-l.Current)*3/4 || l.Lookups != lookups {
				t.Errorf("%d MiB for %d: %+v", ceiling/mib, n, l)
			}
			if needs.Current && (l.Current < leastCurrent || l.Current > mostCurrent) || !needs.Current && l.Current != 0 {
				t.Errorf("%d MiB for %d: the job current may take %d", ceiling/mib, n, l.Current)
			}
		}
		if _, err := Divide(least-1, needs); err == nil || !strings.Contains(err.Error(), "MiB at least") ||
			!strings.Contains(err.Error(), fmt.Sprintf("the job current with %d MiB", needs.current()/mib)) {
			t.Errorf("%d pipelines with a byte less than the least: %v", pipelines, err)
		}
	}
}

func TestWhoTakesMoreThanTheFairShareGivesBack(t *testing.T) {
	b := NewBudget(Limits{Work: 900})
	one, two, three := b.Share(), b.Share(), b.Share()
	names := map[*Share]string{one: "one", two: "two", three: "three"}
	set := func(s *Share, files, want int64) {
		t.Helper()
		if got := s.Set(Use{Files: files}); got != want {
			t.Errorf("%s takes %d and should free %d, not %d", names[s], files, got, want)
		}
	}
	set(one, 850, 0) // the others take nothing
	set(two, 50, 0)
	set(three, 100, 0) // the sum is too much, but it is not this one's fault
	set(two, 300, 0)   // nor this one's
	set(one, 850, 1250-787)
	set(two, 400, 400-262)
	set(one, 450, 950-787)
	set(one, 270, 0)
	set(two, 0, 0)
}

// TestLookupsHaveAPart: what lookups take within their part costs the pipelines nothing, and no more than half of their work beyond it.
func TestLookupsHaveAPart(t *testing.T) {
	b := NewBudget(Limits{Work: 900, Lookups: 500})
	one := b.Share()
	for _, c := range []struct{ lookups, files, excess int64 }{{500, 900, 0}, {600, 800, 0}, {600, 900, 200}, {5000, 450, 0}, {5000, 460, 460 - 450*7/8}} {
		b.Lookups(c.lookups)
		if got := one.Set(Use{Files: c.files}); got != c.excess {
			t.Errorf("lookups take %d, files %d: it should free %d, not %d", c.lookups, c.files, got, c.excess)
		}
	}
}
