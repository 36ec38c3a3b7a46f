//go:build stack

package chaos

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// request says which requests a fault strikes.
type request struct {
	name  string
	match func(r *http.Request) bool
}

func putOf(part string) request {
	return request{"PUT " + part, func(r *http.Request) bool { return r.Method == http.MethodPut && strings.Contains(r.URL.Path, part) }}
}

var (
	anyPut   = putOf("")
	anyGet   = request{"GET", func(r *http.Request) bool { return r.Method == http.MethodGet && !r.URL.Query().Has("list-type") }}
	anything = request{"any request", func(*http.Request) bool { return true }}
	// puts are what a round writes to S3.
	puts = []request{putOf(".parquet"), putOf("/rounds/"), putOf("/committed/"), putOf(".avro"), anyPut}
)

// through breaks requests that go through a proxy, up to a number of times, until the proxy is told to answer otherwise. The
// channel gives the moment of the first.
func through(p *stacktest.HTTPProxy, what request, times int, bad stacktest.Answer) <-chan time.Time {
	struck := make(chan time.Time, 1)
	var n atomic.Int64
	p.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if !what.match(r) || n.Add(1) > int64(times) {
			return false
		}
		select {
		case struck <- time.Now():
		default:
		}
		return bad(w, r)
	})
	return struck
}

// s3Says answers as S3 does.
func s3Says(code int, name string) stacktest.Answer {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(code)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the fault suite says so</Message></Error>", name)
		return true
	}
}

const always = 1 << 30

// broken is a fault of an HTTP server that lasts for a while.
func (l *loader) broken(p *stacktest.HTTPProxy, what request, times int, bad stacktest.Answer, last time.Duration) (strike, bool) {
	process := l.process
	at, ok := hit(through(p, what, times, bad))
	if ok {
		lasting(last)
	}
	p.Answer(nil)
	return strike{l, process, at, time.Now()}, ok
}

func inS3(r *round) bool { return r.lake.kind != "sqlite" }

func s3Faults() []fault {
	kind := func(name string, strike func(r *round, l *loader) (strike, bool)) fault {
		return fault{name: "S3 " + name, fits: inS3, strike: strike}
	}
	return []fault{
		kind("answers 503", func(r *round, l *loader) (strike, bool) {
			return l.broken(l.s3, pick(r.rnd, append(puts, anyGet, anything)...), always, s3Says(503, "SlowDown"), between(r.rnd, 100*time.Millisecond, 4*time.Second))
		}),
		kind("answers 500", func(r *round, l *loader) (strike, bool) {
			return l.broken(l.s3, pick(r.rnd, append(puts, anyGet, anything)...), always, s3Says(500, "InternalError"), between(r.rnd, 100*time.Millisecond, 4*time.Second))
		}),
		kind("does not answer", func(r *round, l *loader) (strike, bool) {
			return l.broken(l.s3, pick(r.rnd, append(puts, anyGet, anything)...), always, stacktest.Hung, between(r.rnd, 2*time.Second, 5*time.Second))
		}),
		kind("is slow", func(r *round, l *loader) (strike, bool) {
			return l.broken(l.s3, anything, always, stacktest.Slow(between(r.rnd, 50*time.Millisecond, 800*time.Millisecond)), between(r.rnd, 2*time.Second, 4*time.Second))
		}),
		kind("resets the connection within an answer", func(r *round, l *loader) (strike, bool) {
			return l.broken(l.s3, anyGet, pick(r.rnd, 1, 5, 20), l.s3.HalfAnswered, between(r.rnd, 100*time.Millisecond, 2*time.Second))
		}),
		kind("PUT succeeds, its answer is lost", func(r *round, l *loader) (strike, bool) {
			return l.broken(l.s3, pick(r.rnd, puts...), pick(r.rnd, 1, 2, 10), l.s3.Lost, between(r.rnd, 100*time.Millisecond, 2*time.Second))
		}),
		kind("upload is cut short", func(r *round, l *loader) (strike, bool) {
			return l.broken(l.s3, pick(r.rnd, puts...), pick(r.rnd, 1, 2, 10), l.s3.HalfSent, between(r.rnd, 100*time.Millisecond, 2*time.Second))
		}),
	}
}
