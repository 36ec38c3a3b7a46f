//go:build stack && engines

package trino

import (
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/enginestest"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

func open(t *testing.T) *Engine {
	t.Helper()
	e, err := Open("engines[0]", configs.Engine{Name: "tested", Type: "trino", URL: stacktest.TrinoURL(t), Catalog: "lake", User: "lakeloader"})
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
