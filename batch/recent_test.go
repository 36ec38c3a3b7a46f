package batch

import (
	"fmt"
	"testing"
)

// Equal texts get one place, and every view leads to its text, also after the arena was emptied and filled with others.
func TestRecent(t *testing.T) {
	var r Recent
	for round := range 3 {
		var mem []byte
		views := map[View]string{}
		for i := range 1000 {
			s := fmt.Sprint("text", (i+round)%7)
			if i%10 == 0 {
				s = fmt.Sprint("another", round, i)
			}
			var v View
			mem, v = r.Append(mem, []byte(s))
			if old, again := views[v]; again && old != s {
				t.Fatalf("%q lies where %q does", s, old)
			}
			views[v] = s
		}
		for v, s := range views {
			if got := string(mem[v.Off : v.Off+v.Len]); got != s {
				t.Errorf("%q instead of %q", got, s)
			}
		}
		if len(views) > 300 {
			t.Errorf("%d places for 107 texts", len(views))
		}
		if _, v := r.Append(mem, nil); v != (View{}) {
			t.Errorf("nothing lies at %v", v)
		}
	}
}
