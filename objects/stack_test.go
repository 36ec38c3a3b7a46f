//go:build stack

package objects

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/configs"
)

func stackS3(t *testing.T) configs.Warehouse {
	t.Helper()
	c := configs.S3{Endpoint: os.Getenv("LAKELOADER_TEST_S3"), AccessKey: os.Getenv("LAKELOADER_TEST_S3_ACCESS_KEY"), SecretKey: os.Getenv("LAKELOADER_TEST_S3_SECRET_KEY")}
	if c.Endpoint == "" || c.AccessKey == "" || c.SecretKey == "" {
		t.Fatal("set LAKELOADER_TEST_S3, LAKELOADER_TEST_S3_ACCESS_KEY and LAKELOADER_TEST_S3_SECRET_KEY")
	}
	return configs.Warehouse{Location: fmt.Sprintf("s3://objects-%d/lake", time.Now().UnixNano()), S3: c}
}

// TestS3 runs the conformance suite against a real server.
func TestS3(t *testing.T) {
	cfg := stackS3(t)
	st, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := st.(*s3Store)
	bucket, _, _ := strings.Cut(strings.TrimPrefix(cfg.Location, "s3://"), "/")
	if err := s.Put(t.Context(), cfg.Location+"/a", nil); err == nil || errors.Is(err, ErrRetry) || !strings.Contains(err.Error(), "does not exist") {
		t.Fatalf("missing bucket: %v", err)
	}
	if _, err := s.Open(t.Context(), cfg.Location+"/a"); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "does not exist") {
		t.Fatalf("missing bucket: %v", err)
	}
	if _, err := s.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	conformance(t, s, cfg.Location)

	for name, change := range map[string]func(*configs.S3){
		"secret": func(c *configs.S3) { c.SecretKey = "wrong-wrong" },
		"key":    func(c *configs.S3) { c.AccessKey = "wrong-wrong" },
	} {
		bad := cfg.S3
		change(&bad)
		s, err := NewS3(bad)
		if err != nil {
			t.Fatal(err)
		}
		_, oerr := s.Open(t.Context(), cfg.Location+"/put/empty")
		for op, err := range map[string]error{"put": s.Put(t.Context(), cfg.Location+"/x", nil), "open": oerr} {
			if err == nil || errors.Is(err, ErrRetry) || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "credentials are wrong") || !strings.Contains(err.Error(), bad.Endpoint) {
				t.Errorf("wrong %s, %s: %v", name, op, err)
			}
		}
	}
}
