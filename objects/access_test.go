package objects

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/configs"
)

// writes stores a small object and one of three parts.
func writes(t *testing.T, wh configs.Warehouse) error {
	t.Helper()
	s, err := NewS3(wh.S3)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "s3://bucket/small", []byte("x")); err != nil {
		return err
	}
	u, err := s.Create(t.Context(), "s3://bucket/large")
	if err != nil {
		return err
	}
	defer u.Abort()
	if _, err := u.Write(make([]byte, 11<<20)); err != nil {
		return err
	}
	return u.Commit(t.Context())
}

// TestEncryption asserts the headers of both ways to write an object, and that nothing else has them.
func TestEncryption(t *testing.T) {
	for _, c := range []struct {
		how, key             string
		wantHeader, wantName string
	}{{"none", "", "", ""}, {"sse-s3", "", "AES256", ""}, {"sse-kms", "", "aws:kms", ""}, {"sse-kms", "arn:aws:kms:eu-central-1:1:key/k", "aws:kms", "arn:aws:kms:eu-central-1:1:key/k"}} {
		t.Run(c.how+c.key, func(t *testing.T) {
			f, wh := newFakeS3(t)
			var mu sync.Mutex
			seen := map[string]int{}
			f.fault = func(r *http.Request) fault {
				mu.Lock()
				defer mu.Unlock()
				begins := r.Method == http.MethodPut && !r.URL.Query().Has("partNumber") || r.URL.Query().Has("uploads")
				header, name := r.Header.Get("X-Amz-Server-Side-Encryption"), r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
				switch {
				case begins && (header != c.wantHeader || name != c.wantName):
					t.Errorf("%s %s: encryption %q, key %q", r.Method, r.URL, header, name)
				case !begins && header+name != "": // S3 refuses it
					t.Errorf("%s %s has the header", r.Method, r.URL)
				case begins && header != "" && !strings.Contains(r.Header.Get("Authorization"), "x-amz-server-side-encryption"):
					t.Error("the header is not signed")
				}
				if begins {
					seen[r.Method]++
				}
				return none
			}
			wh.S3.Encryption, wh.S3.KMSKey = c.how, c.key
			if err := writes(t, wh); err != nil {
				t.Fatal(err)
			}
			if seen[http.MethodPut] != 1 || seen[http.MethodPost] != 1 {
				t.Errorf("writes begun: %v", seen)
			}
		})
	}
	_, wh := newFakeS3(t)
	wh.S3.Encryption = "rot13"
	if _, err := NewS3(wh.S3); err == nil || !strings.Contains(err.Error(), "warehouse.s3.encryption") {
		t.Error(err)
	}
}

// TestRole writes with the credentials of a role, and is told when there are none.
func TestRole(t *testing.T) {
	f, wh := newFakeS3(t)
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || strings.HasSuffix(r.PostForm.Get("RoleArn"), "refused") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>of-role</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	wh.S3.STSEndpoint, wh.S3.RoleARN = sts.URL, "arn:aws:iam::1:role/lake"
	f.fault = func(r *http.Request) fault {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=of-role/") || r.Header.Get("X-Amz-Security-Token") != "session" {
			t.Errorf("%s %s is signed by %q", r.Method, r.URL, r.Header.Get("Authorization"))
		}
		return none
	}
	if err := writes(t, wh); err != nil {
		t.Fatal(err)
	}
	wh.S3.RoleARN = "arn:aws:iam::1:role/refused"
	err := writes(t, wh)
	for _, word := range []string{wh.S3.RoleARN, "warehouse.s3.role_arn", "s3://bucket/small"} {
		if err == nil || errors.Is(err, ErrRetry) || !strings.Contains(err.Error(), word) {
			t.Errorf("%v lacks %q, or is to be tried again", err, word)
		}
	}
	s := &s3Store{endpoint: "here"}
	away := &access.RoleError{ARN: wh.S3.RoleARN, Path: "warehouse.s3", Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}
	if err := s.classify("write", "bucket", "key", away); !errors.Is(err, ErrRetry) {
		t.Errorf("STS is away: %v", err)
	}
}

// TestTrust writes over TLS to a service whose authority is named, and is told what to do when it is not.
func TestTrust(t *testing.T) {
	f, wh := newFakeS3(t)
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	wh.S3.Endpoint, wh.S3.CA = srv.URL, ca
	if err := writes(t, wh); err != nil {
		t.Error(err)
	}
	wh.S3.CA = ""
	began := time.Now()
	if err := writes(t, wh); err == nil || errors.Is(err, ErrRetry) || !strings.Contains(err.Error(), "warehouse.s3.ca_file") || time.Since(began) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	t.Setenv("AWS_CA_BUNDLE", ca)
	f.mu.Lock()
	clear(f.objects)
	f.mu.Unlock()
	if err := writes(t, wh); err != nil {
		t.Errorf("with AWS_CA_BUNDLE: %v", err)
	}
}
