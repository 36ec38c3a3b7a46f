package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// process names one by its host, the space that its id is of (containers with one host name may have several), and its id.
type process struct {
	host, space string
	pid         int
}

func (p process) String() string { return fmt.Sprintf("%s/%s/%d", p.host, p.space, p.pid) }

// thisProcess is as far as it can be told.
func thisProcess() process {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, errSpace := os.Readlink("/proc/self/ns/pid") // pid:[4026531836]
	if errors.Join(err, errSpace) != nil {
		return process{host, "unknown", os.Getpid()}
	}
	short, _, _ := strings.Cut(string(boot), "-")
	return process{host, short + "." + strings.Trim(strings.TrimPrefix(space, "pid:"), "[]"), os.Getpid()}
}

// gone says whether the owner of a lease is a process of this machine that is no more: one of the same space of process ids
// that has none now. Others may live.
func gone(owner string) bool {
	me := thisProcess()
	parts := strings.Split(owner, "/")
	if len(parts) != 4 || parts[0] != me.host || parts[1] != me.space || me.space == "unknown" {
		return false
	}
	pid, err := strconv.Atoi(parts[2])
	return err == nil && pid > 0 && pid != me.pid && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
