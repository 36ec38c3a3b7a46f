//go:build stack

package badinput

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"syscall"
	"testing"
)

// closedPort is an address (host:port) that refuses connections, and that no one else is given while the test runs.
func closedPort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Close(fd); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in4, ok := sa.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("the socket's address is %v", sa)
	}
	return fmt.Sprintf("127.0.0.1:%d", in4.Port)
}

// proxy passes TCP connections on to a server, until it is cut.
type proxy struct {
	target string
	l      net.Listener

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, l: l, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		p.setCut(true)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// setCut breaks all connections and refuses new ones, or lets them through again.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			reset(c)
		}
	}
}

// reset ends a connection as a server that is killed does. That it has ended already is no concern here.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return // the listener is closed
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

// keep notes a connection, or ends it when there shall be none.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		reset(c)
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) serve(in net.Conn) {
	if !p.keep(in) {
		return
	}
	out, err := net.Dial("tcp", p.target)
	if err != nil || !p.keep(out) {
		reset(in)
		return
	}
	both := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // either side may end it, or setCut
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

// answer is a wrong answer of a server behind httpProxy. It returns false to let the request through.
type answer func(w http.ResponseWriter, r *http.Request) bool

// httpProxy passes requests on to a server, unless it is told to answer otherwise.
type httpProxy struct {
	URL  string
	mu   sync.Mutex
	bad  answer
	gone context.CancelFunc // ends the bad answers that take long
	ctx  context.Context
}

func newHTTPProxy(t *testing.T, target string) *httpProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &httpProxy{}
	p.answer(nil)
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		bad, ctx := p.bad, p.ctx
		p.mu.Unlock()
		if bad == nil || !bad(w, r.WithContext(ctx)) {
			to.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		p.answer(nil)
		server.CloseClientConnections()
		server.Close()
	})
	p.URL = server.URL + u.Path
	return p
}

// answer sets what requests get from now on; nil: what the server says.
func (p *httpProxy) answer(bad answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone != nil {
		p.gone()
	}
	p.ctx, p.gone = context.WithCancel(context.Background())
	p.bad = bad
}

// broken answers with an HTTP status.
func broken(code int) answer {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"error_code": `+fmt.Sprint(code)+`, "message": "the test says so"}`, code)
		return true
	}
}

// dropped ends the connection without an answer.
func dropped(w http.ResponseWriter, _ *http.Request) bool {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(errors.Join(http.ErrAbortHandler, err))
	}
	reset(c)
	return true
}

// silent never answers.
func silent(_ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}
