package configs

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// containerLimit is the memory limit of the control group that the process runs in; 0: none.
func containerLimit() Bytes { return cgroupLimit(os.DirFS("/")) }

// cgroupLimit takes the least limit on the way from the process's control group up to the root, for both versions of
// control groups. What cannot be read sets no limit: on other systems there is nothing to read.
func cgroupLimit(root fs.FS) Bytes {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := Bytes(0)
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if parts[1] == "memory" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			if n := readLimit(root, base+strings.TrimSuffix(group, "/")+"/"+file); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if group == "/" {
				break
			}
		}
	}
	return least
}

func readLimit(root fs.FS, name string) Bytes {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	// "max", and the huge number of version 1, mean no limit.
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n <= 0 || n >= 1<<60 {
		return 0
	}
	return Bytes(n)
}
