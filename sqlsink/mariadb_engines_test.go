//go:build stack && engines

package sqlsink_test

import (
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestEnginesMariaDB has the name of tests whose servers are downloaded only for them.
func TestEnginesMariaDB(t *testing.T) {
	s := stacktest.StartMariaDB(t)
	suite(t, func(t *testing.T) string { return s.NewDatabase(t) })
}
