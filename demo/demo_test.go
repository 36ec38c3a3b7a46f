package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/lookups"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func generators(t *testing.T) map[string]func(seed uint64) Generator {
	return map[string]func(uint64) Generator{
		"clicks":        func(seed uint64) Generator { return NewClicks(seed, start) },
		"ratings":       func(seed uint64) Generator { return ratings(t, seed) },
		"visitor-spend": func(seed uint64) Generator { return NewPurchases(seed, start) },
	}
}

func ratings(t *testing.T, seed uint64) *Ratings {
	t.Helper()
	g, err := NewRatings(seed, start, func(string) int32 { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// next is the next record of a generator.
func next(t *testing.T, g Generator) Record {
	t.Helper()
	r, err := g.Next()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The same seed makes the same records, so that two runs can be compared; another one makes others.
func TestSameSeedSameRecords(t *testing.T) {
	for name, gen := range generators(t) {
		a, b, other := gen(1), gen(1), gen(2)
		differ := 0
		for i := range 2000 {
			r1, r2 := next(t, a), next(t, b)
			if !reflect.DeepEqual(r1, r2) {
				t.Fatalf("%s: record %d is %q and %q", name, i, r1.Value, r2.Value)
			}
			if !bytes.Equal(next(t, other).Value, r1.Value) {
				differ++
			}
		}
		if differ < 1900 {
			t.Errorf("%s: only %d of 2000 records differ with another seed", name, differ)
		}
	}
}

func TestClicksCoverEveryPairInEveryTick(t *testing.T) {
	c := NewClicks(7, start)
	type pair struct{ campaign, publisher int }
	country := map[string]string{}
	for tick := range 40 {
		seen := map[pair]bool{}
		for range perTick {
			v := next(t, c).Value
			var r struct {
				CampaignID, PubID       int
				UUID, Timestamp, IP     string
				City, Country, Platform string
			}
			if err := json.Unmarshal(v, &r); err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			seen[pair{r.CampaignID, r.PubID}] = true
			if want := start.Add(time.Duration(tick) * time.Millisecond).Format("2006-01-02T15:04:05.000"); r.Timestamp != want {
				t.Fatalf("tick %d at %s, want %s", tick, r.Timestamp, want)
			}
			if c, ok := country[r.City]; ok && c != r.Country {
				t.Fatalf("%s is in %s and %s", r.City, c, r.Country)
			}
			country[r.City] = r.Country
			if len(r.UUID) != 36 || r.IP == "" || r.Platform == "" {
				t.Fatalf("%s", v)
			}
		}
		if len(seen) != perTick {
			t.Fatalf("tick %d has %d pairs", tick, len(seen))
		}
	}
}

// Every demo's configuration loads, and its decoder and steps take the demo's records.
func TestConfigurationFitsTheRecords(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			d := started(t, name)
			dir := t.TempDir()
			path, err := d.WriteConfig(dir)
			if err != nil {
				t.Fatal(err)
			}
			cfg, _, err := configs.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			made := d.Topics()
			if strings.Join(cfg.Kafka.Brokers, ",") != d.Brokers() || !strings.Contains(cfg.Warehouse.Location, "lake") {
				t.Errorf("%+v", cfg)
			}
			for i := range cfg.Pipelines {
				p := &cfg.Pipelines[i]
				if !slices.ContainsFunc(made, func(t Topic) bool { return t.Name == p.Source.Topics[0] }) {
					t.Errorf("pipeline %s reads %s, which the demo does not make", p.Name, p.Source.Topics[0])
				}
				if p.Commit.Interval > configs.Duration(10*time.Second) {
					t.Errorf("there is nothing to see for %v", time.Duration(p.Commit.Interval))
				}
				rejected, rows := through(t, cfg, i, d)
				if rows == 0 || rejected*10 > rows {
					t.Errorf("pipeline %s: %d rows, %d dead letters", p.Name, rows, rejected)
				}
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "${env:") {
				t.Errorf("the environment is still needed:\n%s", text)
			}
		})
	}
}

// through brings generated records through the stages that the configuration declares.
func through(t *testing.T, cfg *configs.Config, at int, d *Demo) (rejected, rows int) {
	t.Helper()
	p := &cfg.Pipelines[at]
	var reg schemas.Registry
	if cfg.Registry.URL != "" {
		client, err := schemas.NewRegistryClient(cfg.Registry)
		if err != nil {
			t.Fatal(err)
		}
		reg = client
	}
	dec, err := schemas.NewDecoder(p.Decode, reg, schemas.Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := dec.Bootstrap(t.Context(), p.Source.Topics); err != nil {
		t.Fatal(err)
	}
	r := &batch.Records{Topics: []string{p.Source.Topics[0]}}
	for i := 0; i < 2000; {
		made := next(t, d.gen)
		if made.Topic != r.Topics[0] {
			continue
		}
		i++
		r.Topic, r.Partition = append(r.Topic, 0), append(r.Partition, 0)
		r.Offset, r.Timestamp = append(r.Offset, int64(i)), append(r.Timestamp, start.UnixMilli())
		k := batch.Null
		if made.Key != nil {
			k = r.Append(made.Key)
		}
		v := batch.Null
		if made.Value != nil {
			v = r.Append(made.Value)
		}
		r.Key, r.Value, r.Headers = append(r.Key, k), append(r.Value, v), append(r.Headers, batch.View{})
	}
	if _, err := dec.Prepare(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, problems := pipeline.Check(cfg, nil, at, dec.Row(), dec.KeyRow(), joined(t, cfg, reg)); len(problems) > 0 {
		t.Fatal(problems)
	}
	b := batch.New(r, dec.Row())
	if err := dec.Decode(r, b); err != nil {
		t.Fatal(err)
	}
	row := dec.Row()
	if p.Decode.Changes != nil {
		u, err := changes.New(*p.Decode.Changes, row, dec.KeyRow())
		if err == nil {
			row, err = u.Row(), u.Apply(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	program, err := cleanse.Compile(row, p.Cleanse)
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Apply(b); err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Fate {
		if f == batch.Keep {
			rows++
		}
	}
	for i, x := range b.Rejects {
		if i < 3 {
			t.Logf("%s %s: %s", x.Stage, x.Step, x.Reason)
		}
	}
	return len(b.Rejects), rows
}

// joined finds the lookups of a configuration, with the columns that their topics have.
func joined(t *testing.T, cfg *configs.Config, reg schemas.Registry) func(string) *enrich.Lookup {
	t.Helper()
	all := map[string]*enrich.Lookup{}
	for i := range cfg.Lookups {
		l := &cfg.Lookups[i]
		dec, err := schemas.NewDecoder(l.Topic.Decode, reg, schemas.Options{Clock: time.Now})
		if err == nil {
			err = dec.Bootstrap(t.Context(), []string{l.Topic.Name})
		}
		if err != nil {
			t.Fatal(err)
		}
		row, err := lookups.TopicRow(l, dec)
		if err != nil {
			t.Fatal(err)
		}
		all[l.Name] = enrich.New(l, time.Now)
		if err := all[l.Name].Define(row); err != nil {
			t.Fatal(err)
		}
	}
	return func(name string) *enrich.Lookup { return all[name] }
}

func started(t *testing.T, name string) *Demo {
	t.Helper()
	d, err := Start(name, Options{Seed: 1, At: start})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestUnknownDemo(t *testing.T) {
	d, err := Start("nothing", Options{})
	if d != nil || err == nil || !strings.Contains(err.Error(), "clicks, ratings, visitor-spend") {
		t.Fatalf("%v", err)
	}
}

// The key for hashing stays as it is: hashes of two runs in a folder can be compared.
func TestHashKeyIsMadeOnce(t *testing.T) {
	d := started(t, "clicks")
	dir := t.TempDir()
	var keys []string
	for range 2 {
		if _, err := d.WriteConfig(dir); err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(dir, "hash.key"))
		if err != nil || len(key) != 64 {
			t.Fatalf("%q, %v", key, err)
		}
		keys = append(keys, string(key))
	}
	st, err := os.Stat(filepath.Join(dir, "hash.key"))
	if err != nil || keys[0] != keys[1] || st.Mode().Perm() != 0o600 {
		t.Fatalf("%q, %v, %v", keys, st.Mode(), err)
	}
	if _, err := d.WriteConfig(filepath.Join(dir, "no", "such", "folder")); err == nil {
		t.Fatal("written into a folder that is not there")
	}
}

func ends(t *testing.T, d *Demo) (low, high int64) {
	t.Helper()
	a, err := source.NewAdmin(configs.Kafka{Brokers: []string{d.Brokers()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ps, err := a.Partitions(t.Context(), configs.Source{Topics: []string{d.Topics()[0].Name}})
	if err != nil || len(ps) != Partitions {
		t.Fatalf("%v, %v", ps, err)
	}
	marks, err := a.Watermarks(t.Context(), ps)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		low, high = low+m.Low, high+m.High
	}
	return low, high
}

func TestProduces(t *testing.T) {
	d := started(t, "visitor-spend")
	n, err := d.Produce(t.Context(), 1234, 0)
	if _, high := ends(t, d); err != nil || n["purchases"] != 1234 || high != 1234 {
		t.Fatalf("%v sent, %d there, %v", n, high, err)
	}
	// What was loaded is dropped, and no more.
	if err := d.Trim(t.Context(), "purchases", map[int32]int64{0: 3, 1: 0}); err != nil {
		t.Fatal(err)
	}
	if low, _ := ends(t, d); low != 3 {
		t.Fatalf("trimmed up to %d", low)
	}
	// Without a number it goes on until it is stopped; what it says it sent is there.
	ctx, cancel := context.WithCancel(t.Context())
	begun := time.AfterFunc(100*time.Millisecond, cancel)
	defer begun.Stop()
	sent, err := d.Produce(ctx, 0, 10000)
	more := sent["purchases"]
	if _, high := ends(t, d); err != nil || more == 0 || high != 1234+more {
		t.Fatalf("%d more sent, %d there, %v", more, high-1234, err)
	}
	if more > 10000 {
		t.Errorf("%d records in a tenth of a second at 10000 a second", more)
	}
}

func TestRegistryAnswers(t *testing.T) {
	r, err := StartRegistry()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	one, two := r.Register("a-value", `{"type":"string"}`), r.Register("a-value", `{"type":"long"}`)
	if one == two || r.Register("b-value", `{"type":"long"}`) != two || r.Register("a-value", `{"type":"string"}`) != one {
		t.Fatal("ids are not one for each schema")
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/subjects", "", 200, `"a-value"`},
		{"GET", "/subjects/a-value/versions/latest", "", 200, `"version":2`},
		{"GET", "/subjects/a-value/versions/1", "", 200, `"schema":"{\"type\":\"string\"}"`},
		{"GET", "/subjects/a-value/versions/3", "", 404, "40402"},
		{"GET", "/subjects/a-value/versions/x", "", 404, "40402"},
		{"GET", "/subjects/none/versions/latest", "", 404, "40401"},
		{"GET", "/schemas/ids/2", "", 200, `{\"type\":\"long\"}`},
		{"GET", "/schemas/ids/0", "", 404, "40403"},
		{"GET", "/schemas/ids/99", "", 404, "40403"},
		{"POST", "/subjects/c-value/versions", `{"schema":"{\"type\":\"long\"}","schemaType":"AVRO"}`, 200, `{"id":2}`},
		{"POST", "/subjects/c-value/versions", `{`, 422, "42201"},
		{"GET", "/nothing", "", 404, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, r.URL()+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if cerr := res.Body.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
		if res.StatusCode != c.status || !strings.Contains(string(text), c.want) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, res.StatusCode, text, c.status, c.want)
		}
	}
}
