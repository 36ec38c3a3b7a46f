//go:build stack

package stacktest

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// produce sends one record and waits until the broker has it.
func produce(t *testing.T, topic, value string, opts ...kgo.Opt) {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := &kgo.Record{Topic: topic, Partition: 1, Value: []byte(value)}
	if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// consume returns the first n values of a topic.
func consume(t *testing.T, addr, topic string, n int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var values []string
	for len(values) < n {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func TestSharedKafkaTakesRecordsOnBothListeners(t *testing.T) {
	topic := Topic(t, 2)
	produce(t, topic, "plain", kgo.SeedBrokers(Kafka(t)))
	secured := KafkaSASL(t)
	login := scram.Auth{User: secured.Username, Pass: secured.Password}
	produce(t, topic, "secured", kgo.SeedBrokers(secured.Addr), kgo.DialTLSConfig(secured.TLS(t)), kgo.SASL(login.AsSha512Mechanism()))
	if got := strings.Join(consume(t, Kafka(t), topic, 2), " "); got != "plain secured" {
		t.Errorf("read back %q", got)
	}
}

func TestPrivateKafkaSurvivesKillUnderItsOldAddress(t *testing.T) {
	broker := StartKafka(t, "message.max.bytes=2000000")
	addr := broker.Addr()
	CreateTopic(t, addr, "t", 2, map[string]string{"retention.ms": "-1"})
	produce(t, "t", "before", kgo.SeedBrokers(addr))
	broker.Kill()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if client.Ping(t.Context()) == nil {
		t.Fatal("a killed broker answers")
	}
	broker.Start()
	produce(t, "t", "after", kgo.SeedBrokers(broker.Addr()))
	if got := strings.Join(consume(t, addr, "t", 2), " "); got != "before after" {
		t.Errorf("read back %q", got)
	}
}

func TestPrivateServersKeepTheirDataOverAStop(t *testing.T) {
	object := "greeting"
	store := StartS3(t, "first")
	put := &s3.PutObjectInput{Bucket: &[]string{"first"}[0], Key: &object, Body: strings.NewReader("hello")}
	if _, err := S3Client(t, store.URL()).PutObject(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	store.Stop()
	store.Start()
	got, err := S3Client(t, store.URL()).GetObject(t.Context(), &s3.GetObjectInput{Bucket: put.Bucket, Key: &object})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); err != nil || string(body) != "hello" {
		t.Errorf("object is %q, %v", body, err)
	}
}

func TestRegistryGivesASchemaBack(t *testing.T) {
	subject := Registry(t) + "/subjects/" + Name("subject") + "/versions"
	schema := `{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"long\"}]}"}`
	request(t, http.MethodPost, subject, schema)
	if body := request(t, http.MethodGet, subject+"/1", ""); !strings.Contains(body, `\"name\":\"R\"`) {
		t.Errorf("version 1 is %s", body)
	}
}

func request(t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v: %s", method, url, resp.Status, err, answer)
	}
	return string(answer)
}

func TestDatabasesAreApart(t *testing.T) {
	for _, url := range []string{NewDatabase(t), NewDatabase(t), StartPostgres(t).URL()} {
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), "CREATE TABLE only_once (a int)"); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestCommandFailureNamesTheCause: what a script or reader says must reach whoever reads the test's output.
func TestCommandFailureNamesTheCause(t *testing.T) {
	_, err := run(context.Background(), nil, filepath.Join(Root(t), "test", "stack", "kafka.sh"), "stop", "/nonexistent")
	if err == nil || !strings.Contains(err.Error(), "there is no folder /nonexistent") {
		t.Errorf("error is %v", err)
	}
}

func TestNewBucketTakesObjects(t *testing.T) {
	bucket, key := NewBucket(t), "a/b"
	put := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(make([]byte, 1<<20))}
	if _, err := S3Client(t, S3(t)).PutObject(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("LAKELOADER_TEST_STACK_DIR")
	if _, err := os.Stat(filepath.Join(dir, "s3", "data", bucket, key)); err != nil {
		t.Errorf("the object is not in the server's folder: %v", err)
	}
}
