package obs

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// RouteState is what a route is doing.
type RouteState string

// The states of a route.
const (
	RouteStarting   RouteState = "starting"
	RouteDelivering RouteState = "delivering"
	RouteStandby    RouteState = "standby" // another instance sends
	RouteFailing    RouteState = "failing"
)

// RouteStatus is the state of a route of a pipeline. Counts are since the process started, and of this instance.
type RouteStatus struct {
	Name   string     `json:"name"`
	Target string     `json:"target"`
	Mode   string     `json:"mode"`
	State  RouteState `json:"state"`
	// Delivered are rows that the receiver has, Refused those that it refused for good and that are kept, Suppressed those that were
	// left out as repetitions. Dropped were not sent, in the mode immediate, since the receiver did not keep up.
	Delivered  int64 `json:"delivered"`
	Refused    int64 `json:"refused"`
	Suppressed int64 `json:"suppressed"`
	Dropped    int64 `json:"dropped"`
	// Failures counts attempts that failed.
	Failures int64 `json:"failures"`
	// Lag is how many committed offsets the route has not been over; the mode immediate has none.
	Lag           int64     `json:"lag_offsets"`
	LastDelivery  time.Time `json:"last_delivery,omitzero"`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`
	NextTry       time.Time `json:"next_try,omitzero"`
}

// Route is told what becomes of one route. It is safe for concurrent use.
type Route struct {
	r    *Recorder
	name string
}

// Route adds a route to the pipeline, and returns where it tells what happens to it.
func (r *Recorder) Route(name, target, mode string) *Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := &r.status.Routes
	i, found := slices.BinarySearchFunc(*list, name, func(x RouteStatus, n string) int { return cmp.Compare(x.Name, n) })
	if !found {
		*list = slices.Insert(*list, i, RouteStatus{Name: name, Target: target, Mode: mode, State: RouteStarting})
	}
	return &Route{r, name}
}

func (t *Route) change(f func(s *RouteStatus)) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	list := t.r.status.Routes
	if i, found := slices.BinarySearchFunc(list, t.name, func(x RouteStatus, n string) int { return cmp.Compare(x.Name, n) }); found {
		f(&list[i])
	}
}

// Delivering says that the route goes on.
func (t *Route) Delivering() {
	t.change(func(s *RouteStatus) { s.State, s.NextTry = RouteDelivering, time.Time{} })
}

// Standby says that another instance sends.
func (t *Route) Standby() {
	t.change(func(s *RouteStatus) { s.State, s.Lag, s.NextTry = RouteStandby, 0, time.Time{} })
}

// Delivered counts rows.
func (t *Route) Delivered(rows, refused, suppressed int64) {
	t.change(func(s *RouteStatus) {
		s.Delivered, s.Refused, s.Suppressed = s.Delivered+rows, s.Refused+refused, s.Suppressed+suppressed
		if rows > 0 {
			s.LastDelivery = t.r.now()
		}
	})
}

// Dropped counts rows that are not sent.
func (t *Route) Dropped(rows int64) { t.change(func(s *RouteStatus) { s.Dropped += rows }) }

// Lag says how many committed offsets the route has not been over.
func (t *Route) Lag(offsets int64) { t.change(func(s *RouteStatus) { s.Lag = offsets }) }

// Failing says that something failed, and when it is tried again.
func (t *Route) Failing(err error, next time.Time) {
	t.change(func(s *RouteStatus) {
		s.State, s.LastError, s.LastErrorTime, s.NextTry = RouteFailing, err.Error(), t.r.now(), next
		s.Failures++
	})
}

// line is the status for people.
func (s RouteStatus) line(now time.Time) string {
	out := fmt.Sprintf("route %s: %s, to %s: %d delivered", s.Name, s.State, s.Target, s.Delivered)
	for _, x := range []struct {
		n    int64
		what string
	}{{s.Refused, "refused"}, {s.Suppressed, "suppressed"}, {s.Dropped, "dropped"}} {
		if x.n > 0 {
			out += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	if s.Mode == "committed" && s.State != RouteStandby {
		out += fmt.Sprintf(", %d offsets behind", s.Lag)
	}
	if !s.LastDelivery.IsZero() {
		out += fmt.Sprintf(", last %s ago", age(now.Sub(s.LastDelivery)))
	}
	if s.LastError != "" && s.State == RouteFailing {
		out += fmt.Sprintf("; failed %s ago: %s", age(now.Sub(s.LastErrorTime)), s.LastError)
	}
	return out
}

// routeMetrics are those of routes.
type routeMetrics struct{ rows, failures, lag, state *prometheus.Desc }

func newRouteMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) routeMetrics {
	return routeMetrics{
		rows:     desc("route_rows_total", "Rows of a route, by what became of them: delivered, refused, suppressed, dropped.", "pipeline", "route", "outcome"),
		failures: desc("route_failures_total", "Attempts of a route to send that failed.", "pipeline", "route"),
		lag:      desc("route_lag_offsets", "Committed offsets that a route has not been over.", "pipeline", "route"),
		state:    desc("route_state", "1 for the state that the route is in, 0 for the others.", "pipeline", "route", "state"),
	}
}

func (m routeMetrics) collect(p PipelineStatus, out chan<- prometheus.Metric) {
	for _, s := range p.Routes {
		for outcome, n := range map[string]int64{"delivered": s.Delivered, "refused": s.Refused, "suppressed": s.Suppressed, "dropped": s.Dropped} {
			out <- prometheus.MustNewConstMetric(m.rows, prometheus.CounterValue, float64(n), p.Name, s.Name, outcome)
		}
		out <- prometheus.MustNewConstMetric(m.failures, prometheus.CounterValue, float64(s.Failures), p.Name, s.Name)
		out <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, float64(s.Lag), p.Name, s.Name)
		for _, state := range []RouteState{RouteStarting, RouteDelivering, RouteStandby, RouteFailing} {
			out <- prometheus.MustNewConstMetric(m.state, prometheus.GaugeValue, number(s.State == state), p.Name, s.Name, string(state))
		}
	}
}
