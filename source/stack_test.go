//go:build stack

package source

import (
	"os"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
)

// realKafka is the Apache Kafka that make test starts.
func realKafka(t *testing.T) configs.Kafka {
	t.Helper()
	b := os.Getenv("LAKELOADER_TEST_KAFKA")
	if b == "" {
		t.Fatal("LAKELOADER_TEST_KAFKA is not set: the bootstrap address of a real Kafka, see make test")
	}
	return configs.Kafka{Brokers: strings.Split(b, ",")}
}

func TestRealKafka(t *testing.T) { runSuite(t, newCluster(t, realKafka(t))) }
