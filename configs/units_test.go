package configs

import (
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"60s": time.Minute, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond,
		"7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0": 0, "0s": 0} {
		if got, err := ParseDuration(text); err != nil || got != Duration(want) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "60", "-1s", "1d-1h", "d", "999999d", "1.5d", "ten", "9223372036s1d", "106751d24h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: got %v without an error", text, got)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"4096": 4096, "64MiB": 64 << 20, "1GB": 1e9, "1.5GiB": 3 << 29, "0": 0, "10 kb": 10_000, "1tib": 1 << 40, "5B": 5} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "64M", "MiB", "9223372036854775808", "9000000TiB", "9000000.5TiB", "1e3", "1MiBs"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q: got %v without an error", text, got)
		}
	}
}

func TestShare(t *testing.T) {
	for text, want := range map[string]Share{"0.05": 50_000, "5%": 50_000, "0.5 %": 5000, "1": 1_000_000, "100%": 1_000_000, "0": 0, "1e-6": 1} {
		if got, err := ParseShare(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1.1", "-0.1", "5", "101%", "NaN", "a", "%"} {
		if got, err := ParseShare(text); err == nil {
			t.Errorf("%q: got %v without an error", text, got)
		}
	}
	for text, s := range map[string]Share{"0.05": 50_000, "1": 1_000_000, "0.000001": 1, "0": 0, "0.5": 500_000} {
		if s.String() != text {
			t.Errorf("%d is written %s, want %s", int64(s), s, text)
		}
	}
	if s := Share(50_000); s.Exceeded(5, 100) || !s.Exceeded(6, 100) {
		t.Error("5 of 100 are not more than 5%, 6 are")
	}
}

// TestUnitsRoundTrip checks that what String writes reads as the same value.
func TestUnitsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(0, int64(10000*time.Hour)).Draw(t, "duration"))
		if got, err := ParseDuration(d.String()); err != nil || got != d {
			t.Errorf("%v: got %v, %v", d, got, err)
		}
		s := Share(rapid.Int64Range(0, 1_000_000).Draw(t, "share"))
		if got, err := ParseShare(s.String()); err != nil || got != s {
			t.Errorf("%v: got %v, %v", s, got, err)
		}
		b := Bytes(rapid.Int64Min(0).Draw(t, "bytes"))
		if got, err := ParseBytes(b.String()); err != nil || got != b {
			t.Errorf("%v: got %v, %v", b, got, err)
		}
	})
	for want, d := range map[string]Duration{"1m": minute, "10m": 10 * minute, "1h": 60 * minute, "1h30m": 90 * minute, "30s": 30 * second, "1m30s": 90 * second, "0s": 0} {
		if d.String() != want {
			t.Errorf("got %s, want %s", d, want)
		}
	}
	for want, b := range map[string]Bytes{"128MiB": 128 * mib, "1GiB": gib, "1GB": 1e9, "4097B": 4097, "0B": 0} {
		if b.String() != want {
			t.Errorf("got %s, want %s", b, want)
		}
	}
}

func TestContainerLimit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  Bytes
	}{
		"no control groups": {fstest.MapFS{}, 0},
		"version 2, in a container": {fstest.MapFS{"proc/self/cgroup": file("0::/\n"),
			"sys/fs/cgroup/memory.max": file("536870912\n")}, 512 * mib},
		"version 2, the least of those around": {fstest.MapFS{"proc/self/cgroup": file("0::/a.slice/b.service\n"),
			"sys/fs/cgroup/a.slice/b.service/memory.max": file("max\n"), "sys/fs/cgroup/a.slice/memory.max": file("1073741824\n")}, gib},
		"version 1": {fstest.MapFS{"proc/self/cgroup": file("5:cpu:/x\n4:memory:/docker/x\n0::/\n"),
			"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": file("268435456\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          file("9223372036854771712\n")}, 256 * mib},
		"unreadable": {fstest.MapFS{"proc/self/cgroup": file("nonsense\n0::/\n"), "sys/fs/cgroup/memory.max": file("lots\n")}, 0},
	} {
		if got := cgroupLimit(c.files); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if defaultMemory(3, mib, 0) != 3*memoryPerPipeline+mib || defaultMemory(0, 0, 0) != memoryPerPipeline || defaultMemory(3, mib, gib) != gib {
		t.Error("the default limit is the container's, else 512MiB a pipeline and what lookups and windows may take")
	}
}
