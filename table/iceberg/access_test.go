package iceberg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/test/certs"
)

// TestRESTLogin opens a REST catalog over TLS, with OAuth2's client credentials and with a token.
func TestRESTLogin(t *testing.T) {
	ca := certs.NewAuthority(t)
	own := ca.Issue(t, "client", time.Hour)
	serve := func(life time.Duration, demand bool) string {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/oauth/tokens"):
				if err := r.ParseForm(); err != nil || r.PostForm.Get("client_id") != "loader" || r.PostForm.Get("client_secret") != "canary-secret" {
					w.WriteHeader(http.StatusUnauthorized)
					fmt.Fprint(w, `{"error":"invalid_client","error_description":"no such client"}`)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"access_token":"good","token_type":"bearer","expires_in":3600}`)
			case r.Header.Get("Authorization") != "Bearer good":
				restError(w, 401)
			default:
				_ = json.NewEncoder(w).Encode(map[string]any{"defaults": map[string]string{}, "overrides": map[string]string{}})
			}
		}))
		srv.TLS = ca.Server(t, ca.Issue(t, "catalog", life), demand)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv.URL
	}
	plain, mutual, expired := serve(time.Hour, false), serve(time.Hour, true), serve(-time.Hour, false)
	trust := configs.TLS{CA: ca.File}
	wh := configs.Warehouse{Location: t.TempDir()}
	for name, c := range map[string]struct {
		cfg  configs.Catalog
		want string // "": it opens
	}{
		"credential":       {configs.Catalog{URI: plain, Credential: "loader:canary-secret", TLS: trust}, ""},
		"token":            {configs.Catalog{URI: plain, Token: "good", TLS: trust}, ""},
		"certificate":      {configs.Catalog{URI: mutual, Token: "good", TLS: configs.TLS{CA: ca.File, Cert: own.Cert, Key: own.Key}}, ""},
		"both":             {configs.Catalog{URI: mutual, Credential: "loader:canary-secret", TLS: configs.TLS{CA: ca.File, Cert: own.Cert, Key: own.Key}}, ""},
		"not verified":     {configs.Catalog{URI: expired, Token: "good", TLS: configs.TLS{SkipVerify: true}}, ""},
		"wrong credential": {configs.Catalog{URI: plain, Credential: "loader:canary-wrong", TLS: trust}, "check catalog.credential"},
		"wrong token":      {configs.Catalog{URI: plain, Token: "canary-wrong", TLS: trust}, "catalog rest https://127.0.0.1"},
		"untrusted":        {configs.Catalog{URI: plain, Token: "canary-wrong"}, "catalog.tls.ca_file"},
		"expired":          {configs.Catalog{URI: expired, Token: "canary-wrong", TLS: trust}, "expired"},
		"no certificate":   {configs.Catalog{URI: mutual, Credential: "loader:canary-secret", TLS: trust}, "certificate required"},
		"broken authority": {configs.Catalog{URI: plain, TLS: configs.TLS{CA: own.Key}}, "catalog.tls.ca_file"},
		"password in URI":  {configs.Catalog{URI: strings.Replace(plain, "//", "//me:canary-wrong@", 1), Token: "canary-wrong", TLS: trust}, "catalog rest https://me:xxxxx@"},
		"no URI at all":    {configs.Catalog{URI: "me:canary-wrong@h"}, "catalog.uri"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Type = "rest"
			cat, err := Open(t.Context(), c.cfg, wh)
			if err == nil {
				err = cat.Close()
			}
			switch {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "canary"):
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

// roleBucket is a little S3 that gives credentials for a role too, and demands that they are used.
type roleBucket struct {
	t       *testing.T
	mu      sync.Mutex
	objects map[string][]byte
	wrote   int
}

func (b *roleBucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	if r.URL.Path == "/" && bytes.Contains(body, []byte("AssumeRole")) {
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>of-role</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !strings.Contains(r.Header.Get("Authorization"), "Credential=of-role/") {
		b.t.Errorf("%s %s is signed by %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}
	data, there := b.objects[r.URL.Path]
	switch {
	case r.Method == http.MethodPut:
		if r.Header.Get("X-Amz-Server-Side-Encryption") != "aws:kms" || r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != "alias/lake" {
			b.t.Errorf("%s is written with encryption %q", r.URL, r.Header.Get("X-Amz-Server-Side-Encryption"))
		}
		b.objects[r.URL.Path] = body
		b.wrote++
		w.Header().Set("ETag", `"e"`)
	case r.Method == http.MethodDelete:
		delete(b.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case !there:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
	default:
		http.ServeContent(w, r, "", time.Now(), bytes.NewReader(data))
	}
}

// TestMetadataIsEncrypted makes a table, writes to it and reads it back with the role of the warehouse: the metadata that
// the library writes obeys the same settings as data files.
func TestMetadataIsEncrypted(t *testing.T) {
	b := &roleBucket{t: t, objects: map[string][]byte{}}
	srv := httptest.NewServer(b)
	defer srv.Close()
	wh := configs.Warehouse{Location: "s3://lake/w", S3: configs.S3{Endpoint: srv.URL, STSEndpoint: srv.URL, Region: "eu-central-1", AccessKey: "base", SecretKey: "s",
		RoleARN: "arn:aws:iam::1:role/lake", Encryption: "sse-kms", KMSKey: "alias/lake"}}
	cat, err := Open(t.Context(), configs.Catalog{Type: "sqlite", URI: t.TempDir() + "/catalog.db"}, wh)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	id := table.Ident{Namespace: "n", Name: "t"}
	if _, err := cat.Ensure(t.Context(), table.Def{Ident: id, Row: smallRow()}); err != nil {
		t.Fatal(err)
	}
	s, err := cat.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := b.wrote
	change := table.Change{Snapshot: true, Props: func(int64) map[string]string { return map[string]string{table.Prefix + "a": "1"} }}
	if err := s.Swap(t.Context(), base, change); err != nil {
		t.Fatal(err)
	}
	now, err := s.Load(t.Context())
	if err != nil || now.Snapshot == 0 || b.wrote < before+2 {
		t.Errorf("%+v, %v; %d objects were written", now, err, b.wrote-before)
	}
}
