package obs

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/certs"
)

const token = "0123456789abcdef"

func TestGuard(t *testing.T) {
	s, _ := example()
	h := Guard(NewHandler(s, nil), token)
	for _, c := range []struct {
		path, authorization string
		code                int
		says, hides         string
	}{
		{"/api/status", "Bearer " + token, 200, "lake.clicks", ""},
		{"/api/status", "bearer " + token, 200, "lake.clicks", ""},
		{"/metrics", "Bearer " + token, 200, "lakeloader_", ""},
		{"/readyz", "Bearer " + token, 503, "503 SlowDown", ""},
		{"/readyz", "", 503, "not ready", "SlowDown"},
		{"/readyz?pipeline=clicks", "", 200, "ready", ""},
		{"/healthz", "", 200, "ok", ""},
		{"/api/status", "", 401, "http.token", "clicks"},
		{"/metrics", "Bearer 0123456789abcdeF", 401, "http.token", "lakeloader_"},
		{"/metrics", "Bearer " + token + "0", 401, "http.token", "lakeloader_"},
		{"/metrics", "Bearer", 401, "http.token", "lakeloader_"},
		{"/metrics", "Basic " + token, 401, "http.token", "lakeloader_"},
		{"/metrics", token, 401, "http.token", "lakeloader_"},
		{"/other", "", 401, "http.token", ""},
		{"//api/status", "", 401, "http.token", "clicks"},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		if c.authorization != "" {
			r.Header.Set("Authorization", c.authorization)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.String()
		if w.Code != c.code || !strings.Contains(body, c.says) || c.hides != "" && strings.Contains(body, c.hides) {
			t.Errorf("%s with %q: %d %s", c.path, c.authorization, w.Code, body)
		}
		if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: headers %v", c.path, w.Header())
		}
	}
}

// TestHiddenInAnswers has a failing pipeline whose error repeats a secret.
func TestHiddenInAnswers(t *testing.T) {
	s, c := example()
	s.Pipeline("clicks", "lake.clicks", time.Minute).Failing(&net.DNSError{Err: "no such host", Name: "u:canary-secret@h"}, c.now())
	srv := httptest.NewServer(NewHandler(s, configs.NewRedactor(&configs.Config{Registry: configs.Registry{Password: "canary-secret"}})))
	defer srv.Close()
	for _, path := range []string{"/api/status", "/readyz", "/metrics"} {
		_, body := get(t, strings.TrimPrefix(srv.URL, "http://"), path)
		if strings.Contains(body, "canary") || path != "/metrics" && !strings.Contains(body, "u:***@h") {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// TestStatusOverTLS fetches the status with the settings that the daemon has too, and is refused with others.
func TestStatusOverTLS(t *testing.T) {
	cfg := configs.HTTP{Address: ":0", Token: token, TLS: selfSigned(t)}
	secure, err := ServerTLS(cfg.TLS)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := example()
	srv, err := Listen("127.0.0.1:0", secure, Guard(NewHandler(s, nil), token), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	d, err := DaemonOf(cfg)
	if err != nil || d.Address != "localhost:0" {
		t.Fatal(d, err)
	}
	d.Address = srv.Addr()
	got, err := Fetch(t.Context(), d)
	if err != nil || len(got.Pipelines) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	stranger := d
	stranger.Token = "another-token-of-16"
	untrusted := d
	untrusted.TLS = nil
	for _, c := range []struct {
		d    Daemon
		want string
	}{{stranger, "another token than http.token"}, {untrusted, "400 Bad Request"}} {
		if _, err := Fetch(t.Context(), c.d); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	if _, err := ServerTLS(configs.ServerTLS{Cert: cfg.TLS.Key, Key: cfg.TLS.Cert}); err == nil || !strings.Contains(err.Error(), "http.tls") {
		t.Error(err)
	}
	cfg.TLS.CA = cfg.TLS.Key
	if _, err := DaemonOf(cfg); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Error(err)
	}
}

// TestFetchFollowsNoRedirection keeps the token from being led elsewhere.
func TestFetchFollowsNoRedirection(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("it was followed, with %q", r.Header.Get("Authorization"))
	}))
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer srv.Close()
	if _, err := Fetch(t.Context(), Daemon{Address: strings.TrimPrefix(srv.URL, "http://"), Token: token}); err == nil || !strings.Contains(err.Error(), "302") {
		t.Error(err)
	}
}

// TestRenewedCertificate serves the old certificate while the new one is being written, and then the new one.
func TestRenewedCertificate(t *testing.T) {
	files := selfSigned(t)
	c := &certificate{cfg: files}
	first, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	later := func() { c.read = c.read.Add(-2 * time.Minute) }
	if err := os.WriteFile(files.Cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	later()
	if got, err := c.get(nil); err != nil || got != first {
		t.Errorf("while it is written: %v", err)
	}
	renewed := selfSigned(t)
	c.cfg = renewed
	if got, err := c.get(nil); err != nil || got != first {
		t.Errorf("within the minute: %v", err)
	}
	later()
	if got, err := c.get(nil); err != nil || got == first {
		t.Errorf("after it: %v", err)
	}
}

// selfSigned makes a certificate for this machine, with the authority to trust.
func selfSigned(t *testing.T) configs.ServerTLS {
	t.Helper()
	a := certs.NewAuthority(t)
	c := a.Issue(t, "daemon", time.Hour)
	return configs.ServerTLS{Cert: c.Cert, Key: c.Key, CA: a.File}
}
