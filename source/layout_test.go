package source

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// TestClientLayout fails when a new version of confluent-kafka-go keeps librdkafka's handle elsewhere. Consumers then
// fall back to polling; make clientOf find it again, or records cost three times the CPU.
func TestClientLayout(t *testing.T) {
	kc, err := kafka.NewConsumer(&kafka.ConfigMap{"group.id": "layout", "bootstrap.servers": "127.0.0.1:1", "log_level": 0})
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientOf(kc)
	if err != nil || c.rk == nil {
		t.Fatalf("batch consumption does not work with confluent-kafka-go %s: %v", moduleVersion(t), err)
	}
	if err := kc.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFallback: with a client whose handle is not found, records are polled, and the log says so.
func TestFallback(t *testing.T) {
	if _, err := clientOf(&kafka.Consumer{}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a client without a handle: %v", err)
	}
	var log bytes.Buffer
	c := &Consumer{log: slog.New(slog.NewTextHandler(&log, nil))}
	c.chooseFetcher(nil, errors.New("it has moved"))
	if c.Mode() != "poll" || !strings.Contains(log.String(), "it has moved") || !strings.Contains(log.String(), "WARN") {
		t.Errorf("mode %s, log %s", c.Mode(), &log)
	}
}

const kafkaModule = "github.com/confluentinc/confluent-kafka-go/v2"

func moduleVersion(t *testing.T) string {
	t.Helper()
	return golist(t, "{{.Version}}")
}

func golist(t *testing.T, format string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", format, kafkaModule).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// declarations is compiled behind the bundled header: a function declared otherwise there is an error, and so is
// another layout of a message.
const declarations = `
#define LR_HAVE_RDKAFKA_H
#include "fetch.h"
#define SAME(f) _Static_assert(offsetof(lr_message, f) == offsetof(rd_kafka_message_t, f) && \
  sizeof(((lr_message *)0)->f) == sizeof(((rd_kafka_message_t *)0)->f), #f)
SAME(err); SAME(rkt); SAME(partition); SAME(payload); SAME(len); SAME(key); SAME(key_len); SAME(offset); SAME(_private);
_Static_assert(sizeof(lr_message) == sizeof(rd_kafka_message_t), "size");
_Static_assert(sizeof(int) == sizeof(rd_kafka_timestamp_type_t) && sizeof(int) == sizeof(rd_kafka_resp_err_t), "enums");
_Static_assert(RD_KAFKA_RESP_ERR__PARTITION_EOF == -191, "end of partition");
`

// TestDeclarations compares rdkafka.h with the header of the linked library.
func TestDeclarations(t *testing.T) {
	bundled := filepath.Join(golist(t, "{{.Dir}}"), "kafka", "librdkafka_vendor", "rdkafka.h")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	compile := func(extra string) (string, error) {
		cmd := exec.Command("cc", "-std=c11", "-fsyntax-only", "-Werror", "-I", here, "-include", bundled, "-x", "c", "-")
		cmd.Stdin = strings.NewReader(declarations + extra)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := compile(""); err != nil {
		t.Errorf("rdkafka.h differs from the library's header: %v\n%s", err, out)
	}
	if _, err := compile("int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *m);"); err == nil {
		t.Error("a wrong declaration was not seen: this test tests nothing")
	}
}
