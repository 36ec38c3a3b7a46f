//go:build stack

package stacktest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/certs"
)

// SecureKafka is a broker of the test's own with listeners that want logins and certificates.
type SecureKafka struct {
	*Server
	// CA signs the broker and its clients. Files are PEM.
	CA *certs.Authority
	// SASL is the address (host:port) of the listener for PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 (user app, password
	// app-secret) and OAUTHBEARER. Mutual demands a certificate signed by CA. Expired shows a certificate that has expired.
	SASL, Mutual, Expired string
	signer                *rsa.PrivateKey
}

// StartSecureKafka starts it; properties are further lines of its server.properties.
func StartSecureKafka(t testing.TB, properties ...string) *SecureKafka {
	t.Helper()
	dir := t.TempDir()
	k := &SecureKafka{CA: certs.NewAuthority(t)}
	var err error
	if k.signer, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	join(t, filepath.Join(dir, "broker.pem"), k.CA.Issue(t, "broker", time.Hour))
	join(t, filepath.Join(dir, "expired.pem"), k.CA.Issue(t, "expired", -time.Hour))
	copyFile(t, k.CA.File, filepath.Join(dir, "ca.pem"))
	e := big.NewInt(int64(k.signer.E)).Bytes()
	jwks := map[string]any{"keys": []map[string]string{{"kty": "RSA", "kid": "test", "use": "sig", "alg": "RS256",
		"n": base64.RawURLEncoding.EncodeToString(k.signer.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(e)}}}
	data, err := json.Marshal(jwks)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "jwks.json"), data)
	k.Server = start(t, "kafka", []string{"KAFKA_PROPS=" + strings.Join(properties, "\n"), "KAFKA_TLS=" + dir})
	ports, err := os.ReadFile(filepath.Join(k.dir, "ports"))
	if err != nil {
		t.Fatal(err)
	}
	p := strings.Fields(string(ports))
	k.SASL, k.Mutual, k.Expired = "127.0.0.1:"+p[2], "127.0.0.1:"+p[3], "127.0.0.1:"+p[4]
	return k
}

// Token is a bearer token that the broker believes for so long; claims add to, or replace, sub, aud, iat and exp.
func (k *SecureKafka) Token(t testing.TB, life time.Duration, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{"sub": "app", "aud": "kafka", "iat": now.Add(-time.Second).Unix(), "exp": now.Add(life).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	return SignJWT(t, k.signer, all)
}

// SignJWT makes a token with the key id "test", signed with RS256.
func SignJWT(t testing.TB, key *rsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"test"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	writeFile(t, to, readFile(t, from))
}

// join writes key and certificate into one file, as Kafka wants them.
func join(t testing.TB, name string, c certs.Certificate) {
	t.Helper()
	writeFile(t, name, append(readFile(t, c.Key), readFile(t, c.Cert)...))
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
