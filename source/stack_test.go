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
	return configs.Kafka{Brokers: strings.Split(env(t, "LAKELOADER_TEST_KAFKA"), ",")}
}

func TestRealAdmin(t *testing.T) { adminAnswers(t, newCluster(t, realKafka(t))) }

// TestRealLogin logs in with SCRAM over TLS, and is told what is wrong with a password, a certificate, a protocol.
func TestRealLogin(t *testing.T) {
	k := configs.Kafka{Brokers: []string{env(t, "LAKELOADER_TEST_KAFKA_SASL")}, Security: "sasl_ssl",
		SASL: configs.SASL{Mechanism: "SCRAM-SHA-512", Username: "app", Password: "app-secret"},
		TLS:  configs.TLS{CA: env(t, "LAKELOADER_TEST_KAFKA_CA")}}
	login(t, k)
	wrong := k
	wrong.SASL.Password = "wrong"
	refused(t, wrong, Login, "kafka.sasl", "uthentication")
	untrusted := k
	untrusted.TLS.CA = ""
	refused(t, untrusted, TLS, "kafka.tls.ca_file", "certificate")
	mechanism := k
	mechanism.SASL.Mechanism = "PLAIN"
	refused(t, mechanism, Login, "kafka.sasl.mechanism")
}

func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set, see make test", name)
	}
	return v
}

func TestRealKafka(t *testing.T) { runSuite(t, newCluster(t, realKafka(t))) }
