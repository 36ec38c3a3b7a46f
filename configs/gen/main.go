// Command gen writes docs/configuration.md, the reference of all settings, and configs/lakeloader.schema.json, the JSON
// Schema that editors complete and check configurations with. Both come from the types of package configs: their
// comments, the rules in their tags, and the defaults that ApplyDefaults gives. Run it in the project's folder after a
// change there: go run ./configs/gen (or go generate ./configs, which names the project's folder).
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes both files below the project's folder.
func run(root string) error {
	files, err := generate(filepath.Join(root, "configs"))
	if err != nil {
		return err
	}
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes both files from the sources in a folder; names are relative to the project's folder.
func generate(sources string) (map[string][]byte, error) {
	m, err := newModel(sources)
	if err != nil {
		return nil, err
	}
	schema, err := jsonSchema(m)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"docs/configuration.md": reference(m), "configs/lakeloader.schema.json": schema}, nil
}
