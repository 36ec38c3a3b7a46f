package memory

import (
	"slices"
	"strings"
	"testing"
)

func TestMappings(t *testing.T) {
	smaps := `00400000-00b25000 r--p 00000000 fe:01 42 /opt/lakeloader
Size:               7316 kB
Rss:                3000 kB
Anonymous:             0 kB
00b25000-065d2000 r-xp 00725000 fe:01 42                                 /opt/lakeloader
Rss:               25516 kB
Anonymous:             0 kB
0a948000-0aa49000 r--p 0a548000 fe:01 42                                 /opt/lakeloader
Rss:                1000 kB
Anonymous:           304 kB
0aa49000-0ac0b000 rw-p 0a649000 fe:01 42                                 /opt/lakeloader
Rss:                1248 kB
Anonymous:             0 kB
7f0000000000-7f0000010000 r-xp 00000000 fe:01 43                         /lib/libc.so.6
Rss:                 900 kB
Anonymous:             0 kB
7f0000020000-7f0000030000 rw-p 00000000 00:00 0
Rss:                  64 kB
Anonymous:            64 kB
`
	want := []mapping{{0x400000, 0xb25000, 3000 << 10}, {0xb25000, 0x65d2000, 25516 << 10}}
	if got := mappings(strings.NewReader(smaps), "/opt/lakeloader"); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v: nothing that could be written or was", got, want)
	}
}

// TestDropPages: the program goes on as before, with less of its file in memory.
func TestDropPages(t *testing.T) {
	first, err := DropPages()
	if err != nil || first <= 0 {
		t.Fatal(first, err)
	}
	second, err := DropPages()
	if err != nil || second >= first {
		t.Errorf("%d bytes were resident, then %d: %v", first, second, err)
	}
}
