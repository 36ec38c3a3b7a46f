package table

import (
	"encoding/json"
	"fmt"
)

// Applied is what a table other than the primary says of a pipeline: which rounds' files it has.
type Applied struct {
	UUID     string `json:"uuid"`   // of the primary table that numbers the rounds
	Number   int64  `json:"number"` // every pending round up to this one has been applied
	Snapshot int64  `json:"snapshot"`
}

func appliedKey(pipeline string) string { return Prefix + "applied." + pipeline }

// Property encodes a.
func (a Applied) Property(pipeline string) map[string]string {
	b, _ := json.Marshal(a) // cannot fail: only strings and numbers
	return map[string]string{appliedKey(pipeline): string(b)}
}

// ParseApplied reads what props say; the zero Applied when they say nothing.
func ParseApplied(pipeline string, props map[string]string) (a Applied, err error) {
	text, ok := props[appliedKey(pipeline)]
	if !ok {
		return a, nil
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return a, fmt.Errorf("the table's property %s cannot be read (%q): %w", appliedKey(pipeline), text, err)
	}
	return a, nil
}
