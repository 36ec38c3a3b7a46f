//go:build !chaos

package point

import "time"

// Hit says that the process is at a named step.
func Hit(string) {}

// Disk is what a write to the local disk fails with before it is tried; nil: it is tried.
func Disk() error { return nil }

// Now is the time.
func Now() time.Time { return time.Now() }
