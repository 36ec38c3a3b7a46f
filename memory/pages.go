package memory

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DropPages lets go of the executable's pages: those that are needed come back from the page cache, at once and without a
// copy. Package initializers touch most of a large executable, and little of that is needed again. It returns how much was
// resident, bytes.
func DropPages() (int64, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	dropped := int64(0)
	for _, m := range mappings(bytes.NewReader(smaps), exe) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return dropped, fmt.Errorf("madvise of %x-%x of %s: %w", m.start, m.end, exe, errno)
		}
		dropped += m.resident
	}
	return dropped, nil
}

type mapping struct {
	start, end uintptr
	resident   int64
}

// mappings are those of a file that cannot be written and have no page of the process's own, which would be lost.
func mappings(smaps io.Reader, file string) (out []mapping) {
	var m mapping
	ours := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 6 && strings.Contains(fields[0], "-"):
			from, to, _ := strings.Cut(fields[0], "-")
			a, err := strconv.ParseUint(from, 16, 64)
			b, err2 := strconv.ParseUint(to, 16, 64)
			m = mapping{start: uintptr(a), end: uintptr(b)}
			ours = errors.Join(err, err2) == nil && strings.HasPrefix(fields[1], "r-") && strings.HasSuffix(lines.Text(), " "+file)
		case len(fields) == 3 && fields[0] == "Rss:":
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if ours = ours && err == nil; ours {
				m.resident = kb << 10
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && ours:
			if fields[1] == "0" {
				out = append(out, m)
			}
			ours = false
		}
	}
	return out
}
