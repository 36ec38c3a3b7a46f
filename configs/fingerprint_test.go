package configs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestFingerprint(t *testing.T) {
	schema := filepath.Join(t.TempDir(), "s.json")
	fill := func(text string) {
		if err := os.WriteFile(schema, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fill(`{"type":"object"}`)
	of := func(change func(*Pipeline)) string {
		t.Helper()
		p := Pipeline{Name: "p", Source: Source{Topics: []string{"t"}}, Decode: Decode{Value: Format{Format: "json", Schema: schema}},
			Cleanse: []Step{{Trim: &ColumnsStep{[]string{"a"}}}, {Hash: &HashStep{Key: "k", Length: 8}}}, Table: Table{Name: "t", Properties: map[string]string{"a": "1", "b": "2"}}}
		if change != nil {
			change(&p)
		}
		f, err := p.Fingerprint()
		if err != nil || !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(f) {
			t.Fatalf("%q, %v", f, err)
		}
		return f
	}
	plain := of(nil)
	for name, change := range map[string]func(*Pipeline){
		"nothing": func(*Pipeline) {},
		"group":   func(p *Pipeline) { p.Source.Group = "g" },
		"files":   func(p *Pipeline) { p.Files.MaxOpen = 3 },
		"commit":  func(p *Pipeline) { p.Commit.Records = 3 },
		"secret":  func(p *Pipeline) { p.Cleanse[1].Hash.Key = "other" },
		"dead":    func(p *Pipeline) { p.DeadLetters.Table = "x" },
		"kept":    func(p *Pipeline) { p.Table.Retention = 3 },
	} {
		if of(change) != plain {
			t.Errorf("%s changed the fingerprint", name)
		}
	}
	no := false
	for name, change := range map[string]func(*Pipeline){
		"a step's columns": func(p *Pipeline) { p.Cleanse[0].Trim = &ColumnsStep{[]string{"b"}} },
		"another step":     func(p *Pipeline) { p.Cleanse = append(p.Cleanse, Step{Lower: &ColumnsStep{[]string{"a"}}}) },
		"evolve":           func(p *Pipeline) { p.Table.Evolve = &no },
		"partition":        func(p *Pipeline) { p.Table.PartitionBy = []string{"a"} },
		"the schema file":  func(*Pipeline) { fill(`{"type":"array"}`) },
	} {
		if of(change) == plain {
			t.Errorf("%s did not change the fingerprint", name)
		}
	}
}
