package demo

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/lakeloader/lakeloader/configs"
)

var envReference = regexp.MustCompile(`\$\{env:([A-Z0-9_]+)(:-[^}]*)?\}`)

// commitEvery is short, so that there is something to see soon.
const commitEvery = "5s"

// WriteConfig writes dir/lakeloader.yaml: the system's configuration as it is shipped, with the embedded servers and the
// lake in dir filled in where it would take them from the environment, and that has none. It returns the file's path. The key that addresses are
// hashed with is made once and kept beside it.
func (d *Demo) WriteConfig(dir string) (path string, err error) {
	text, err := configs.System(d.name)
	if err != nil {
		return "", err
	}
	if err := makeKey(filepath.Join(dir, "hash.key")); err != nil {
		return "", err
	}
	embedded := map[string]string{
		"LAKELOADER_BROKERS":   d.Brokers(),
		"LAKELOADER_REGISTRY":  d.RegistryURL(),
		"LAKELOADER_WAREHOUSE": "./lake",
		"LAKELOADER_CATALOG":   "sqlite",
		"LAKELOADER_HASH_KEY":  "${file:hash.key}",
		"LAKELOADER_HTTP":      "127.0.0.1:0",
		"LAKELOADER_WEBHOOK":   d.receiver.WebhookURL(),
		"LAKELOADER_SEARCH":    d.receiver.SearchURL(),

		"LAKELOADER_COMMIT_INTERVAL": commitEvery,
	}
	out := envReference.ReplaceAllStringFunc(string(text), func(ref string) string {
		m := envReference.FindStringSubmatch(ref)
		if d.env(m[1]) != "" {
			return ref
		}
		if v, ok := embedded[m[1]]; ok {
			return v
		}
		if len(m[2]) > 2 {
			return m[2][2:]
		}
		return `""`
	})
	out = fmt.Sprintf("# Made by lakeloader demo %s. Embedded servers are gone when the demo has ended; query and verify need none.\n", d.name) + out
	path = filepath.Join(dir, "lakeloader.yaml")
	return path, os.WriteFile(path, []byte(out), 0o644)
}

// makeKey makes the key that addresses are hashed with, once for a folder.
func makeKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(hex.EncodeToString(b)), 0o600)
}
