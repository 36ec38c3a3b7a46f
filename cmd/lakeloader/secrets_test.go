package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/lakeloader/lakeloader/configs"
)

// canary begins every secret of these tests; it must be found in no output, neither plain nor in base64.
const canary = "canary"

// hidden fails when text holds a secret.
func hidden(t *testing.T, what, text string) {
	t.Helper()
	for _, form := range []string{canary, base64.RawStdEncoding.EncodeToString([]byte(canary)), base64.RawStdEncoding.EncodeToString([]byte("me:" + canary))[:8]} {
		if i := strings.Index(strings.ToLower(text), strings.ToLower(form)); i >= 0 {
			t.Errorf("%s shows a secret: ...%s...", what, text[max(0, i-200):min(len(text), i+60)])
			return
		}
	}
}

// secretPaths lists the settings whose rule is secret or url, as the types declare them; list indexes are [0].
func secretPaths(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice {
		return secretPaths(t.Elem(), path+"[0]")
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		inner := strings.TrimPrefix(path+"."+f.Tag.Get("yaml"), ".")
		rules := strings.Split(f.Tag.Get("rule"), ";")
		if slices.Contains(rules, "secret") || slices.Contains(rules, "url") {
			out = append(out, inner)
		}
		out = append(out, secretPaths(f.Type, inner)...)
	}
	return out
}

// secretLine sets one secret, in YAML's flow style, at its path.
func secretLine(path, value string) string {
	parts := strings.Split(path, ".")
	text := fmt.Sprintf("%q", value)
	for _, p := range slices.Backward(parts) {
		name, list := strings.CutSuffix(p, "[0]")
		if list {
			text = "[" + text + "]"
		}
		text = fmt.Sprintf("{%s: %s}", name, text)
	}
	return text[1:len(text)-1] + "\n"
}

// commandsWithSecrets are all commands that read a configuration.
var commandsWithSecrets = [][]string{{"validate"}, {"validate", "--offline", "-o", "json"}, {"plan"}, {"run"}, {"verify"}, {"query", "SELECT 1"}, {"status"}}

// rarerCommands are the others, which reach servers in the same ways.
var rarerCommands = [][]string{{"dlq", "list"}, {"dlq", "show"}, {"dlq", "replay"}, {"dlq", "purge"}, {"rewind", "--to", "earliest"}, {"backfill", "--from", "earliest"}, {"reenrich"},
	{"forget", "--key", "id=1"}, {"job", "list"}, {"job", "plan", "expire"}, {"job", "run", "orphans"}, {"job", "history", "compact"}, {"jobs"}, {"window", "sql", "w"}, {"routes", "list"}, {"routes", "reset", "--route", "r", "--to", "now"}}

// TestEveryCommandIsAmongThem: one that reads a configuration has the flag for it.
func TestEveryCommandIsAmongThem(t *testing.T) {
	var look func(c *cobra.Command, path []string)
	look = func(c *cobra.Command, path []string) {
		if c.RunE != nil && c.Flags().Lookup("config") != nil && !slices.ContainsFunc(slices.Concat(commandsWithSecrets, rarerCommands), func(known []string) bool {
			return len(known) >= len(path) && slices.Equal(known[:len(path)], path)
		}) {
			t.Errorf("%v is not tried with secrets", path)
		}
		for _, sub := range c.Commands() {
			look(sub, append(slices.Clone(path), sub.Name()))
		}
	}
	look(newRoot(), nil)
}

// TestBrokenSecretsAreHidden gives every secret setting by itself in a configuration that is refused, as text where text
// belongs and where it does not, and runs every command.
func TestBrokenSecretsAreHidden(t *testing.T) {
	t.Parallel()
	paths := secretPaths(reflect.TypeFor[configs.Config](), "")
	if len(paths) < 14 {
		t.Fatalf("only %d secrets were found: %v", len(paths), paths)
	}
	var files []string
	for _, path := range paths {
		for _, value := range []string{canary + "-0123456789", "http://me:" + canary + "-0123456789@host:bad/x"} {
			files = append(files, write(t, "broken.yaml", secretLine(path, value)))
		}
	}
	for _, command := range slices.Concat(commandsWithSecrets, rarerCommands) {
		for i, file := range files {
			if command[0] != "validate" && i%3 != 0 { // they all load it the same way
				continue
			}
			var stdout, stderr bytes.Buffer
			args := append(slices.Clone(command), "-c", file)
			if code := run(args, &stdout, &stderr); code != exitUsage {
				t.Errorf("%q: exit code %d\n%s%s", args, code, stdout.String(), stderr.String())
			}
			hidden(t, fmt.Sprintf("%q with %s", args, paths[i/2]), stdout.String()+stderr.String())
		}
	}
}

// gossip refuses every request and repeats all that it was sent: header, body and path.
func gossip(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(repeating())
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func repeating() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		_, password, _ := r.BasicAuth()
		said := fmt.Sprintf("%s %s %s %s %s", r.Header.Get("Authorization"), password, r.Header.Get("X-Amz-Security-Token"), r.URL, body)
		switch {
		case strings.Contains(r.Header.Get("Authorization"), "AWS4"):
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>%s</Message></Error>", said)
		case strings.Contains(r.URL.Path, "token"):
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q}`, said)
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"error_code":403,"message":%[1]q,"error":{"message":%[1]q,"type":"ForbiddenException","code":403}}`, said)
		}
	})
}

// fakeKafka wants a login; its topic "events" has records.
func fakeKafka(t *testing.T, password string) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "app", password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.SASL(scram.Auth{User: "app", Pass: password}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 100 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "events", Value: fmt.Appendf(nil, `{"id":%d,"name":"n%d"}`, i, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return c.ListenAddrs()[0]
}

// TestFailingSecretsAreHidden lets each secret be refused by a server that repeats it, at debug level, with the client
// libraries' own debugging. The list must cover every secret setting that there is.
func TestFailingSecretsAreHidden(t *testing.T) {
	t.Parallel()
	const word = canary + "-s/ecret=0123456789"
	quoted := strings.NewReplacer("/", "%2F", "=", "%3D").Replace(word)
	g, broker := gossip(t), fakeKafka(t, word)
	kafka := "kafka: {brokers: [\"" + broker + "\"], security: sasl_plaintext, sasl: {mechanism: SCRAM-SHA-512, username: app, password: " + word + "}, properties: {debug: all, ssl.key.password: " + word + "}}\n"
	const shared = "http: {address: \"127.0.0.1:0\", token: " + word + "}\nlog: {level: debug, format: json}\nshutdown_timeout: 5s\n"
	plain := "{format: json, columns: [{name: id, type: long}, {name: name, type: string}]}"
	pipeline := func(value string) string {
		return "pipelines:\n- name: p\n  source: {topics: [events]}\n  decode: {value: " + value + "}\n  cleanse:\n  - hash: {columns: [name], key: " + word + "}\n  table: {name: events}\n  commit: {interval: 200ms}\n"
	}
	avro := strings.Replace(pipeline("{format: avro}"), "  cleanse:\n  - hash: {columns: [name], key: "+word+"}\n", "", 1)
	s3 := func(more string) string {
		return "warehouse: {location: s3://bucket/x, s3: {endpoint: \"http://" + g + "\", access_key: a, secret_key: " + word + more + "}}\ncatalog: {uri: catalog.db}\n"
	}
	covered := map[string]bool{"http.token": true, "kafka.sasl.password": true, "pipelines[0].cleanse[0].hash.key": true, "lookups[0].cleanse[0].hash.key": true,
		// TestEnginesHideSecrets, since engines are asked only about tables that are there; a login in the URL is refused
		"engines[0].password": true, "engines[0].token": true, "engines[0].url": true,
		// the case "works" has routes, which are refused; a login in the URL of a search index is refused when it is read
		"pipelines[0].routes[0].webhook.url": true, "pipelines[0].routes[0].webhook.secret": true, "pipelines[0].routes[0].search.url": true,
		"pipelines[0].routes[0].search.password": true, "pipelines[0].routes[0].search.api_key": true}
	sent := "  routes:\n  - {name: a, start: earliest, webhook: {url: \"http://" + g + "/hooks/" + word + "\", secret: " + word + "}}\n" +
		"  - {name: b, start: earliest, search: {url: \"http://" + g + "\", index: i, username: me, password: " + word + "}}\n" +
		"  - {name: c, start: earliest, search: {url: \"http://" + g + "\", index: i, api_key: " + word + "}}\n"
	for name, c := range map[string]struct {
		covers string
		config string
		runs   bool // the daemon starts, and shows the trouble in its status
	}{
		"works":              {"", kafka + shared + pipeline(plain) + sent, true},
		"registry password":  {"registry.password", kafka + shared + "registry: {url: \"http://" + g + "\", username: me, password: " + word + "}\n" + avro, true},
		"registry token":     {"registry.token", kafka + shared + "registry: {url: \"http://" + g + "\", token: " + word + "}\n" + avro, true},
		"registry URL":       {"registry.url", kafka + shared + "registry: {url: \"http://me:" + quoted + "@" + g + "\"}\n" + avro, true},
		"catalog token":      {"catalog.token", kafka + shared + "catalog: {type: rest, uri: \"http://" + g + "\", token: " + word + "}\n" + pipeline(plain), false},
		"catalog credential": {"catalog.credential", kafka + shared + "catalog: {type: rest, uri: \"http://" + g + "\", credential: me:" + word + "}\n" + pipeline(plain), false},
		"catalog URI":        {"catalog.uri", kafka + shared + "catalog: {type: rest, uri: \"http://me:" + quoted + "@" + g + "\"}\n" + pipeline(plain), false},
		"catalog property":   {"", kafka + shared + "catalog: {type: rest, uri: \"http://" + g + "\", properties: {header.Authorization: Bearer " + word + "}}\n" + pipeline(plain), false},
		"postgres":           {"catalog.uri", kafka + shared + "catalog: {type: postgres, uri: \"postgres://me:" + quoted + "@127.0.0.1:1/db\"}\n" + pipeline(plain), false},
		"S3 keys":            {"warehouse.s3.secret_key", kafka + shared + s3("") + pipeline(plain), false},
		"S3 session":         {"warehouse.s3.session_token", kafka + shared + s3(", session_token: "+word) + pipeline(plain), false},
		"S3 endpoint": {"warehouse.s3.endpoint", kafka + shared + "warehouse: {location: s3://bucket/x, s3: {endpoint: \"http://me:" + quoted + "@" + g + "\", access_key: a, secret_key: b}}\ncatalog: {uri: catalog.db}\n" +
			pipeline(plain), false},
		"STS":      {"warehouse.s3.sts_endpoint", kafka + shared + s3(", role_arn: \"arn:aws:iam::1:role/x\", sts_endpoint: \"http://me:"+quoted+"@"+g+"\"") + pipeline(plain), false},
		"database": {"pipelines[0].sql.url", kafka + shared + strings.Replace(pipeline(plain), "table: {name: events}", "sql: {url: \"postgres://me:"+quoted+"@127.0.0.1:1/db\", table: events}", 1), false},
		"OAuth2": {"kafka.sasl.oauth.client_secret", "kafka: {brokers: [\"" + broker + "\"], security: sasl_plaintext, sasl: {mechanism: OAUTHBEARER, oauth: {token_url: \"http://" + g +
			"/token\", client_id: me, client_secret: " + word + "}}, properties: {debug: all}}\n" + shared + pipeline(plain), false},
		"OAuth2 URL": {"kafka.sasl.oauth.token_url", "kafka: {brokers: [\"" + broker + "\"], security: sasl_plaintext, sasl: {mechanism: OAUTHBEARER, oauth: {token_url: \"http://me:" + quoted + "@" + g +
			"/token\", client_id: me, client_secret: " + word + "}}}\n" + shared + pipeline(plain), false},
	} {
		covered[c.covers] = true
		t.Run(name, func(t *testing.T) {
			file := write(t, "c.yaml", c.config)
			commands := commandsWithSecrets
			if slices.Contains([]string{"works", "OAuth2", "catalog credential", "S3 keys"}, name) {
				commands = slices.Concat(commands, rarerCommands)
			}
			for _, command := range commands {
				if command[0] == "run" || command[0] == "jobs" || command[0] == "plan" && strings.Contains(name, "registry") { // which waits for the registry
					continue
				}
				r := lakeloader(t, append(slices.Clone(command), "-c", file)...)
				hidden(t, strings.Join(command, " "), r.stdout+r.stderr)
				if command[0] == "validate" && strings.Contains(r.stdout, "problem") && !strings.Contains(r.stdout, "no problems") && !strings.Contains(r.stdout, `"problems": []`) {
					t.Errorf("the configuration is refused: %s", r.stdout)
				}
			}
			if !c.runs {
				r := lakeloader(t, "run", "-c", file)
				r.ends(exitUnreachable)
				hidden(t, "run", r.stdout+r.stderr)
				return
			}
			daemonHides(t, file, word, name == "works")
		})
	}
	for _, path := range secretPaths(reflect.TypeFor[configs.Config](), "") {
		if !covered[path] {
			t.Errorf("no case lets %s be refused: add one", path)
		}
	}
}

// daemonHides runs a daemon until it has committed, or shows what it waits for, and looks at all that it says.
func daemonHides(t *testing.T, file, token string, works bool) {
	var log output
	cmd := program(t, "run", "-c", file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := log.after(t, `"msg":"listening","address":"`)
	ask := func(path, token string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if works {
		log.after(t, `"msg":"committed"`)
		for _, route := range []string{"a", "b", "c"} {
			log.after(t, `"route":"`+route+`","error":"`)
		}
	} else {
		until(t, func() bool { _, body := ask("/readyz", token); return strings.Contains(body, "registry") })
	}
	for _, path := range []string{"/api/status", "/metrics", "/readyz", "/healthz"} {
		code, body := ask(path, token)
		if code == http.StatusUnauthorized {
			t.Errorf("%s: %d", path, code)
		}
		hidden(t, path, body)
	}
	if code, body := ask("/api/status", ""); code != http.StatusUnauthorized || strings.Contains(body, "events") {
		t.Errorf("without the token: %d %s", code, body)
	}
	lakeloader(t, "status", "-c", file, "--address", address).ends(exitOK, "events")
	lakeloader(t, "status", "--address", address).ends(exitUnreachable, "http.token")
	lakeloader(t, "status", "--address", address, "--token-file", write(t, "token", token+"\n")).ends(exitOK, "events")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its exit code is of no interest here
	hidden(t, "the log", log.String())
	if !strings.Contains(log.String(), `"level":"DEBUG"`) {
		t.Error("nothing was logged at debug level")
	}
	if works {
		hidden(t, "verify", lakeloader(t, "verify", "-c", file).ends(exitOK, "100").stdout)
		hidden(t, "the metadata", readAll(t, filepath.Join(filepath.Dir(file), "lake")))
	}
}

// output is what a process writes, which can be waited for.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// after waits for text and returns what follows it, up to a quotation mark.
func (o *output) after(t *testing.T, text string) string {
	t.Helper()
	var rest string
	until(t, func() bool {
		_, after, ok := strings.Cut(o.String(), text)
		var ends bool
		rest, _, ends = strings.Cut(after, `"`)
		return ok && ends
	})
	return rest
}

// until waits for a condition.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatal("it did not happen in time")
		case <-tick.C:
		}
	}
}

// readAll is the text of all JSON files below a folder.
func readAll(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".json") {
			var data []byte
			data, err = os.ReadFile(path)
			text.Write(data)
		}
		return err
	})
	if err != nil || text.Len() == 0 {
		t.Fatal(err, text.Len())
	}
	return text.String()
}
