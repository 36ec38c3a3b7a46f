package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/verify"
)

func command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

// The whole way on the embedded servers, then verify over the result, whole and damaged.
func TestVerifyCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	if code, out, errs := command("demo", "clicks", "--records", "3000", "--dir", dir); code != exitOK {
		t.Fatalf("demo ended with %d\n%s%s", code, out, errs)
	}
	cfg := filepath.Join(dir, "lakeloader.yaml")
	code, out, errs := command("verify", "-c", cfg)
	if code != exitOK || errs != "" || !strings.Contains(out, "OK: all 3000 offsets are accounted for exactly once: ") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := command("verify", "-c", cfg, "--pipeline", "nothing"); code != exitUsage || !strings.Contains(errs, `no pipeline "nothing"`) {
		t.Errorf("no such pipeline: %d, %s", code, errs)
	}
	if code, _, errs := command("verify", "-c", cfg, "-o", "xml"); code != exitUsage || !strings.Contains(errs, "xml") {
		t.Errorf("no such format: %d, %s", code, errs)
	}
	var whole []verify.Report
	code, out, _ = command("verify", "-c", cfg, "-o", "json")
	if err := json.Unmarshal([]byte(out), &whole); code != exitOK || err != nil || len(whole) != 2 || len(whole[0].Problems) != 0 || len(whole[0].Partitions) == 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}

	lost := removeOne(t, filepath.Join(dir, "lake"))
	code, out, errs = command("verify", "--pipeline", "clicks", "-c", cfg)
	if code != exitFailed || strings.Contains(out, "OK:") || !strings.Contains(out, "unreadable: ") || !strings.Contains(out, lost) || !strings.Contains(out, "lost: ") ||
		!strings.Contains(errs, "lakeloader: verify found ") {
		t.Fatalf("without %s: exit code %d\n%s%s", lost, code, out, errs)
	}
	var damaged []verify.Report
	code, out, _ = command("verify", "--pipeline", "clicks", "-c", cfg, "-o", "json")
	if err := json.Unmarshal([]byte(out), &damaged); code != exitFailed || err != nil {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	lostRows, lostOffsets := int64(0), int64(0)
	for i, p := range damaged[0].Partitions {
		lostRows += whole[0].Partitions[i].Rows - p.Rows
	}
	for _, p := range damaged[0].Problems {
		for _, r := range p.Ranges {
			lostOffsets += r.Next - r.First
		}
	}
	if lostRows == 0 || lostRows != lostOffsets {
		t.Errorf("%d rows are missing, %d offsets are named", lostRows, lostOffsets)
	}
}

// removeOne removes a data file of the primary table.
func removeOne(t *testing.T, lake string) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(lake, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".parquet") && !strings.Contains(path, "dead_letters") {
			found = path
		}
		return err
	})
	if err == nil && found != "" {
		err = os.Remove(found)
	}
	if err != nil || found == "" {
		t.Fatal(found, err)
	}
	return found
}
