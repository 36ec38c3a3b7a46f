//go:build stack && engines

package trino

import (
	"os"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/engines/enginestest"
)

func open(t *testing.T) *Engine {
	t.Helper()
	url := os.Getenv("LAKELOADER_TEST_TRINO")
	if url == "" {
		t.Fatal("LAKELOADER_TEST_TRINO must name Trino; make test-engines sets it")
	}
	e, err := Open("engines[0]", configs.Engine{Name: "tested", Type: "trino", URL: url, Catalog: "lake", User: "lakeloader"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestEnginesTrino asks a real one.
func TestEnginesTrino(t *testing.T) {
	enginestest.Run(t, enginestest.Case{Engine: open(t),
		Endless: "SELECT count(*) AS n FROM UNNEST(sequence(1, 10000)) a(x), UNNEST(sequence(1, 10000)) b(y), UNNEST(sequence(1, 10000)) c(z)"})
}
