package obs

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// Guard lets requests through to h that carry the token (Authorization: Bearer), and all of them when it is empty. Without
// it /healthz is answered as ever, since probes carry none, and /readyz without the reasons, which name servers.
func Guard(h http.Handler, token string) http.Handler {
	if token == "" {
		return h
	}
	want := sha256.Sum256([]byte(token)) // of one length, so that comparing takes the same time for every guess
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(given)))
		switch {
		case strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1:
			h.ServeHTTP(w, r)
		case r.URL.Path == "/healthz":
			h.ServeHTTP(w, r)
		case r.URL.Path == "/readyz":
			h.ServeHTTP(&brief{ResponseWriter: w}, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="lakeloader"`)
			reply(w, http.StatusUnauthorized, "text/plain; charset=utf-8", []byte("send the token of http.token: Authorization: Bearer TOKEN\n"))
		}
	})
}

// brief writes a status without what it is about.
type brief struct {
	http.ResponseWriter
	written bool
}

func (b *brief) WriteHeader(code int) {
	b.ResponseWriter.WriteHeader(code)
	text := "not ready\n"
	if code == http.StatusOK {
		text = "ready\n"
	}
	b.written = true
	_, _ = b.ResponseWriter.Write([]byte(text)) // a client that has gone away is no concern of ours
}

func (b *brief) Write(p []byte) (int, error) {
	if !b.written {
		b.WriteHeader(http.StatusOK)
	}
	return len(p), nil
}

// ServerTLS returns the TLS settings of the endpoint; nil: plain HTTP. A certificate that was renewed is taken up within a
// minute.
func ServerTLS(cfg configs.ServerTLS) (*tls.Config, error) {
	if cfg.Cert == "" {
		return nil, nil
	}
	c := &certificate{cfg: cfg}
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// certificate is read from its files once a minute at most.
type certificate struct {
	cfg  configs.ServerTLS
	mu   sync.Mutex
	cert *tls.Certificate
	read time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil && time.Since(c.read) < time.Minute {
		return c.cert, nil
	}
	cert, err := tls.LoadX509KeyPair(c.cfg.Cert, c.cfg.Key)
	switch {
	case err == nil:
		c.cert, c.read = &cert, time.Now()
	case c.cert == nil:
		return nil, fmt.Errorf("http.tls: the certificate %s with the key %s cannot be used: %w", c.cfg.Cert, c.cfg.Key, err)
	default: // it is being replaced: the old one serves on
		c.read = time.Now()
	}
	return c.cert, nil
}

// Daemon is how to reach a daemon's endpoint.
type Daemon struct {
	Address string // host:port
	Token   string // empty: none is needed
	// TLS is what https needs; nil: http.
	TLS *tls.Config
}

// DaemonOf returns how to reach the endpoint of a configuration, on this machine when it listens on all addresses.
func DaemonOf(cfg configs.HTTP) (Daemon, error) {
	d := Daemon{Address: cfg.Address, Token: cfg.Token}
	if host, port, err := net.SplitHostPort(cfg.Address); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			d.Address = net.JoinHostPort("localhost", port)
		}
	}
	if cfg.TLS.Cert == "" {
		return d, nil
	}
	d.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TLS.CA == "" {
		return d, nil
	}
	pem, err := os.ReadFile(cfg.TLS.CA)
	if err != nil {
		return d, fmt.Errorf("http.tls.ca_file: %w", err)
	}
	d.TLS.RootCAs = x509.NewCertPool()
	if !d.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return d, errors.New("http.tls.ca_file: " + cfg.TLS.CA + " holds no certificate in PEM form")
	}
	return d, nil
}
