package configs

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// String gives the duration as it is written in a configuration: 30s, 10m, 1h30m.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText writes the duration as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration as ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

var days = regexp.MustCompile(`^([0-9]{1,6})d(.*)$`)

// ParseDuration reads 500ms, 60s, 10m, 1h30m, 7d or 1d12h. It is never negative.
func ParseDuration(s string) (Duration, error) {
	var sum time.Duration
	rest := s
	if m := days.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 100_000 {
			return 0, errors.New("is too long a duration")
		}
		sum, rest = time.Duration(n)*24*time.Hour, m[2]
		if rest == "" {
			return Duration(sum), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || sum+d < 0 {
		return 0, errors.New("is not a duration")
	}
	return Duration(sum + d), nil
}

// String gives the share as a decimal fraction: 0.05.
func (s Share) String() string {
	text := fmt.Sprintf("%d.%06d", int64(s)/wholeShare, int64(s)%wholeShare)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// MarshalText writes the share as String does.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a share as ParseShare does.
func (s *Share) UnmarshalText(text []byte) (err error) {
	*s, err = ParseShare(string(text))
	return err
}

// Exceeded reports whether part is more than this share of whole.
func (s Share) Exceeded(part, whole int64) bool {
	return float64(part)*wholeShare > float64(whole)*float64(s)
}

const wholeShare = 1_000_000

// ParseShare reads 0.05 or 5%, from 0 to 1.
func ParseShare(s string) (Share, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, errors.New("is not a share from 0 to 1")
	}
	return Share(math.Round(f * wholeShare)), nil
}

// String gives the amount as a decimal fraction: 0.005.
func (d Dollars) String() string { return Share(d).String() }

// MarshalText writes the amount as String does.
func (d Dollars) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads an amount as ParseDollars does.
func (d *Dollars) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDollars(string(text))
	return err
}

// ParseDollars reads 0.005, to the millionth.
func ParseDollars(s string) (Dollars, error) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(f >= 0 && f <= 1_000_000) {
		return 0, errors.New("is not an amount from 0 to 1000000")
	}
	return Dollars(math.Round(f * wholeShare)), nil
}

var units = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"B", 1},
}

// String gives the size in the greatest unit that divides it: 64MiB, 1GB, 4097B.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalText writes the size as String does.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads a size as ParseBytes does.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBytes(string(text))
	return err
}

var size = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)$`)

// ParseBytes reads 4096, 64MiB, 1.5GiB or 1GB (1000 megabytes); case does not matter.
func ParseBytes(s string) (Bytes, error) {
	m := size.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, errors.New("is not a size")
	}
	unit := int64(1)
	if m[2] != "" {
		unit = 0
		for _, u := range units {
			if strings.EqualFold(m[2], u.name) {
				unit = u.size
			}
		}
		if unit == 0 {
			return 0, fmt.Errorf("has the unknown unit %s", m[2])
		}
	}
	if !strings.Contains(m[1], ".") {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || n > math.MaxInt64/unit {
			return 0, errors.New("is too large a size")
		}
		return Bytes(n * unit), nil
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil || f*float64(unit) >= math.MaxInt64 {
		return 0, errors.New("is too large a size")
	}
	return Bytes(f * float64(unit)), nil
}
