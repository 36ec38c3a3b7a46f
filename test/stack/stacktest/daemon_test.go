//go:build stack

package stacktest

import (
	"context"
	"testing"
)

func TestLogBufferFindsWholeLines(t *testing.T) {
	b := newLogBuffer()
	found := make(chan string)
	go func() {
		line, _ := b.wait(context.Background(), []string{"round", "committed"})
		found <- line
	}()
	for _, part := range []string{"started\n", "round 1 com", "mitted", " 5 rows\nmore"} {
		if _, err := b.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if line := <-found; line != "round 1 committed 5 rows\n" {
		t.Errorf("found %q", line)
	}
	b.close()
	if line, ok := b.wait(context.Background(), []string{"never"}); ok {
		t.Errorf("found %q in a log that ended", line)
	}
}

func TestCommandsGiveTheirExitCode(t *testing.T) {
	if _, stderr, code := Lakeloader(t, "run", "-c", "/nonexistent.yaml"); code == 0 || stderr == "" {
		t.Errorf("a missing configuration gives code %d and %q", code, stderr)
	}
	if code := StartDaemon(t, "/nonexistent.yaml").Wait(); code == 0 {
		t.Errorf("the daemon ends with code %d", code)
	}
}
