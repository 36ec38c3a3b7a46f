package source

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/lakeloader/lakeloader/configs"
)

func fakeKafka(t *testing.T, opts ...kfake.Opt) configs.Kafka {
	t.Helper()
	f, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return configs.Kafka{Brokers: f.ListenAddrs()}
}

// TestFakeKafka runs the suite without a server; TestRealKafka is the one that decides.
func TestFakeKafka(t *testing.T) {
	k := fakeKafka(t)
	t.Log(strings.Join(k.Brokers, ","))
	runSuite(t, newCluster(t, k))
}
