//go:build stack

package iceberg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/tabletest"
)

func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("set %s", name)
	}
	return v
}

// bucket makes a bucket of its own on the S3 server.
func bucket(t *testing.T) configs.Warehouse {
	t.Helper()
	wh := configs.Warehouse{S3: configs.S3{Endpoint: env(t, "LAKELOADER_TEST_S3"), AccessKey: env(t, "LAKELOADER_TEST_S3_ACCESS_KEY"), SecretKey: env(t, "LAKELOADER_TEST_S3_SECRET_KEY")}}
	name := fmt.Sprintf("iceberg-%d", time.Now().UnixNano())
	wh.Location = "s3://" + name + "/lake"
	ac, err := objects.AWSConfig(t.Context(), wh.S3)
	if err != nil {
		t.Fatal(err)
	}
	c := s3.NewFromConfig(ac, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &wh.S3.Endpoint, true })
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return wh
}

func TestPostgres(t *testing.T) {
	cfg := configs.Catalog{Type: "postgres", URI: env(t, "LAKELOADER_TEST_POSTGRES"), Name: fmt.Sprint("c", time.Now().UnixNano())}
	wh := configs.Warehouse{Location: t.TempDir()}
	h := harness(cfg, wh)
	h.Metadata = localMetadata
	h.Commits = 50
	h.Lossy = func(t *testing.T, lands bool) table.Catalog {
		u, err := url.Parse(cfg.URI)
		if err != nil {
			t.Fatal(err)
		}
		through := cfg
		proxied := *u
		proxied.Host = cutCommit(t, u.Host, lands)
		through.URI = proxied.String()
		return harness(through, wh).Catalog(t)
	}
	tabletest.Run(t, h)
}

// cutCommit is a proxy before PostgreSQL that cuts the connection of the first COMMIT of an update: before it, or between
// the server's answer and the client.
func cutCommit(t *testing.T, server string, lands bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var used atomic.Bool
	serve := func(client net.Conn) {
		defer client.Close()
		up, err := net.Dial("tcp", server)
		if err != nil {
			t.Errorf("proxy: %v", err)
			return
		}
		defer up.Close()
		var deaf atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 64<<10)
			for {
				n, err := up.Read(buf)
				if deaf.Load() || err != nil {
					client.Close()
					return
				}
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
		updated := false
		buf := make([]byte, 64<<10)
		for {
			n, err := client.Read(buf)
			if err != nil {
				break
			}
			updated = updated || bytes.Contains(buf[:n], []byte("UPDATE"))
			if updated && bytes.Contains(buf[:n], []byte("commit")) && !used.Swap(true) {
				if !lands {
					break
				}
				deaf.Store(true)
			}
			if _, err := up.Write(buf[:n]); err != nil {
				break
			}
		}
		if deaf.Load() {
			<-done // the server has answered
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

func TestPostgresErrors(t *testing.T) {
	uri := env(t, "LAKELOADER_TEST_POSTGRES")
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	wh := configs.Warehouse{Location: t.TempDir()}
	db, user, down := *u, *u, *u
	db.Path = "/no_such_database"
	user.User = url.UserPassword("no_such_user", "secret-word")
	down.Host = "127.0.0.1:1"
	for want, u := range map[string]url.URL{"does not exist": db, "user or password": user, "unreachable": down} {
		_, err := Open(t.Context(), configs.Catalog{Type: "postgres", URI: u.String()}, wh)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), u.Hostname()) || errors.Is(err, table.ErrRetry) != (want == "unreachable") || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestREST(t *testing.T) {
	cfg, wh := configs.Catalog{Type: "rest", URI: env(t, "LAKELOADER_TEST_REST"), Warehouse: os.Getenv("LAKELOADER_TEST_REST_WAREHOUSE")}, bucket(t)
	h := harness(cfg, wh)
	h.Commits = 50
	h.Lossy = func(t *testing.T, lands bool) table.Catalog {
		u, err := url.Parse(cfg.URI)
		if err != nil {
			t.Fatal(err)
		}
		var used atomic.Bool
		proxy := httputil.NewSingleHostReverseProxy(u)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || used.Swap(true) {
				proxy.ServeHTTP(w, r)
				return
			}
			if lands {
				proxy.ServeHTTP(httptest.NewRecorder(), r)
			}
			panic(http.ErrAbortHandler)
		}))
		t.Cleanup(srv.Close)
		through := cfg
		through.URI = srv.URL
		return harness(through, wh).Catalog(t)
	}
	tabletest.Run(t, h)
}

func TestSQLiteOnS3(t *testing.T) {
	h := harness(configs.Catalog{URI: t.TempDir() + "/catalog.db"}, bucket(t))
	h.Commits = 50
	tabletest.Run(t, h)
}

func TestS3Errors(t *testing.T) {
	wh := bucket(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for want, change := range map[string]func(*configs.Warehouse){
		"NoSuchBucket": func(w *configs.Warehouse) { w.Location = "s3://no-such-bucket-here/lake" },
		"credentials":  func(w *configs.Warehouse) { w.S3.SecretKey = "wrong-wrong" },
	} {
		bad := wh
		change(&bad)
		c, err := Open(ctx, configs.Catalog{URI: t.TempDir() + "/catalog.db"}, bad)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Ensure(ctx, table.Def{Ident: table.Ident{Namespace: "n", Name: "t"}, Row: smallRow()})
		if err == nil || table.Passing(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
