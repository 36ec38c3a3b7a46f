//go:build stack

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// patience is how long a test waits for something that must happen.
const patience = 60 * time.Second

// until waits for a condition; what it last was goes into the failure.
func until(t *testing.T, what string, done func() (bool, any)) {
	t.Helper()
	within(t, patience, what, done)
}

// within is until with a patience of its own.
func within(t *testing.T, patience time.Duration, what string, done func() (bool, any)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := done()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %v until %s; last seen: %v", patience, what, seen)
		case <-tick.C:
		}
	}
}

// progress is the part of /api/status that tests look at, read here on its own.
type progress struct {
	Pipelines []struct {
		Name       string
		State      string
		Rows       int64
		Rounds     int64
		LastError  *struct{ Message string } `json:"last_error"`
		Partitions []struct {
			Topic     string
			Partition int32
			Epoch     int32
			Committed int64
		}
	}
	Windows []struct {
		State      string
		Owned      []int32
		Live       int
		Keys       int64
		Updates    int64
		Published  int64
		Lag        int64 `json:"lag_records"`
		Partitions []struct {
			Published     int64
			HighWatermark int64 `json:"high_watermark"`
		}
	}
}

// ask reads the daemon's status; an error while it starts, is paused or is gone.
func ask(d *stacktest.Daemon) (p progress, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.HTTP()+"/api/status", nil)
	if err != nil {
		return p, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return p, fmt.Errorf("the status is answered with %s", resp.Status)
	}
	return p, json.NewDecoder(resp.Body).Decode(&p)
}

// committed is how far the daemon's own partitions are in the lake, over all its pipelines;.
func committed(d *stacktest.Daemon, pipeline string) (map[stacktest.Place]int64, error) {
	p, err := ask(d)
	if err != nil {
		return nil, err
	}
	at := map[stacktest.Place]int64{}
	for _, l := range p.Pipelines {
		if l.Name != pipeline {
			continue
		}
		for _, x := range l.Partitions {
			at[stacktest.Place{Topic: x.Topic, Partition: x.Partition}] = x.Committed
		}
	}
	return at, nil
}

// loaded waits until the daemons together own every partition of a pipeline that something was produced to, and have
// committed all of it.
func loaded(t *testing.T, pipeline string, ends map[stacktest.Place]int64, daemons ...*stacktest.Daemon) {
	t.Helper()
	until(t, fmt.Sprintf("pipeline %s has loaded %v", pipeline, ends), func() (bool, any) {
		at := map[stacktest.Place]int64{}
		for _, d := range daemons {
			if !d.Running() {
				t.Fatalf("a daemon ended by itself with %d", d.Wait())
			}
			own, err := committed(d, pipeline)
			if err != nil {
				return false, err
			}
			for p, next := range own {
				at[p] = max(at[p], next)
			}
		}
		for p, end := range ends {
			if at[p] < end {
				return false, at
			}
		}
		return true, at
	})
}
