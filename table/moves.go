package table

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Moves are the snapshots that the pipelines of a table named last, ascending: those that moved offsets, and those that
// applied rounds. Until the next move, recovery needs each of them to tell a rollback from an expiry.
func Moves(props map[string]string) ([]int64, error) {
	named := map[int64]bool{}
	for _, key := range slices.Sorted(maps.Keys(props)) {
		rest, ours := strings.CutPrefix(key, Prefix)
		_, part, _ := strings.Cut(rest, ".")
		if !ours || part != "ledger" && !strings.HasPrefix(key, appliedKey("")) || !strings.HasPrefix(props[key], "{") {
			continue
		}
		var value struct {
			Snapshot int64 `json:"snapshot"`
		}
		if err := json.Unmarshal([]byte(props[key]), &value); err != nil {
			return nil, fmt.Errorf("the table's property %s cannot be read (%q): %w", key, props[key], err)
		}
		if value.Snapshot != 0 {
			named[value.Snapshot] = true
		}
	}
	return slices.Sorted(maps.Keys(named)), nil
}

// Writers are the pipelines that the properties of a table tell of: those whose primary it is, which have a ledger there, and
// those that have applied rounds to it.
func Writers(props map[string]string) (primary, applied []string) {
	for _, key := range slices.Sorted(maps.Keys(props)) {
		rest, ours := strings.CutPrefix(key, Prefix)
		switch name, ledger := strings.CutSuffix(rest, ".ledger"); {
		case !ours || !strings.HasPrefix(props[key], "{"):
		case ledger:
			primary = append(primary, name)
		case strings.HasPrefix(key, appliedKey("")):
			applied = append(applied, strings.TrimPrefix(key, appliedKey("")))
		}
	}
	return primary, applied
}
