//go:build stack && engines

package spark

import (
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/enginestest"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestEnginesSpark asks a real one.
func TestEnginesSpark(t *testing.T) {
	e, err := Open("engines[0]", configs.Engine{Name: "tested", Type: "spark", URL: stacktest.StartSpark(t), Catalog: "lake", User: "lakeloader", Auth: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	enginestest.Run(t, enginestest.Case{Engine: e, Endless: "SELECT count(*) AS n FROM range(10000000) a CROSS JOIN range(10000000) b WHERE a.id * b.id % 7 = 3"})
}
