package schemas

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/certs"
)

// TestRegistryLogin asks registries that want a password, a token, or a certificate.
func TestRegistryLogin(t *testing.T) {
	const answer = `{"schema":"\"string\"","id":1,"version":1}`
	ca := certs.NewAuthority(t)
	own, foreign := ca.Issue(t, "client", time.Hour), certs.NewAuthority(t).Issue(t, "client", time.Hour)
	serve := func(login string, life time.Duration, demand bool) string {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if login != r.Header.Get("Authorization") {
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = io.WriteString(w, answer)
		}))
		srv.TLS = ca.Server(t, ca.Issue(t, "registry", life), demand)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv.URL
	}
	basic, bearer := serve("Basic bWU6Y2FuYXJ5LXNlY3JldA==", time.Hour, false), serve("Bearer canary-secret", time.Hour, false)
	mutual, expired := serve("", time.Hour, true), serve("", -time.Hour, false)
	trust := configs.TLS{CA: ca.File}
	for name, c := range map[string]struct {
		cfg  configs.Registry
		want string // "": it answers
	}{
		"password":         {configs.Registry{URL: basic, Username: "me", Password: "canary-secret", TLS: trust}, ""},
		"token":            {configs.Registry{URL: bearer, Token: "canary-secret", TLS: trust}, ""},
		"certificate":      {configs.Registry{URL: mutual, TLS: configs.TLS{CA: ca.File, Cert: own.Cert, Key: own.Key}}, ""},
		"not verified":     {configs.Registry{URL: expired, TLS: configs.TLS{SkipVerify: true}}, ""},
		"wrong password":   {configs.Registry{URL: basic, Username: "me", Password: "canary-wrong", TLS: trust}, "status 401"},
		"wrong token":      {configs.Registry{URL: bearer, Token: "canary-wrong", TLS: trust}, "registry.token"},
		"no certificate":   {configs.Registry{URL: mutual, TLS: trust}, "registry.tls.cert_file"},
		"foreign":          {configs.Registry{URL: mutual, TLS: configs.TLS{CA: ca.File, Cert: foreign.Cert, Key: foreign.Key}}, "registry.tls.cert_file"},
		"untrusted":        {configs.Registry{URL: basic}, "registry.tls.ca_file"},
		"expired":          {configs.Registry{URL: expired, TLS: trust}, "expired"},
		"password in URL":  {configs.Registry{URL: strings.Replace(bearer, "//", "//me:canary-wrong@", 1), TLS: trust}, "status 401"},
		"plain to TLS":     {configs.Registry{URL: strings.Replace(basic, "https", "http", 1)}, "HTTP status 400"},
		"nothing listens":  {configs.Registry{URL: "https://me:canary-wrong@127.0.0.1:1"}, "127.0.0.1:1"},
		"no URL at all":    {configs.Registry{URL: "ftp://me:canary-wrong@h"}, "registry.url"},
		"broken authority": {configs.Registry{URL: basic, TLS: configs.TLS{CA: own.Key}}, "registry.tls.ca_file"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := NewRegistryClient(c.cfg)
			if err == nil {
				_, err = client.ByID(t.Context(), 1)
				if c.want != "" && !errors.Is(err, ErrRegistry) {
					t.Errorf("%v is no ErrRegistry", err)
				}
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
