package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Fingerprint is eight hexadecimal digits that differ when a pipeline may decide differently about a record: all settings
// count but the group, files, commits, routes, how long rows are kept, and the secret keys of hash steps, and so does the content of the schema files that it names.
func (p *Pipeline) Fingerprint() (string, error) {
	rules := *p
	rules.Cleanse = slices.Clone(p.Cleanse)
	for i, s := range rules.Cleanse {
		if s.Hash != nil { // its key is a secret, of which nothing may show
			h := *s.Hash
			h.Key = ""
			rules.Cleanse[i].Hash = &h
		}
	}
	rules.Table.Retention, rules.Table.Complete = 0, nil
	rules.Source.Group, rules.Files, rules.Commit, rules.DeadLetters = "", Files{}, Commit{}, DeadLetters{}
	rules.Outlets = nil // they send what was decided
	text, err := json.Marshal(rules)
	if err != nil {
		return "", fmt.Errorf("pipeline %s: %w", p.Name, err)
	}
	h := sha256.New()
	h.Write(text) // never fails
	for _, f := range []*Format{&p.Decode.Value, p.Decode.Key} {
		if f == nil || f.Schema == "" {
			continue
		}
		// A file that has gone since it was read must not stop a pipeline that goes on without it.
		if text, err = os.ReadFile(f.Schema); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("pipeline %s: %w", p.Name, err)
		}
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)[:4]), nil
}
