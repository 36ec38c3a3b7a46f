package source

import (
	"strings"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
)

func TestOptionsRefused(t *testing.T) {
	ok := configs.Kafka{Brokers: []string{"127.0.0.1:1"}}
	topics := configs.Source{Topics: []string{"t"}}
	with := func(k configs.Kafka, f func(*configs.Kafka)) configs.Kafka { f(&k); return k }
	prop := func(key string) configs.Kafka {
		return with(ok, func(k *configs.Kafka) { k.Properties = map[string]string{key: "1"} })
	}
	for _, c := range []struct {
		k    configs.Kafka
		s    configs.Source
		want string
	}{
		{configs.Kafka{}, topics, "kafka.brokers: no broker"},
		{ok, configs.Source{}, "topics or pattern is missing"},
		{ok, configs.Source{Topics: []string{"a"}, Pattern: "b"}, "not both"},
		{ok, configs.Source{Topics: []string{"^a"}}, "use source.pattern"},
		{ok, configs.Source{Pattern: "a("}, "source.pattern"},
		{ok, configs.Source{Pattern: `a\d`}, "[0-9]"},
		{ok, configs.Source{Topics: []string{"t"}, Consume: "fast"}, "neither batch nor poll"},
		{prop("enable.auto.commit"), topics, "enable.auto.commit cannot be set: offsets are committed with the table"},
		{prop("isolation.level"), topics, "only committed records"},
		{prop("auto.offset.reset"), topics, "use source.start and source.on_reset"},
		{prop("group.id"), topics, "use source.group"},
		{prop("partition.assignment.strategy"), topics, "cooperative-sticky"},
		{prop("enable.auto.offset.store"), topics, "cannot be set"},
		{prop("group.protocol"), topics, "classic"},
		{prop("go.events.channel.enable"), topics, "not a property of librdkafka"},
		{prop("no.such.thing"), topics, `No such configuration property: "no.such.thing"`},
		{with(ok, func(k *configs.Kafka) { k.Security = "tls" }), topics, `kafka.security: "tls" is none of`},
		{with(ok, func(k *configs.Kafka) { k.Security = "sasl_ssl" }), topics, "needs mechanism, username and password"},
		{with(ok, func(k *configs.Kafka) { k.SASL.Username = "u" }), topics, "kafka.security is not sasl"},
		{with(ok, func(k *configs.Kafka) { k.Security = "ssl"; k.TLS.CA = "/no/such/ca.pem" }), topics, "kafka.tls"},
	} {
		con, err := New(Options{Kafka: c.k, Source: c.s, Pipeline: "p"}, newLedger())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v %+v: error %v, want %q", c.k, c.s, err, c.want)
		}
		if con != nil {
			if cerr := con.Close(); cerr != nil {
				t.Error(cerr)
			}
		}
	}
}

// A mechanism that the settings do not know comes from the properties, as the configuration allows.
func TestMechanismOfTheProperties(t *testing.T) {
	k := configs.Kafka{Brokers: []string{"a:1"}, Security: "sasl_ssl", Properties: map[string]string{"sasl.mechanisms": "OAUTHBEARER"}}
	m, err := consumerConfig(Options{Kafka: k, Pipeline: "p"}, "g")
	if err != nil || m["sasl.mechanisms"] != "OAUTHBEARER" || m["security.protocol"] != "sasl_ssl" {
		t.Errorf("%v %v", m, err)
	}
	k.SASL.Mechanism = "PLAIN"
	if _, err := consumerConfig(Options{Kafka: k, Pipeline: "p"}, "g"); err == nil || !strings.Contains(err.Error(), "leave out one of them") {
		t.Errorf("two mechanisms: %v", err)
	}
}

// TestConsumerConfig holds what the protocol rests on, whatever a user sets, and that memory is shared out.
func TestConsumerConfig(t *testing.T) {
	m, err := consumerConfig(Options{Pipeline: "p", Memory: 32 << 20, Kafka: configs.Kafka{Brokers: []string{"a:1", "b:2"},
		Properties: map[string]string{"session.timeout.ms": "1234"}}}, "g")
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]kafka.ConfigValue{"bootstrap.servers": "a:1,b:2", "group.id": "g", "enable.auto.commit": false,
		"enable.auto.offset.store": false, "auto.offset.reset": "error", "isolation.level": "read_committed",
		"partition.assignment.strategy": "cooperative-sticky", "fetch.queue.backoff.ms": 5, "session.timeout.ms": "1234",
		"queued.max.messages.kbytes": 8192, "fetch.max.bytes": 4 << 20, "allow.auto.create.topics": false} {
		if m[k] != want {
			t.Errorf("%s = %v, want %v", k, m[k], want)
		}
	}
}
