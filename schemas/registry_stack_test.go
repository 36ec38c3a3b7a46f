//go:build stack

package schemas

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// realRegistry is the registry that LAKELOADER_TEST_REGISTRY names, and a prefix for subjects of this run.
func realRegistry(t *testing.T) (*RegistryClient, string, string) {
	t.Helper()
	u := os.Getenv("LAKELOADER_TEST_REGISTRY")
	if u == "" {
		t.Fatal("set LAKELOADER_TEST_REGISTRY to the URL of a schema registry (make test does)")
	}
	c, err := NewRegistryClient(configs.Registry{URL: u})
	if err != nil {
		t.Fatal(err)
	}
	return c, u, "test-" + rand.Text()
}

// register posts a schema and returns its id.
func register(t *testing.T, base, subject string, s map[string]any) int {
	t.Helper()
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(strings.TrimRight(base, "/")+"/subjects/"+url.PathEscape(subject)+"/versions", "application/vnd.schemaregistry.v1+json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	var id struct{ ID int }
	if err := json.Unmarshal(answer, &id); err != nil || resp.StatusCode != http.StatusOK || id.ID == 0 {
		t.Fatalf("registering %s: HTTP status %d: %s (%v)", subject, resp.StatusCode, answer, err)
	}
	return id.ID
}

func TestRealRegistryAvroReferences(t *testing.T) {
	c, base, run := realRegistry(t)
	ctx := context.Background()
	ref := func(name, subject string) map[string]any {
		return map[string]any{"name": name, "subject": subject, "version": 1}
	}
	register(t, base, run+"-city", map[string]any{"schema": `{"type":"record","name":"City","namespace":"geo","fields":[{"name":"name","type":"string"}]}`})
	register(t, base, run+"-address", map[string]any{"schema": `{"type":"record","name":"Address","namespace":"geo","fields":[{"name":"city","type":"geo.City"}]}`,
		"references": []any{ref("geo.City", run+"-city")}})
	id := register(t, base, run+"-value", map[string]any{"schema": `{"type":"record","name":"User","fields":[{"name":"home","type":"geo.Address"}]}`,
		"references": []any{ref("geo.Address", run+"-address")}})
	for name, get := range map[string]func() (Registered, error){
		"id":     func() (Registered, error) { return c.ByID(ctx, id) },
		"latest": func() (Registered, error) { return c.Latest(ctx, run+"-value") },
	} {
		got, err := get()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.ID != id || got.Type != "AVRO" {
			t.Errorf("%s: id %d, type %s, want %d, AVRO", name, got.ID, got.Type, id)
		}
		if s := mustParseAvro(t, got.Text, got.Refs...); s.Row().String() != "struct<home: struct<city: struct<name: string required> required> required>" {
			t.Errorf("%s: row type %s", name, s.Row())
		}
	}
}

func TestRealRegistryTypes(t *testing.T) {
	c, base, run := realRegistry(t)
	for typ, text := range map[string]string{
		"PROTOBUF": "syntax = \"proto3\";\nmessage M { string a = 1; }",
		"JSON":     `{"type":"object","properties":{"a":{"type":"string"}}}`,
	} {
		id := register(t, base, run+typ+"-value", map[string]any{"schema": text, "schemaType": typ})
		got, err := c.ByID(context.Background(), id)
		if err != nil || got.Type != typ {
			t.Errorf("%s: %+v, %v", typ, got, err)
			continue
		}
		parse := map[string]func(string, []Reference) (Schema, error){"PROTOBUF": ParseProtobuf, "JSON": ParseJSONSchema}[typ]
		if s, err := parse(got.Text, got.Refs); err != nil || s.Row().Index("a") != 0 {
			t.Errorf("%s: %s: %v", typ, got.Text, err)
		}
	}
}

func TestRealRegistryFaults(t *testing.T) {
	c, base, run := realRegistry(t)
	ctx := context.Background()
	if _, err := c.ByID(ctx, 1<<30); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrRegistry) {
		t.Errorf("unknown id: %v", err)
	}
	if _, err := c.Latest(ctx, run+"/none-value"); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrRegistry) {
		t.Errorf("unknown subject: %v", err)
	}
	wrong, err := NewRegistryClient(configs.Registry{URL: strings.TrimRight(base, "/") + "/wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.ByID(ctx, 1); !errors.Is(err, ErrRegistry) || errors.Is(err, ErrNotFound) {
		t.Errorf("wrong path: %v", err)
	}
}

func TestRealRegistryDecoder(t *testing.T) {
	c, base, run := realRegistry(t)
	ctx := context.Background()
	first := register(t, base, run+"-value", map[string]any{"schema": `{"type":"record","name":"R","fields":[` + fieldA + `]}`})
	d, err := NewDecoder(valueAvro, c, Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Bootstrap(ctx, []string{run, run + "-none"}); err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, d: d}
	g.wantRow("struct<a: int required>")
	second := register(t, base, run+"-value", map[string]any{"schema": `{"type":"record","name":"R","fields":[` + fieldA + `,{"name":"b","type":["null","string"],"default":null}]}`})
	rows, rejects := g.decode(values(wire(uint32(first), "\x02"), wire(uint32(second), "\x04\x02\x02x")))
	want := []any{map[string]any{"a": int32(1), "b": nil}, map[string]any{"a": int32(2), "b": "x"}}
	if len(rejects) > 0 || !reflect.DeepEqual(rows, want) {
		t.Errorf("got %v, %v, want %v", rows, rejects, want)
	}
}
