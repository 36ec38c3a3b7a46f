package access

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/certs"
)

// serve is a server with a certificate for so long, by a; with demand it wants one of its clients.
func serve(t *testing.T, a *certs.Authority, life time.Duration, demand bool) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	srv.TLS = a.Server(t, a.Issue(t, "server", life), demand)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func TestTLS(t *testing.T) {
	a, stranger := certs.NewAuthority(t), certs.NewAuthority(t)
	own, foreign := a.Issue(t, "client", time.Hour), stranger.Issue(t, "client", time.Hour)
	plain, mutual, expired := serve(t, a, time.Hour, false), serve(t, a, time.Hour, true), serve(t, a, -time.Hour, false)
	http11 := httptest.NewServer(http.NotFoundHandler())
	defer http11.Close()
	for name, c := range map[string]struct {
		url    string
		cfg    configs.TLS
		advice string // "": it works
	}{
		"trusted":              {plain.URL, configs.TLS{CA: a.File}, ""},
		"no verification":      {expired.URL, configs.TLS{SkipVerify: true}, ""},
		"with a certificate":   {mutual.URL, configs.TLS{CA: a.File, Cert: own.Cert, Key: own.Key}, ""},
		"the system's CAs":     {plain.URL, configs.TLS{}, "registry.tls.ca_file"},
		"another CA":           {plain.URL, configs.TLS{CA: stranger.File}, "registry.tls.ca_file"},
		"expired":              {expired.URL, configs.TLS{CA: a.File}, "expired"},
		"another host":         {plain.URL, configs.TLS{CA: a.File}, "another host"},
		"no certificate":       {mutual.URL, configs.TLS{CA: a.File}, "registry.tls.cert_file"},
		"a foreign one":        {mutual.URL, configs.TLS{CA: a.File, Cert: foreign.Cert, Key: foreign.Key}, "registry.tls.cert_file"},
		"a server without TLS": {strings.Replace(http11.URL, "http:", "https:", 1), configs.TLS{CA: a.File}, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			secure, err := TLS("registry.tls", c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if name == "another host" {
				secure.ServerName = "other.example.org"
			}
			check(t, c.url, secure, c.advice)
		})
	}
}

func check(t *testing.T, url string, secure *tls.Config, advice string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: secure}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	switch {
	case advice == "" && err != nil:
		t.Error(err)
	case advice != "" && (err == nil || !strings.Contains(Advice("registry.tls", err), advice)):
		t.Errorf("%v: advice %q, want %q", err, Advice("registry.tls", err), advice)
	}
}

func TestBadFiles(t *testing.T) {
	a := certs.NewAuthority(t)
	c, other := a.Issue(t, "a", time.Hour), a.Issue(t, "b", time.Hour)
	for _, cfg := range []configs.TLS{{CA: "/none.pem"}, {CA: c.Key}, {Cert: c.Cert, Key: other.Key}, {Cert: c.Cert, Key: "/none.pem"}} {
		if _, err := TLS("catalog.tls", cfg); err == nil || !strings.Contains(err.Error(), "catalog.tls") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// TestRenewedClientCertificate takes up a certificate that was replaced.
func TestRenewedClientCertificate(t *testing.T) {
	a := certs.NewAuthority(t)
	c, renewed := a.Issue(t, "a", time.Hour), a.Issue(t, "b", time.Hour)
	secure, err := TLS("registry.tls", configs.TLS{Cert: c.Cert, Key: c.Key})
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{renewed.Cert: c.Cert, renewed.Key: c.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	got, err := secure.GetClientCertificate(nil)
	if err != nil || got.Leaf.Subject.CommonName != "b" {
		t.Errorf("%v, %v", got, err)
	}
}
