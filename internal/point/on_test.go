//go:build chaos

package point

import (
	"testing"
	"time"
)

// A clock that jumps shows another time of day, while what passes between two readings stays true.
func TestOnlyTheWallClockJumps(t *testing.T) {
	before := Now()
	for _, jump := range []time.Duration{100 * time.Hour, -3 * time.Hour, 0} {
		state.order([]string{"clock", jump.String()})
		after := Now()
		if d := after.Sub(before); d < 0 || d > time.Minute {
			t.Errorf("after a jump of %v, %v have passed", jump, d)
		}
		if d := time.Until(time.Unix(0, after.UnixNano())) - jump; d < -time.Minute || d > time.Minute {
			t.Errorf("after a jump of %v the clock is off by %v more", jump, d)
		}
	}
}

func TestDiskIsFullUntilItIsNot(t *testing.T) {
	for _, want := range []string{"full", "free"} {
		state.order([]string{"disk", want})
		if err := Disk(); (err != nil) != (want == "full") {
			t.Errorf("disk %s: %v", want, err)
		}
	}
}

// A step that holds lets go when it is told to, and only the first time.
func TestHeldUntilReleased(t *testing.T) {
	state.order([]string{"arm", AfterFiles, "hold"})
	done := make(chan struct{})
	go func() {
		Hit(AfterFiles)
		close(done)
	}()
	for held := false; !held; {
		state.mu.Lock()
		held = len(state.held) == 1
		state.mu.Unlock()
	}
	select {
	case <-done:
		t.Error("the step did not hold")
	default:
	}
	state.order([]string{"release"})
	<-done
	Hit(AfterFiles)
}
