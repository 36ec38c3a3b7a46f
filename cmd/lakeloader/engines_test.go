package main

import (
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// TestEnginesHideSecrets lets the secrets of engines be refused by servers that repeat what they were sent.
func TestEnginesHideSecrets(t *testing.T) {
	for _, e := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(e, canary+"0123456789")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	const word = canary + "-s/ecret=0123456789"
	srv := httptest.NewUnstartedServer(repeating())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // one client does not trust it
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for name, e := range map[string]configs.Engine{
		"trino, password": {Type: "trino", URL: srv.URL, User: "me", Password: word, TLS: configs.TLS{SkipVerify: true}},
		"trino, token":    {Type: "trino", URL: srv.URL, User: "me", Token: word, TLS: configs.TLS{SkipVerify: true}},
		"trino, distrust": {Type: "trino", URL: srv.URL, User: "me", Password: word},
		"spark":           {Type: "spark", URL: "thrift://" + echo(t), User: "me", Password: word},
		"athena":          {Type: "athena", URL: "http://" + gossip(t), AWS: &configs.Identity{Region: "eu-west-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			e.Name, e.Catalog = "refused", "lake"
			cfg := &configs.Config{Engines: []configs.Engine{e}}
			configs.ApplyDefaults(cfg)
			engine, err := openEngine(t.Context(), cfg, "refused")
			if err != nil {
				t.Fatal(err)
			}
			q := aggregate.Query{SQL: "SELECT 1 AS one", Columns: []aggregate.Column{{Name: "one", Type: batch.Prim(batch.Long)}}, Source: aggregate.Source{Info: table.Info{Ident: table.Ident{Namespace: "lake", Name: "t"}}}}
			err = engine.Select(t.Context(), q, func([]any) error { return nil })
			if err == nil || !strings.Contains(err.Error(), "engine refused (") {
				t.Fatalf("it is not refused: %v", err)
			}
			hidden(t, name, configs.NewRedactor(cfg).Error(err).Error())
			if err := engine.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := openEngine(t.Context(), &configs.Config{Engines: []configs.Engine{{Name: "a"}}}, "b"); err == nil || !strings.Contains(err.Error(), "choose embedded or one of [a]") {
		t.Error(err)
	}
}

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				_, _ = c.Write(buf[:n]) // the other end may be gone
			}()
		}
	}()
	return l.Addr().String()
}
