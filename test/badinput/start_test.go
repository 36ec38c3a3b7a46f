//go:build stack

package badinput

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

func TestConfigurationFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		name, text string
		says       []string
	}{
		{"missing", "", []string{"cannot read the configuration", "no such file", "-c FILE"}},
		{"empty", " \n", []string{":1:1: the configuration is empty", "kafka:", "pipelines:"}},
		{"broken", "kafka: {brokers: [a\npipelines:\n", []string{":2:1: this is not YAML", "bracket"}},
		{"list", "- a\n", []string{":1:1: "}},
		{"binary", "\x00\xff\xfe", []string{":1:"}},
	} {
		path := filepath.Join(dir, c.name+".yaml")
		if c.text != "" {
			if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, command := range [][]string{{"run"}, {"validate"}, {"plan"}, {"verify"}, {"query", "SELECT 1"}, {"status"}} {
			stdout, stderr, code := stacktest.Lakeloader(t, append(command, "-c", path)...)
			if code != exitUsage {
				t.Errorf("%s of a %s file: exit code %d", command[0], c.name, code)
			}
			says(t, stdout+stderr, append(c.says, path)...)
		}
	}
}

func TestWrongTopic(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	real := s.topic
	s.topic = real + "x"
	s.refused(exitUnreachable, "pipeline events", "topic "+s.topic, "Unknown topic", "source.topics", stacktest.Kafka(t))

	s.topic = real
	s.produce(0, 10)
	s.start().loaded(10, 0)
}

func TestImpossibleSteps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps string
		says  []string
	}{
		"unknown column": {"[{trim: [nam]}]", []string{`lakeloader.yaml:10:21: there is no column "nam"`, `did you mean "name"?`}},
		"cast":           {"[{cast: {columns: [id], to: uuid}}]", []string{"lakeloader.yaml:10:31: column id is a long, which cannot be cast to uuid"}},
		"unknown field":  {"[{cast: {colums: [id], to: int}}]", []string{"lakeloader.yaml:10:21: unknown setting colums", "did you mean columns?"}},
		"unknown step":   {"[{uper: [name]}]", []string{"lakeloader.yaml:10:14: ", "uper", "did you mean upper?"}},
		"expression":     {`[{filter: "id > 'a'"}]`, []string{"lakeloader.yaml:10:22: ", "no matching overload"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			s.steps = c.steps
			stdout, stderr, code := stacktest.Lakeloader(t, "validate", "-c", s.config())
			if code != exitUsage {
				t.Errorf("validate: exit code %d, want %d", code, exitUsage)
			}
			says(t, stdout+stderr, c.says...)
			s.refused(exitUsage, c.says...)
		})
	}
}

func TestUnreachableKafka(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	good, addr := s.kafka, closedPort(t)
	s.kafka = "{brokers: " + addr + "}"
	s.refused(exitUnreachable, "kafka "+addr, "Connection refused", "kafka.brokers")

	s.kafka = good
	s.start().loaded(10, 0)
}

func TestKafkaLogin(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	sasl := stacktest.KafkaSASL(t)
	login := func(password, ca string) string {
		return "{brokers: " + sasl.Addr + ", security: sasl_ssl, sasl: {mechanism: SCRAM-SHA-512, username: app, password: " + password + "}, tls: {" + ca + "}}"
	}
	trust := "ca_file: " + sasl.CA

	s.kafka = login("wrong", trust)
	s.refusedAtOnce(exitUnreachable, "kafka "+sasl.Addr, "uthentication failed", "kafka.sasl", "password")
	s.kafka = login(sasl.Password, "")
	s.refusedAtOnce(exitUnreachable, "kafka "+sasl.Addr, "certificate", "kafka.tls.ca_file")
	s.kafka = login(sasl.Password, "ca_file: ./none.pem")
	s.refused(exitUsage, "none.pem")

	s.kafka = login(sasl.Password, trust)
	s.start().loaded(10, 0)
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	good := s.http
	s.http = "{address: " + l.Addr().String() + "}"
	s.refused(exitUnreachable, l.Addr().String(), "http.address", "address already in use")

	s.http = good
	s.start().loaded(10, 0)
}
