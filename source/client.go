package source

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
)

// owned are the properties of the client that a user may not set, with what to do instead.
var owned = map[string]string{
	"enable.auto.commit":            "offsets are committed with the table",
	"auto.commit.enable":            "offsets are committed with the table",
	"enable.auto.offset.store":      "offsets are committed with the table",
	"isolation.level":               "only committed records are loaded",
	"auto.offset.reset":             "use source.start and source.on_reset",
	"group.id":                      "use source.group",
	"partition.assignment.strategy": "it is always cooperative-sticky",
	"group.protocol":                "the classic protocol with cooperative-sticky is used",
	"group.remote.assignor":         "the classic protocol with cooperative-sticky is used",
	"enable.partition.eof":          "positions are taken from it",
	"offset.store.method":           "offsets are committed with the table",
	"bootstrap.servers":             "use kafka.brokers",
	"metadata.broker.list":          "use kafka.brokers",
	"security.protocol":             "use kafka.security",
	"sasl.username":                 "use kafka.sasl.username",
	"sasl.password":                 "use kafka.sasl.password",
	"sasl.oauthbearer.method":       "use kafka.sasl.oauth",
	"ssl.ca.location":               "use kafka.tls.ca_file",
	"ssl.certificate.location":      "use kafka.tls.cert_file",
	"ssl.key.location":              "use kafka.tls.key_file",
	"plugin.library.paths":          "plugins are not supported",
	"default.topic.config":          "set the properties themselves",
}

// CheckProperties names the first property (in alphabetical order) of kafka.properties that may not be set.
func CheckProperties(props map[string]string) error {
	for _, k := range sortedKeys(props) {
		if why, ok := owned[k]; ok {
			return fmt.Errorf("kafka.properties: %s cannot be set: %s", k, why)
		}
		if strings.HasPrefix(k, "go.") {
			return fmt.Errorf("kafka.properties: %s cannot be set: it is not a property of librdkafka", k)
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// connection returns the properties that say how to reach and log in to a cluster.
func connection(k configs.Kafka) (kafka.ConfigMap, error) {
	if len(k.Brokers) == 0 {
		return nil, fmt.Errorf("kafka.brokers: no broker is given; write host:port")
	}
	m := kafka.ConfigMap{"bootstrap.servers": strings.Join(k.Brokers, ","), "log.connection.close": false, "enable.metrics.push": false}
	set := func(key, value string) {
		if value != "" {
			m[key] = value
		}
	}
	protocol := strings.ToLower(k.Security)
	switch protocol {
	case "", "plaintext", "ssl", "sasl_plaintext", "sasl_ssl":
		set("security.protocol", protocol)
	default:
		return nil, fmt.Errorf("kafka.security: %q is none of plaintext, ssl, sasl_plaintext, sasl_ssl", k.Security)
	}
	if strings.HasPrefix(protocol, "sasl_") {
		own := k.Properties["sasl.mechanism"] + k.Properties["sasl.mechanisms"]
		switch {
		case own != "" && k.SASL.Mechanism != "":
			return nil, fmt.Errorf("kafka.sasl.mechanism is set here and in kafka.properties: leave out one of them")
		case own == "" && (k.SASL.Mechanism == "" || k.SASL.Username == "" && !byToken(k)):
			return nil, fmt.Errorf("kafka.sasl: security %s needs mechanism, username and password", protocol)
		}
		set("sasl.mechanisms", strings.ToUpper(k.SASL.Mechanism))
		if byToken(k) {
			set("sasl.mechanisms", "OAUTHBEARER")
		}
		set("sasl.username", k.SASL.Username)
		set("sasl.password", k.SASL.Password)
	} else if k.SASL != (configs.SASL{}) {
		return nil, fmt.Errorf("kafka.sasl is set but kafka.security is not sasl_plaintext or sasl_ssl")
	}
	set("ssl.ca.location", k.TLS.CA)
	set("ssl.certificate.location", k.TLS.Cert)
	set("ssl.key.location", k.TLS.Key)
	if k.TLS.SkipVerify {
		m["enable.ssl.certificate.verification"] = false
	}
	if err := CheckProperties(k.Properties); err != nil {
		return nil, err
	}
	return m, nil
}

// byToken says whether the login takes tokens (token.go).
func byToken(k configs.Kafka) bool {
	m := strings.ToUpper(k.SASL.Mechanism)
	return m == "OAUTHBEARER" || m == "AWS_MSK_IAM"
}

// Fetch sizes. librdkafka keeps about 300 bytes beside each queued record, which its own limits do not count.
const (
	defaultMemory  = 64 << 20
	minFetch       = 1 << 20
	maxFetch       = 50 << 20 // the client's own default
	recordOverhead = 300
)

// consumerConfig adds what a consumer needs within memory bytes of fetched records.
func consumerConfig(o Options, group string) (kafka.ConfigMap, error) {
	m, err := connection(o.Kafka)
	if err != nil {
		return nil, err
	}
	mem := o.Memory
	if mem <= 0 {
		mem = defaultMemory
	}
	// A fetch is asked for while the queue is below its limit, so the queue and one fetch can be there at once, and of
	// small records a fetch takes several times its size. Measured with records of 94 bytes: these shares fill mem.
	fetch := int(min(max(mem/8, minFetch), maxFetch))
	for k, v := range map[string]kafka.ConfigValue{
		"client.id":                          "lakeloader-" + o.Pipeline,
		"fetch.queue.backoff.ms":             5, // the default of 1 s halves throughput
		"queued.max.messages.kbytes":         int(max(mem/4, minFetch) >> 10),
		"queued.min.messages":                int(min(max(mem/4/recordOverhead, 1000), 1_000_000)),
		"fetch.max.bytes":                    fetch,
		"max.partition.fetch.bytes":          max(fetch/2, minFetch),
		"topic.metadata.refresh.interval.ms": 30_000,
		"allow.auto.create.topics":           false,
		"topic.blacklist":                    "^__",
		"socket.keepalive.enable":            true,
	} {
		m[k] = v
	}
	for k, v := range o.Kafka.Properties {
		m[k] = v
	}
	for k, v := range map[string]kafka.ConfigValue{
		"group.id":                      group,
		"partition.assignment.strategy": "cooperative-sticky",
		"enable.auto.commit":            false,
		"enable.auto.offset.store":      false,
		"auto.offset.reset":             "error",
		"isolation.level":               "read_committed",
		"enable.partition.eof":          true,
	} {
		m[k] = v
	}
	return m, nil
}

// logs passes the client's log lines on until stop.
type logs struct {
	ch   chan kafka.LogEvent
	done chan struct{}
	// lastFail is the latest line about a broken connection: what a time-out was really about.
	mu       sync.Mutex
	lastFail string
}

// startLogs makes m log to log. Lines about connections go out at debug level: the client repeats them as error
// events, which the consumer reports once each.
func startLogs(m kafka.ConfigMap, log *slog.Logger) *logs {
	l := &logs{ch: make(chan kafka.LogEvent, 256), done: make(chan struct{})}
	m["go.logs.channel.enable"], m["go.logs.channel"] = true, l.ch
	go func() {
		defer close(l.done)
		for e := range l.ch {
			level := slog.LevelDebug
			switch {
			case e.Tag == "FAIL" || e.Tag == "ERROR":
				l.mu.Lock()
				l.lastFail = e.Message
				l.mu.Unlock()
			case e.Tag == "CONFWARN":
			case e.Level <= 3:
				level = slog.LevelError
			case e.Level == 4:
				level = slog.LevelWarn
			case e.Level <= 6:
				level = slog.LevelInfo
			}
			log.Log(context.Background(), level, e.Message, "client", e.Name, "tag", e.Tag)
		}
	}()
	return l
}

// fail is lastFail without the client's thread before it.
func (l *logs) fail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, text, ok := strings.Cut(l.lastFail, "]: "); ok && strings.HasPrefix(l.lastFail, "[thrd:") {
		return text
	}
	return l.lastFail
}

// forget makes fail tell of later lines only.
func (l *logs) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastFail = ""
}

// stop ends the goroutine; the client must be closed already.
func (l *logs) stop() {
	close(l.ch)
	<-l.done
}
