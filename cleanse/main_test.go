package cleanse_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs property tests more often than by default; they are fast here.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("1000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
