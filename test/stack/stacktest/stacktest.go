//go:build stack

// Package stacktest gives tests the real servers that test/stack starts: the shared ones, whose addresses `make test`
// hands over in the environment, and private ones for tests that kill a server. It also runs the readers of
// test/readers, which judge tables without any code of ours. Nothing here is skipped: a test whose server is missing
// fails and says how to start it.
package stacktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver of NewDatabase
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka is the bootstrap address (host:port) of the shared broker's plain listener. Tests keep to topics of their own.
func Kafka(t testing.TB) string { return env(t, "KAFKA") }

// SASL is how to reach the shared broker's listener with TLS and SCRAM-SHA-512.
type SASL struct {
	Addr               string // host:port
	CA                 string // PEM file of the certificate to trust
	Username, Password string
}

// KafkaSASL is the shared broker's secured listener.
func KafkaSASL(t testing.TB) SASL {
	return SASL{Addr: env(t, "KAFKA_SASL"), CA: env(t, "KAFKA_CA"), Username: "app", Password: "app-secret"}
}

// TLS is a client's configuration that trusts the broker.
func (s SASL) TLS(t testing.TB) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", s.CA)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// Registry is the Confluent-compatible base URL of the shared schema registry.
func Registry(t testing.TB) string { return env(t, "REGISTRY") }

// REST is the URL of the shared Iceberg REST catalog, whose warehouse is in S3. Tests keep to namespaces of their own.
func REST(t testing.TB) string { return env(t, "REST") }

// S3 is the URL of the shared S3 server; its region is us-east-1 and its addresses are path-style.
func S3(t testing.TB) string { return env(t, "S3") }

// S3Keys are the access key and the secret key of every S3 server here.
func S3Keys(t testing.TB) (access, secret string) {
	return env(t, "S3_ACCESS_KEY"), env(t, "S3_SECRET_KEY")
}

// S3Client talks to an S3 server here.
func S3Client(t testing.TB, endpoint string) *s3.Client {
	access, secret := S3Keys(t)
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
}

// NewBucket makes a bucket of the test's own on the shared S3 server.
func NewBucket(t testing.TB) string { return NewBucketOn(t, S3(t)) }

// NewBucketOn makes a bucket on the S3 server at endpoint.
func NewBucketOn(t testing.TB, endpoint string) string {
	t.Helper()
	bucket := Name("bucket")
	if _, err := S3Client(t, endpoint).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatalf("creating bucket %s on %s: %v", bucket, endpoint, err)
	}
	return bucket
}

// NewDatabase makes a PostgreSQL database of the test's own and returns its postgres:// URL.
func NewDatabase(t testing.TB) string {
	t.Helper()
	server := env(t, "POSTGRES")
	name := strings.ReplaceAll(Name("db"), "-", "_")
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatalf("creating database %s: %v", name, err)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Topic makes a topic of the test's own on the shared broker.
func Topic(t testing.TB, partitions int) string {
	t.Helper()
	name := Name("topic")
	CreateTopic(t, Kafka(t), name, partitions, nil)
	return name
}

// CreateTopic makes a topic on the broker at addr with Kafka's settings for topics, and returns when it can be used.
func CreateTopic(t testing.TB, addr, name string, partitions int, settings map[string]string) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, int32(partitions), 1
	for k, v := range settings {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		topic.Configs = append(topic.Configs, c)
	}
	req.Topics = append(req.Topics, topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	resp, err := req.RequestWith(t.Context(), client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("creating topic %s on %s: %v", name, addr, err)
	}
}

// Name makes a name that no other test uses: lower-case letters, digits and "-", fit for a topic or a bucket.
func Name(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:12]) }

// Root is the project's folder.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func env(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv("LAKELOADER_TEST_" + name)
	if v == "" {
		t.Fatalf("LAKELOADER_TEST_%s is not set: run the tests with `make test`, or start the servers with "+
			"eval \"$(test/stack/up.sh DIR)\"", name)
	}
	return v
}

// run runs a command and returns its standard output; its standard error goes into the error.
func run(ctx context.Context, extra []string, name string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), extra...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.Bytes(), nil
}
