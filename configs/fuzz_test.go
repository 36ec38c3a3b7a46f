package configs

import (
	"errors"
	"os"
	"testing"
)

// FuzzParse checks that any text gives a configuration or problems, each with a message and a place that exists.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/all.yaml", "testdata/problems/steps", "testdata/problems/yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a: &a [*a]\nkafka: *a\n? {b: c}\n: - !!str 1\n<<: [*a, {x: 1}]\n"))
	f.Add([]byte("log: &a *a"))
	f.Add([]byte("pipelines: [{cleanse: [{trim: {columns: [a:b, {}]}}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, pos, err := parse("f.yaml", data, from(testEnv, testFiles))
		if c == nil || pos == nil {
			t.Fatal("no configuration, or no positions")
		}
		var ps Problems
		if err != nil && (!errors.As(err, &ps) || len(ps) == 0) {
			t.Fatalf("not problems: %v", err)
		}
		for _, p := range ps {
			if p.Message == "" || p.Line < 1 || p.Column < 1 {
				t.Errorf("a problem without a message or a place: %+v", p)
			}
		}
	})
}
