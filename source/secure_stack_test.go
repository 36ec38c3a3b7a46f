//go:build stack

package source

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/certs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestSecuredKafka logs in to a broker in every way there is, and is refused in every way there is. One broker serves all.
func TestSecuredKafka(t *testing.T) {
	b := stacktest.StartSecureKafka(t, "connections.max.reauth.ms=600000", "listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms=3000")
	plain := newCluster(t, configs.Kafka{Brokers: []string{b.Addr()}})
	sasl := func(s configs.SASL) configs.Kafka {
		return configs.Kafka{Brokers: []string{b.SASL}, Security: "sasl_ssl", SASL: s, TLS: configs.TLS{CA: b.CA.File}}
	}
	password := func(mechanism, word string) configs.Kafka {
		return sasl(configs.SASL{Mechanism: mechanism, Username: "app", Password: word})
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			reads(t, plain, password(mechanism, "app-secret"))
			refused(t, password(mechanism, "canary-wrong"), Login, "kafka.sasl", "uthentication", b.SASL)
		})
	}
	t.Run("certificates", func(t *testing.T) { tlsLogins(t, plain, b) })
	t.Run("OAUTHBEARER", func(t *testing.T) { oauthLogins(t, plain, b) })
	t.Run("hosts", func(t *testing.T) {
		// The certificate is for 127.0.0.1; this name leads there too, and is not in it.
		k := password("PLAIN", "app-secret")
		k.Brokers = []string{strings.Replace(b.SASL, "127.0.0.1", "127.1", 1)}
		refused(t, k, TLS, "for the host in kafka.brokers", "certificate")
		k.TLS = configs.TLS{CA: b.CA.File, SkipVerify: true}
		if _, err := newCluster(t, k).newAdmin(t).ClusterID(plain.ctx(t)); err != nil {
			t.Errorf("without verification: %v", err)
		}
	})
}

// reads reads a topic with the login k, and asks a question; plain is the same broker without a login.
func reads(t *testing.T, plain *cluster, k configs.Kafka) {
	t.Helper()
	topic := plain.topic(t, "login", 1)
	send(t, plain.producer(t, nil), many(topic, 1, 0, 10)...)
	l := newLedger()
	c := open(t, Options{Kafka: fast(k), Pipeline: name("p"), Source: configs.Source{Topics: []string{topic}}}, l)
	pollUntil(t, c, l, l.reached(topic, 1, 10))
	a, err := NewAdmin(k, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if id, err := a.ClusterID(plain.ctx(t)); err != nil || id == "" {
		t.Errorf("cluster id %q: %v", id, err)
	}
}

func tlsLogins(t *testing.T, plain *cluster, b *stacktest.SecureKafka) {
	stranger := certs.NewAuthority(t)
	own, foreign := b.CA.Issue(t, "client", time.Hour), stranger.Issue(t, "client", time.Hour)
	k := func(broker string, c configs.TLS) configs.Kafka {
		return configs.Kafka{Brokers: []string{broker}, Security: "ssl", TLS: c}
	}
	reads(t, plain, k(b.Mutual, configs.TLS{CA: b.CA.File, Cert: own.Cert, Key: own.Key}))
	refused(t, k(b.Mutual, configs.TLS{CA: b.CA.File}), TLS, "kafka.tls.cert_file", "alert bad certificate")
	refused(t, k(b.Mutual, configs.TLS{CA: b.CA.File, Cert: foreign.Cert, Key: foreign.Key}), TLS, "kafka.tls.cert_file", "alert")
	refused(t, k(b.Mutual, configs.TLS{CA: stranger.File, Cert: own.Cert, Key: own.Key}), TLS, "kafka.tls.ca_file", "certificate verify failed")
	refused(t, k(b.Expired, configs.TLS{CA: b.CA.File}), TLS, "certificate has expired")
}

func oauthLogins(t *testing.T, plain *cluster, b *stacktest.SecureKafka) {
	const life = 6 * time.Second
	var given atomic.Int32
	claims := map[string]any{}
	login := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, secret, ok := r.BasicAuth(); !ok || id != "loader" || secret != "canary-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		given.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": b.Token(t, life, claims), "token_type": "bearer", "expires_in": int(life.Seconds())})
	}))
	login.TLS = b.CA.Server(t, b.CA.Issue(t, "login", time.Hour), false)
	login.StartTLS()
	defer login.Close()
	k := configs.Kafka{Brokers: []string{b.SASL}, Security: "sasl_ssl", TLS: configs.TLS{CA: b.CA.File},
		SASL: configs.SASL{Mechanism: "OAUTHBEARER", OAuth: &configs.OAuth{TokenURL: login.URL, ClientID: "loader", ClientSecret: "canary-secret", CA: b.CA.File}}}
	reads(t, plain, k)

	// Reading goes on longer than a token lives; the broker ends sessions whose token was not renewed.
	topic := plain.topic(t, "login", 1)
	p := plain.producer(t, nil)
	l := newLedger()
	c := open(t, Options{Kafka: fast(k), Pipeline: name("p"), Source: configs.Source{Topics: []string{topic}}}, l)
	first, sent := given.Load(), 0
	pollUntil(t, c, l, func() bool {
		send(t, p, many(topic, 1, sent, 1)...)
		sent++
		return given.Load() >= first+3
	})
	pollUntil(t, c, l, l.reached(topic, 1, int64(sent)))
	l.check(t, topic, 1, sent)

	wrong := *k.SASL.OAuth
	wrong.ClientSecret = "canary-wrong"
	k.SASL.OAuth = &wrong
	refused(t, k, Login, "kafka.sasl", "401")

	file := func(token string) *configs.OAuth {
		name := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(name, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		return &configs.OAuth{TokenFile: name}
	}
	k.SASL.OAuth = file(b.Token(t, time.Hour, nil))
	reads(t, plain, k)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"signed by another":    stacktest.SignJWT(t, stranger, map[string]any{"sub": "app", "aud": "kafka", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}),
		"for another audience": b.Token(t, time.Hour, map[string]any{"aud": "other"}),
		"signed by nobody":     unsigned(map[string]any{"sub": "app", "aud": "kafka", "exp": time.Now().Add(time.Hour).Unix()}),
	} {
		t.Run(name, func(t *testing.T) {
			k.SASL.OAuth = file(token)
			refused(t, k, Login, "kafka.sasl", b.SASL)
		})
	}
}
