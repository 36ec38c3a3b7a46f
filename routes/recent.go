package routes

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"
)

// mostRecent bounds how many rows are remembered to find repetitions: with more of them in the window the oldest are forgotten.
const mostRecent = 10_000

// recent remembers what was sent. A row is a repetition of one with the same values whose timestamp is within the window before
// it, or after it.
type recent struct {
	window time.Duration
	at     map[string]int64 // Unix milliseconds, by a hash
	newest int64
}

func newRecent(window time.Duration) *recent { return &recent{window: window, at: map[string]int64{}} }

func (r *recent) restore(at map[string]int64) {
	r.at, r.newest = maps.Clone(at), 0
	if r.at == nil {
		r.at = map[string]int64{}
	}
	for _, ms := range r.at {
		r.newest = max(r.newest, ms)
	}
}

func hashOf(same string) string {
	h := sha256.Sum256([]byte(same))
	return hex.EncodeToString(h[:12])
}

func stampOf(row *Row, now time.Time) int64 {
	if row.Timestamp < 0 {
		return now.UnixMilli()
	}
	return row.Timestamp
}

func (r *recent) has(row *Row, now time.Time) bool {
	if row.Same == "" {
		return false
	}
	was, ok := r.at[hashOf(row.Same)]
	d := stampOf(row, now) - was
	return ok && max(d, -d) < r.window.Milliseconds()
}

func (r *recent) add(row *Row, now time.Time) {
	if row.Same == "" {
		return
	}
	ms := stampOf(row, now)
	r.at[hashOf(row.Same)] = ms
	r.newest = max(r.newest, ms)
	if len(r.at) <= mostRecent {
		return
	}
	for k, was := range r.at {
		if was <= r.newest-r.window.Milliseconds() {
			delete(r.at, k)
		}
	}
	if len(r.at) > mostRecent { // an eighth at once, so that it is not done for every row
		oldest := slices.SortedFunc(maps.Keys(r.at), func(a, b string) int { return int(min(max(r.at[a]-r.at[b], -1), 1)) })
		for _, k := range oldest[:len(oldest)/8] {
			delete(r.at, k)
		}
	}
}
