package obs

import "time"

// window is what rates are computed over.
const window = 60

// meter counts events of the last minute in buckets of a second.
type meter struct {
	counts [window]int64
	second int64 // of the newest bucket, Unix
	first  int64 // when counting began
}

func (m *meter) add(now time.Time, n int64) {
	m.advance(now)
	m.counts[m.second%window] += n
}

// advance empties the buckets of the seconds that passed without events.
func (m *meter) advance(now time.Time) {
	s := now.Unix()
	if m.first == 0 {
		m.first, m.second = s, s
	}
	for steps := 0; m.second < s && steps < window; steps++ {
		m.second++
		m.counts[m.second%window] = 0
	}
	m.second = max(m.second, s)
}

// perSecond is the mean over the last minute, or over the time since the first event if that is shorter.
func (m *meter) perSecond(now time.Time) float64 {
	if m.first == 0 {
		return 0
	}
	m.advance(now)
	var sum int64
	for _, n := range m.counts {
		sum += n
	}
	return float64(sum) / float64(min(window, m.second-m.first+1))
}
