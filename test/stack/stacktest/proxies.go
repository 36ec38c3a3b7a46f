//go:build stack

package stacktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy passes TCP connections on to a server, until it is cut.
type Proxy struct {
	target string
	l      net.Listener

	mu    sync.Mutex
	cut   bool
	lose  []string
	lost  func()
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// NewProxy starts a proxy to the target (host:port), until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, l: l, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		p.SetCut(true)
		p.wg.Wait()
	})
	return p
}

// Addr is where the proxy listens, host:port.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// SetCut breaks all connections and refuses new ones, or lets them through again.
func (p *Proxy) SetCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			reset(c)
		}
	}
}

// LoseAnswer drops the answer to the next request that holds the last of the texts, after requests with the others came
// over the same connection, in this order. The server answers, the client's connection is reset, then done is called.
func (p *Proxy) LoseAnswer(done func(), texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.lost = texts, done
}

// spied is one connection, on the lookout for the request whose answer shall be lost.
type spied struct {
	p       *Proxy
	in, out net.Conn
	seen    int // of the texts
}

// requests reads what the client sends.
func (c *spied) requests(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.seen < len(c.p.lose) && bytes.Contains(b[:n], []byte(c.p.lose[c.seen])) {
		c.seen++
	}
	return n, err
}

// answers reads what the server sends.
func (c *spied) answers(b []byte) (int, error) {
	n, err := c.out.Read(b)
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.seen == 0 || c.seen < len(c.p.lose) {
		return n, err
	}
	c.seen = 0
	if done := c.p.lost; done != nil { // else another connection's answer was lost first
		c.p.lose, c.p.lost = nil, nil
		done()
		return 0, io.EOF
	}
	return n, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// reset ends a connection as a server that is killed does. That it has ended already is no concern here.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return // the listener is closed
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

// keep notes a connection, or ends it when there shall be none.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		reset(c)
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) serve(in net.Conn) {
	if !p.keep(in) {
		return
	}
	out, err := net.Dial("tcp", p.target)
	if err != nil || !p.keep(out) {
		reset(in)
		return
	}
	both := make(chan struct{}, 2)
	spy := &spied{p: p, in: in, out: out}
	for to, from := range map[net.Conn]readerFunc{in: spy.answers, out: spy.requests} {
		go func() {
			_, _ = io.Copy(to, from) // either side may end it, or SetCut
			both <- struct{}{}
		}()
	}
	<-both
	reset(in)
	reset(out)
	<-both
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, in)
	delete(p.conns, out)
}

// Answer is a wrong answer of a server behind HTTPProxy. It returns false to let the request through.
type Answer func(w http.ResponseWriter, r *http.Request) bool

// HTTPProxy passes requests on to a server, unless it is told to answer otherwise.
type HTTPProxy struct {
	URL  string
	mu   sync.Mutex
	bad  Answer
	gone context.CancelFunc // ends the bad answers that take long
	ctx  context.Context
	to   http.Handler
}

// NewHTTPProxy starts a proxy to the target, a URL, until the test ends.
func NewHTTPProxy(t testing.TB, target string) *HTTPProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host})
	to.ErrorLog = log.New(io.Discard, "", 0) // the client is told
	p := &HTTPProxy{to: to}
	p.Answer(nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		bad, ctx := p.bad, p.ctx
		p.mu.Unlock()
		if bad == nil || !bad(w, r.WithContext(ctx)) {
			to.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		p.Answer(nil)
		server.CloseClientConnections()
		server.Close()
	})
	p.URL = server.URL + u.Path
	return p
}

// Answer sets what requests get from now on; nil: what the server says.
func (p *HTTPProxy) Answer(bad Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone != nil {
		p.gone()
	}
	p.ctx, p.gone = context.WithCancel(context.Background())
	p.bad = bad
}

// Broken answers with an HTTP status.
func Broken(code int) Answer {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"error_code": `+fmt.Sprint(code)+`, "message": "the test says so"}`, code)
		return true
	}
}

// Dropped ends the connection without an answer.
func Dropped(w http.ResponseWriter, _ *http.Request) bool {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(errors.Join(http.ErrAbortHandler, err))
	}
	reset(c)
	return true
}

// Silent never answers.
func Silent(_ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}

// Hung never answers, and ends the connection when the proxy is told to answer otherwise.
func Hung(w http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return Dropped(w, r)
}

// Slow lets the request through after a while, or when the proxy is told to answer otherwise.
func Slow(d time.Duration) Answer {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
		}
		return false
	}
}

// Lost lets the server do what it is asked, and ends the connection without an answer.
func (p *HTTPProxy) Lost(w http.ResponseWriter, r *http.Request) bool {
	p.to.ServeHTTP(httptest.NewRecorder(), r)
	return Dropped(w, r)
}

// HalfAnswered ends the connection in the middle of the answer.
func (p *HTTPProxy) HalfAnswered(w http.ResponseWriter, r *http.Request) bool {
	full := httptest.NewRecorder()
	p.to.ServeHTTP(full, r)
	maps.Copy(w.Header(), full.Header())
	w.Header().Set("Content-Length", fmt.Sprint(full.Body.Len()))
	w.WriteHeader(full.Code)
	_, _ = w.Write(full.Body.Bytes()[:full.Body.Len()/2]) // the client may be gone, which is as good
	panic(http.ErrAbortHandler)
}

// HalfSent passes half of the request's body on and ends both connections.
func (p *HTTPProxy) HalfSent(w http.ResponseWriter, r *http.Request) bool {
	half := r.Clone(r.Context())
	half.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, r.ContentLength/2), brokenReader{}))
	p.to.ServeHTTP(httptest.NewRecorder(), half)
	return Dropped(w, r)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
