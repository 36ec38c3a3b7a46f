package source

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/certs"
)

// taker is a client that takes tokens; each one, and each failure, arrives in a channel.
type taker struct {
	tokens   chan kafka.OAuthBearerToken
	failures chan string
}

func newTaker() *taker {
	return &taker{make(chan kafka.OAuthBearerToken, 100), make(chan string, 100)}
}

func (t *taker) SetOAuthBearerToken(token kafka.OAuthBearerToken) error {
	t.tokens <- token
	return nil
}

func (t *taker) SetOAuthBearerTokenFailure(text string) error {
	t.failures <- text
	return nil
}

// got waits for what arrives in a channel.
func got[T any](t *testing.T, c chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing arrived")
	}
	panic("not reached")
}

func oauthKafka(o configs.OAuth) configs.Kafka {
	return configs.Kafka{Brokers: []string{"127.0.0.1:1"}, Security: "sasl_ssl", SASL: configs.SASL{Mechanism: "OAUTHBEARER", OAuth: &o}}
}

// unsigned is a JWT that nobody has signed.
func unsigned(claims map[string]any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
}

// TestTokensAreRenewed has an OAuth2 server whose tokens live for two seconds: each is replaced before it ends.
func TestTokensAreRenewed(t *testing.T) {
	var mu sync.Mutex
	n := 0
	var asked []url.Values
	ca := certs.NewAuthority(t)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		user, password, ok := r.BasicAuth()
		if err := r.ParseForm(); err != nil || !ok || user != "loader" || password != "canary-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		n++
		asked = append(asked, r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"bearer","expires_in":2}`, n)
	}))
	srv.TLS = ca.Server(t, ca.Issue(t, "login", time.Hour), false)
	srv.StartTLS()
	defer srv.Close()
	issue, err := issuerOf(oauthKafka(configs.OAuth{TokenURL: srv.URL + "/token", ClientID: "loader", ClientSecret: "canary-secret", Scope: "a b", CA: ca.File,
		Parameters: map[string]string{"audience": "kafka"}, Extensions: map[string]string{"logicalCluster": "lkc-1"}}))
	if err != nil {
		t.Fatal(err)
	}
	c := newTaker()
	tokens := startTokens(issue, c, slog.New(slog.DiscardHandler))
	for i := 1; i <= 3; i++ {
		k := got(t, c.tokens)
		if k.TokenValue != fmt.Sprintf("token-%d", i) || k.Principal != "loader" || !maps.Equal(k.Extensions, map[string]string{"logicalCluster": "lkc-1"}) {
			t.Errorf("%+v", k)
		}
		if left := time.Until(k.Expiration); left <= 0 || left > 3*time.Second {
			t.Errorf("token %d has %v left", i, left)
		}
	}
	if err, stays := tokens.failure(); err != nil || stays {
		t.Error(err)
	}
	tokens.stop()
	mu.Lock()
	defer mu.Unlock()
	if a := asked[0]; a.Get("grant_type") != "client_credentials" || a.Get("scope") != "a b" || a.Get("audience") != "kafka" {
		t.Error(a)
	}
	if len(c.failures) > 0 {
		t.Error(<-c.failures)
	}
}

// TestTokenFailures tells what stays from what passes, and shows no secret.
func TestTokenFailures(t *testing.T) {
	ca := certs.NewAuthority(t)
	answer := func(status int, body string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(srv.Close)
		return strings.Replace(srv.URL, "//", "//u:canary-url@", 1)
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.TLS = ca.Server(t, ca.Issue(t, "login", -time.Hour), false)
	secure.StartTLS()
	defer secure.Close()
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, c := range map[string]struct {
		o     configs.OAuth
		stays bool
		want  string
	}{
		"refused":      {configs.OAuth{TokenURL: answer(401, `{"error":"invalid_client","error_description":"canary-secret is wrong"}`)}, true, "401 Unauthorized, invalid_client: check client_id"},
		"echo":         {configs.OAuth{TokenURL: answer(400, `no canary-secret`)}, true, "400 Bad Request"},
		"redirected":   {configs.OAuth{TokenURL: answer(307, ``)}, false, "307 Temporary Redirect"},
		"broken":       {configs.OAuth{TokenURL: answer(503, `canary-secret`)}, false, "503 Service Unavailable"},
		"busy":         {configs.OAuth{TokenURL: answer(429, ``)}, false, "429"},
		"no token":     {configs.OAuth{TokenURL: answer(200, `{}`)}, false, "gives no token"},
		"away":         {configs.OAuth{TokenURL: "http://u:canary-url@127.0.0.1:1/"}, false, "connection refused"},
		"expired":      {configs.OAuth{TokenURL: secure.URL, CA: ca.File}, true, "expired"},
		"untrusted":    {configs.OAuth{TokenURL: secure.URL}, true, "cannot be trusted"},
		"no file":      {configs.OAuth{TokenFile: "/none/token"}, false, "kafka.sasl.oauth.token_file: "},
		"empty file":   {configs.OAuth{TokenFile: file("\n")}, false, "is empty"},
		"old token":    {configs.OAuth{TokenFile: file(unsigned(map[string]any{"sub": "a", "exp": 1_700_000_000}))}, false, "has expired at 2023-11-14T22:13:20Z"},
		"another file": {configs.OAuth{TokenFile: file(strings.Repeat("x", maxTokenBytes+1))}, true, "is no token"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.ClientID, c.o.ClientSecret = "loader", "canary-secret"
			issue, err := issuerOf(oauthKafka(c.o))
			if err != nil {
				t.Fatal(err)
			}
			client := newTaker()
			tokens := startTokens(issue, client, slog.New(slog.DiscardHandler))
			defer tokens.stop()
			text := got(t, client.failures)
			if !strings.Contains(text, c.want) || strings.Contains(text, "canary") {
				t.Errorf("%s, want %q", text, c.want)
			}
			if err, stays := tokens.failure(); err == nil || stays != c.stays {
				t.Errorf("%v stays: %v", err, stays)
			}
		})
	}
	for _, o := range []configs.OAuth{{}, {TokenURL: "https://h", CA: "/none.pem"}} {
		if _, err := issuerOf(oauthKafka(o)); err == nil || !strings.Contains(err.Error(), "kafka.sasl.oauth") {
			t.Error(err)
		}
	}
}

// TestTokenFile takes a token up that was written anew.
func TestTokenFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	write := func(sub string, life time.Duration) {
		text := unsigned(map[string]any{"sub": sub, "exp": float64(time.Now().Add(life).UnixMilli()) / 1000})
		if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first", 1500*time.Millisecond)
	issue, err := issuerOf(oauthKafka(configs.OAuth{TokenFile: name}))
	if err != nil {
		t.Fatal(err)
	}
	c := newTaker()
	tokens := startTokens(issue, c, slog.New(slog.DiscardHandler))
	defer tokens.stop()
	if k := got(t, c.tokens); k.Principal != "first" || strings.ContainsAny(k.TokenValue, "\n ") {
		t.Errorf("%+v", k)
	}
	write("second", time.Hour)
	if k := got(t, c.tokens); k.Principal != "second" || time.Until(k.Expiration) < 50*time.Minute {
		t.Errorf("%+v", k)
	}
}

// TestIAMToken checks a token for Amazon MSK against the form that is documented: a presigned URL of the action Connect.
func TestIAMToken(t *testing.T) {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || strings.HasSuffix(r.PostForm.Get("RoleArn"), "refused") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>of-role</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>session</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	none := filepath.Join(t.TempDir(), "none")
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "canary-secret", "AWS_ENDPOINT_URL_STS": sts.URL,
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(k, v)
	}
	k := configs.Kafka{Brokers: []string{"b-1.demo.abc.c2.kafka.eu-central-1.amazonaws.com:9098"}, Security: "sasl_ssl", SASL: configs.SASL{Mechanism: "AWS_MSK_IAM"}}
	for _, c := range []struct {
		aws                  *configs.Identity
		region, key, session string
	}{
		{nil, "eu-central-1", "AKIDEXAMPLE", ""},
		{&configs.Identity{Region: "us-west-2"}, "us-west-2", "AKIDEXAMPLE", ""},
		{&configs.Identity{RoleARN: "arn:aws:iam::1:role/reader", ExternalID: "x"}, "eu-central-1", "of-role", "session"},
	} {
		k.SASL.AWS = c.aws
		issue, err := issuerOf(k)
		if err != nil {
			t.Fatal(err)
		}
		token, err := issue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := base64.RawURLEncoding.DecodeString(token.TokenValue)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(string(raw))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		scope := fmt.Sprintf("%s/%s/%s/kafka-cluster/aws4_request", c.key, time.Now().UTC().Format("20060102"), c.region)
		if u.Scheme != "https" || u.Host != "kafka."+c.region+".amazonaws.com" || u.Path != "/" || q.Get("Action") != "kafka-cluster:Connect" ||
			q.Get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" || q.Get("X-Amz-Credential") != scope || q.Get("X-Amz-SignedHeaders") != "host" || q.Get("X-Amz-Expires") != "900" ||
			q.Get("X-Amz-Security-Token") != c.session || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(q.Get("X-Amz-Signature")) || !strings.HasPrefix(q.Get("User-Agent"), "aws-msk-iam-sasl-signer-go") {
			t.Errorf("%s", raw)
		}
		if left := time.Until(token.Expiration); left < 14*time.Minute || left > 15*time.Minute {
			t.Errorf("it has %v left", left)
		}
		if strings.Contains(string(raw), "canary") {
			t.Error("the token holds the secret")
		}
	}
	m, err := connection(k)
	if err != nil || m["sasl.mechanisms"] != "OAUTHBEARER" || m["security.protocol"] != "sasl_ssl" || m["sasl.username"] != nil {
		t.Errorf("%v, %v", m, err)
	}

	k.SASL.AWS = &configs.Identity{RoleARN: "arn:aws:iam::1:role/refused"}
	issue, err := issuerOf(k)
	if err != nil {
		t.Fatal(err)
	}
	var stays refusalError
	if _, err := issue(t.Context()); !errors.As(err, &stays) || !strings.Contains(err.Error(), "kafka.sasl.aws.role_arn") {
		t.Errorf("%v", err)
	}
	k.Brokers, k.SASL.AWS = []string{"broker:9098"}, nil
	if _, err := issuerOf(k); err == nil || !strings.Contains(err.Error(), "kafka.sasl.aws.region") {
		t.Errorf("%v", err)
	}
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	if issue, err = issuerOf(k); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := issue(ctx); err == nil || errors.As(err, &stays) || !strings.Contains(err.Error(), "AWS gives no credentials") {
		t.Errorf("%v", err)
	}
}

// TestRegionOf takes regions from the names of MSK's brokers.
func TestRegionOf(t *testing.T) {
	for broker, want := range map[string]string{
		"b-1.demo.abc.c2.kafka.eu-central-1.amazonaws.com:9098":          "eu-central-1",
		"boot-abc.c1.kafka-serverless.us-east-1.amazonaws.com:9098":      "us-east-1",
		"b-1.demo.abc.c2.kafka.cn-north-1.amazonaws.com.cn:9098":         "cn-north-1",
		"b-1-public.demo.abc.c2.kafka.ap-southeast-2.amazonaws.com:9198": "ap-southeast-2",
		"kafka.example.org:9092":                                         "",
	} {
		if got := regionOf([]string{broker}); got != want {
			t.Errorf("%s: %q", broker, got)
		}
	}
}

// TestRefusedTokenEndsTheQuestion: nobody waits for a broker when the login cannot even begin.
func TestRefusedTokenEndsTheQuestion(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer srv.Close()
	k := oauthKafka(configs.OAuth{TokenURL: srv.URL, ClientID: "loader", ClientSecret: "canary-secret"})
	refused(t, k, Login, "401")
}
