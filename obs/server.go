package obs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lakeloader/lakeloader/configs"
)

// NewHandler serves what there is to see of a state: /healthz, /readyz, /metrics and /api/status. What hide knows is not
// shown.
func NewHandler(s *State, hide *configs.Redactor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { ready(w, s.Status(), hide, r.FormValue("pipeline")) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(NewRegistry(s), promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		e := json.NewEncoder(&body)
		e.SetIndent("", "  ")
		if err := e.Encode(s.Status()); err != nil {
			http.Error(w, "cannot write the status: "+err.Error(), http.StatusInternalServerError)
			return
		}
		reply(w, http.StatusOK, "application/json", []byte(hide.Text(body.String())))
	})
	return mux
}

// reply sends a whole body. A client that has gone away by then is no concern of ours.
func reply(w http.ResponseWriter, code int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// ready answers 200 when commits of every pipeline, or of the one asked for, are progressing, else 503 with a line for
// each that does not.
func ready(w http.ResponseWriter, s Status, hide *configs.Redactor, only string) {
	var why strings.Builder
	found := only == ""
	for _, p := range s.Pipelines {
		if only != "" && p.Name != only {
			continue
		}
		found = true
		if !p.Ready {
			fmt.Fprintf(&why, "%s: %s\n", p.Name, p.NotReady)
		}
	}
	const text = "text/plain; charset=utf-8"
	switch {
	case !found:
		reply(w, http.StatusNotFound, text, []byte("there is no such pipeline\n"))
	case len(s.Pipelines) == 0:
		reply(w, http.StatusServiceUnavailable, text, []byte("starting: no pipeline runs yet\n"))
	case why.Len() > 0:
		reply(w, http.StatusServiceUnavailable, text, []byte(hide.Text(why.String())))
	default:
		reply(w, http.StatusOK, text, []byte("ready\n"))
	}
}

// Server serves a handler until it is stopped.
type Server struct {
	http     *http.Server
	listener net.Listener
	done     chan error
}

// Listen serves h on an address, host:port (port 0: a free one), with TLS unless secure is nil. The caller stops it.
func Listen(address string, secure *tls.Config, h http.Handler, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s (http.address): %w", address, err)
	}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	s := &Server{
		http:     &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)},
		listener: l, done: make(chan error, 1),
	}
	go func() {
		err := s.http.Serve(l)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		} else {
			log.Error("the HTTP endpoint ended", "address", l.Addr().String(), "error", err)
		}
		s.done <- err
	}()
	return s, nil
}

// Addr is the address that it listens on, with the real port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Stop lets running requests end until ctx is done, then cuts them off, and returns when the server is gone. To be called
// once. The error is that of a server that had ended by itself, or of the context.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	return errors.Join(err, <-s.done)
}

// Fetch gets the status of a daemon from its HTTP endpoint.
func Fetch(ctx context.Context, d Daemon) (Status, error) {
	scheme, address := "http://", d.Address
	transport := &http.Transport{TLSClientConfig: d.TLS, TLSHandshakeTimeout: 10 * time.Second}
	defer transport.CloseIdleConnections()
	if d.TLS != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+address+"/api/status", nil)
	if err != nil {
		return Status{}, fmt.Errorf("status of the daemon at %s: %w", address, err)
	}
	if d.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.Token)
	}
	resp, err := transport.RoundTrip(req) // follows no redirection, which could lead the token elsewhere
	if err != nil {
		return Status{}, fmt.Errorf("no answer from a daemon at %s: %w", address, err)
	}
	defer resp.Body.Close()
	const most = 64 << 20
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return Status{}, fmt.Errorf("status of the daemon at %s: %w", address, err)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return Status{}, fmt.Errorf("status of the daemon at %s: it wants another token than http.token of this configuration", address)
	}
	if resp.StatusCode != http.StatusOK {
		return Status{}, fmt.Errorf("status of the daemon at %s: it answers %s", address, resp.Status)
	}
	var s Status
	if err := json.Unmarshal(body, &s); err != nil {
		return Status{}, fmt.Errorf("what answers at %s is not lakeloader: %w", address, err)
	}
	return s, nil
}
