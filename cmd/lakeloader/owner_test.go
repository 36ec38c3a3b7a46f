package main

import (
	"os/exec"
	"testing"
)

func TestOnlyEndedProcessesOfThisMachineAreGone(t *testing.T) {
	me := thisProcess()
	if me.space == "unknown" {
		t.Fatalf("the space of process ids is not known: %v", me)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	it := process{me.host, me.space, child.Process.Pid}
	other, elsewhere := it, it
	other.host, elsewhere.space = "another", "0.1"
	if gone(it.String()+"/x") || gone(me.String()+"/x") {
		t.Error("a living process is taken for gone")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if !gone(it.String() + "/x") {
		t.Error("an ended process is not gone")
	}
	for _, owner := range []string{other.String() + "/x", elsewhere.String() + "/x", it.host + "/123/x", ""} {
		if gone(owner) {
			t.Errorf("nothing is known of %q", owner)
		}
	}
}
