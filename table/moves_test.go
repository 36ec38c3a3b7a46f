package table

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestMovesOfEveryPipeline(t *testing.T) {
	props := map[string]string{"owner": "x", "lakeloader.pipeline.ledger": "1", "lakeloader.pipeline.a": "1"}
	for name, move := range map[string]int64{"a": 7, "applied": 9, "never": 0} {
		l := Ledger{Number: 1, CommitID: "c", Move: move, Records: map[Key]Record{{Topic: "t"}: {Next: 3}}}
		set, _ := l.Properties(name, nil)
		maps.Copy(props, set)
	}
	maps.Copy(props, Applied{UUID: "u", Number: 2, Snapshot: 8}.Property("b"))
	maps.Copy(props, Applied{UUID: "u", Number: 2, Snapshot: 7}.Property("c"))
	got, err := Moves(props)
	if err != nil || !slices.Equal(got, []int64{7, 8, 9}) {
		t.Fatalf("%v, %v", got, err)
	}
	props["lakeloader.a.ledger"] = "{cut"
	if _, err := Moves(props); err == nil || !strings.Contains(err.Error(), "lakeloader.a.ledger") {
		t.Fatalf("a broken ledger: %v", err)
	}
	if got, err := Moves(nil); err != nil || len(got) != 0 {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestWriters(t *testing.T) {
	props := Applied{UUID: "u", Number: 1, Snapshot: 2}.Property("clicks")
	for _, p := range []string{"orders", "a.b"} {
		l := Ledger{Number: 1, CommitID: "c", Records: map[Key]Record{{Topic: "t"}: {Next: 3}}}
		set, _ := l.Properties(p, nil)
		maps.Copy(props, set)
	}
	props[Prefix+"fence"], props["other.ledger"], props[Prefix+"pipeline.ledger"] = "1", "{}", "1" // the last one of a pipeline named ledger
	primary, applied := Writers(props)
	if !slices.Equal(primary, []string{"a.b", "orders"}) || !slices.Equal(applied, []string{"clicks"}) {
		t.Errorf("primary of %q, applied by %q", primary, applied)
	}
}
