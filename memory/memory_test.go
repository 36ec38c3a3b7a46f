package memory

import (
	"strings"
	"testing"
)

func TestDivide(t *testing.T) {
	for _, pipelines := range []int{0, 1, 2, 7, 40} {
		least := Least(pipelines)
		for _, ceiling := range []int64{least, least + 1, 2 * least, 10 * least, 1 << 40} {
			l, err := Divide(ceiling, pipelines)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(max(1, pipelines))
			if sum := pages + n*l.Fetch + l.Go; sum > ceiling*9/10 || sum < ceiling*9/10-n {
				t.Errorf("%d MiB for %d: the shares are %d MiB", ceiling/mib, n, sum/mib)
			}
			if l.Fetch < leastFetch || l.Fetch > mostFetch || l.Work < n*leastWork || l.Work > l.Go*3/4 {
				t.Errorf("%d MiB for %d: %+v", ceiling/mib, n, l)
			}
		}
		if _, err := Divide(least-1, pipelines); err == nil || !strings.Contains(err.Error(), "MiB at least") {
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
