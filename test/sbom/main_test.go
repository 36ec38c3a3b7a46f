package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBillOfMaterials describes a command that it builds from one of the project's dependencies.
func TestBillOfMaterials(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "../../configs/gen")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	if err := write(&out, program, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	var b bom
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.Metadata.Component.Version != "1.2.3" || len(b.Metadata.Component.Hashes[0].Content) != 64 {
		t.Errorf("%+v", b.Metadata)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range b.Components {
		found = found || c.Name == "github.com/goccy/go-yaml" && strings.Contains(string(mod), c.Name+" "+c.Version) && c.PURL == "pkg:golang/"+c.Name+"@"+c.Version && len(c.Hashes) == 1
	}
	if !found {
		t.Errorf("goccy/go-yaml is not among %+v", b.Components)
	}
	if err := write(&out, "main.go", ""); err == nil {
		t.Error("main.go is no binary")
	}
}
