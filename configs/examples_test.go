package configs

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestExamples loads every configuration that is published with lakeloader, with the variables that it names, and
// checks that it has no problems.
func TestExamples(t *testing.T) {
	env := map[string]string{"LAKELOADER_HASH_KEY": "k", "KAFKA_BROKERS": "a:9092,b:9092", "REGISTRY_PASSWORD": "p", "CATALOG_CREDENTIAL": "id:secret",
		"HTTP_TOKEN": "0123456789abcdef", "TRINO_PASSWORD": "p",
		"SLACK_WEBHOOK_URL": "https://hooks.example.com/services/T/B/X", "SEARCH_PASSWORD": "p", "ALARM_SECRET": "s"}
	secrets := fstest.MapFS{}
	for _, name := range []string{"kafka-password", "kafka-client-secret", "registry-token", "catalog-credential", "http-token"} {
		secrets["run/secrets/"+name] = &fstest.MapFile{Data: []byte("0123456789abcdef\n")}
	}
	for _, name := range exampleFiles(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		used := map[string]bool{}
		e := &expander{dir: filepath.Dir(name),
			lookup: func(name string) (string, bool) { used[name] = true; v, ok := env[name]; return v, ok },
			readFile: func(path string) ([]byte, error) {
				return fs.ReadFile(secrets, strings.TrimPrefix(path, "/"))
			}}
		c, _, err := parse(name, data, e)
		if err != nil {
			t.Errorf("%v", err)
		}
		if len(c.Pipelines) == 0 {
			t.Errorf("%s: no pipelines", name)
		}
		if strings.HasSuffix(name, "lakeloader.yaml") {
			checkPublished(t, name, c, slices.Sorted(maps.Keys(used)))
		}
	}
}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"examples/*.yaml", "*/lakeloader.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) < 3 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		names = append(names, found...)
	}
	return names
}

// checkPublished holds for the published systems: names as published, and the surroundings from variables.
func checkPublished(t *testing.T, name string, c *Config, used []string) {
	p := c.Pipelines[0]
	want := map[string][3]string{ // topic, group, table
		"clicks/lakeloader.yaml":        {"clicks", "kc-clicks-persistor", "clicks"},
		"ratings/lakeloader.yaml":       {"ratings", "lakeloader-ratings", "ratings"},
		"retail/lakeloader.yaml":        {"orders", "lakeloader-orders", "orders_log"},
		"visitor-spend/lakeloader.yaml": {"purchases", "lakeloader-visitor-spend", "purchases"},
	}
	if got := [3]string{p.Source.Topics[0], p.Source.Group, p.Table.Name}; got != want[name] {
		t.Errorf("%s: got %v, want %v", name, got, want[name])
	}
	for _, v := range []string{"LAKELOADER_BROKERS", "LAKELOADER_CATALOG", "LAKELOADER_CATALOG_URI", "LAKELOADER_WAREHOUSE", "LAKELOADER_S3_ENDPOINT", "LAKELOADER_HTTP", "LAKELOADER_HTTP_TOKEN"} {
		if !slices.Contains(used, v) {
			t.Errorf("%s does not take %s", name, v)
		}
	}
}

// TestHashKeyHasNoDefault checks that clicks cannot be run with a key that everybody knows.
func TestHashKeyHasNoDefault(t *testing.T) {
	data, err := os.ReadFile("clicks/lakeloader.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = parse("c.yaml", data, from(nil, nil)); err == nil || !strings.Contains(err.Error(), "LAKELOADER_HASH_KEY is not set") {
		t.Errorf("got %v", err)
	}
}
