package measures

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestAssembleTrouble: an engine that fails, or whose statements do not agree about the groups, is told as such.
func TestAssembleTrouble(t *testing.T) {
	p := compile(t, Definition{GroupBy: []string{"campaign"}, Measures: []Measure{{"n", "count(*)"}, {"ips", "approx_distinct(ip)"}, {"p", "percentile(ms, 0.5)"}}})
	lost := errors.New("connection lost")
	for name, c := range map[string]struct {
		ips  [][]any
		err  error
		want string
	}{
		"fails at once":      {nil, lost, "connection lost"},
		"fails later":        {[][]any{{int64(1), "5"}}, lost, "connection lost"},
		"lacks a group":      {[][]any{{int64(1), "5"}}, nil, "measure ips: the engine gave the sketches of 1 groups, and 2 groups"},
		"has one more":       {[][]any{{int64(1), "5"}, {int64(2), "5"}, {int64(3), nil}}, nil, "measure ips: the engine gave a sketch for the group [3]"},
		"has another":        {[][]any{{int64(1), "5"}, {int64(3), "5"}}, nil, "the sketch of the group [3] where that of [2] was due"},
		"null is a group":    {[][]any{{nil, "5"}}, nil, "the sketch of the group [<nil>] where that of [1] was due"},
		"gives no registers": {[][]any{{int64(1), "x"}}, nil, `measure ips, group [1]: "x" is no register`},
		"gives wrong ones":   {[][]any{{int64(1), "99999999"}}, nil, "measure ips, group [1]: 99999999 is no register"},
		"cuts a bitmap":      {[][]any{{int64(1), []byte{1}}}, nil, "measure ips, group [1]: the bitmap of a sketch has 1 bytes"},
		"gives a number":     {[][]any{{int64(1), int64(5)}}, nil, "a int64 came instead of a sketch"},
	} {
		for range 50 { // whichever of the goroutines is first
			err := p.Assemble(t.Context(), Trino, date(2026, 11, 1), 0, func(_ context.Context, s Statement, each func([]any) error) error {
				rows := [][]any{{int64(1), int64(1)}, {int64(2), int64(1)}}
				switch {
				case s.out != nil && s.out.fn == fnDistinct:
					rows = c.ips
				case s.out != nil:
					rows = [][]any{{int64(1), "100001:1"}, {int64(2), "0:1"}}
				}
				for _, row := range rows {
					if err := each(row); err != nil {
						return err
					}
				}
				if s.out != nil && s.out.fn == fnDistinct {
					return c.err
				}
				return nil
			}, func([]any) error { return nil })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("an engine that %s: %v", name, err)
			}
		}
	}
	full := errors.New("disk full")
	err := p.Assemble(t.Context(), Trino, date(2026, 11, 1), 0, func(_ context.Context, s Statement, each func([]any) error) error {
		for i := range int64(1000) {
			v := any(i)
			if s.out != nil {
				v = nil
			}
			if err := each([]any{i, v}); err != nil {
				return err
			}
		}
		return nil
	}, func([]any) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("emit failed, and %v came", err)
	}
}
