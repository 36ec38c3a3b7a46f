package rewrite

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// made gives a cursor at the first of rows with some keys.
func made(all [][]byte) *cursor {
	c := &cursor{}
	for i, key := range all {
		c.keys.heads, c.keys.tails = append(c.keys.heads, head(key)), append(c.keys.tails, head(key[min(8, len(key)):]))
		c.keys.mem = append(c.keys.mem, key...)
		c.keys.ends = append(c.keys.ends, len(c.keys.mem))
		c.rows = append(c.rows, int32(i))
	}
	return c
}

// Rows of several runs come in order, equal ones in the order of the runs, whether they are taken one by one or in stretches.
func TestMergingOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		distinct, length := rapid.SampledFrom([]int{1, 2, 5, 300, 1 << 20}).Draw(rt, "distinct"), rapid.SampledFrom([]int{1, 3, 8, 12, 16, 21}).Draw(rt, "length")
		key := func() []byte {
			k := binary.BigEndian.AppendUint64(make([]byte, 16), uint64(rnd.IntN(distinct)))
			if rnd.IntN(20) == 0 { // like the place of a run that has ended
				k = []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
			}
			return k[len(k)-length:]
		}
		type place struct {
			key      string
			run, row int
		}
		var want, got []place
		n := rapid.IntRange(1, 9).Draw(rt, "runs")
		m := newMerging(n)
		for run := range n {
			all := make([][]byte, 1+rnd.IntN(200))
			for i := range all {
				all[i] = key()
			}
			slices.SortFunc(all, slices.Compare[[]byte])
			for row, k := range all {
				want = append(want, place{string(k), run, row})
			}
			m.runs = append(m.runs, made(all))
			m.load(int32(run), true)
		}
		slices.SortStableFunc(want, func(a, b place) int { return slices.Compare([]byte(a.key), []byte(b.key)) })
		m.begin()
		for m.left > 0 {
			w := m.tree[0]
			c, n, whole := m.runs[w], 1, rnd.IntN(2) == 0
			if whole {
				if n = m.stretch(); n < 1 {
					rt.Fatal("a stretch of no rows")
				}
			}
			for _, row := range c.rows[c.at : c.at+n] {
				got = append(got, place{string(c.keys.key(int(row))), int(w), int(row)})
			}
			c.at += n
			m.load(w, c.at < len(c.rows))
			m.replay()
			if whole && c.at < len(c.rows) && m.tree[0] == w {
				rt.Fatalf("a stretch of %d rows ends too early", n)
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatal(fmt.Sprint("the order is wrong: ", len(got), " rows of ", len(want)))
		}
	})
}
