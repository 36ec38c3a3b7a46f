package configs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// TestEverySecretIsRedacted gives each setting with the rule "secret" or "url", found in the types, a secret of its own.
func TestEverySecretIsRedacted(t *testing.T) {
	c := &Config{Kafka: Kafka{SASL: SASL{OAuth: &OAuth{}}, Properties: map[string]string{"ssl.key.password": "canary-property", "sasl.mechanism": "public-value",
		"sasl.oauthbearer.token.endpoint.url": "https://u:canary-endpoint@h/"}},
		Catalog: Catalog{Properties: map[string]string{"header.Authorization": "canary-header", "s3.proxy-uri": "http://u:canary-proxy@h:1", "s3.access-key-id": "public-id"}}}
	secrets := []string{"canary-property", "canary-endpoint", "canary-header", "canary-proxy"}
	eachSetting(reflect.ValueOf(c).Elem(), "", func(path string, s setting.Setting, v reflect.Value) {
		canary := "canary-" + path
		switch {
		case v.Kind() != reflect.String:
			return
		case s.URL:
			v.SetString("https://user:" + canary + "@host/x?sslpassword=query-" + canary)
			secrets = append(secrets, "query-"+canary)
		case s.Secret:
			v.SetString(canary)
		default:
			v.SetString("public-" + path)
			return
		}
		secrets = append(secrets, canary)
	})
	if len(secrets) < 20 {
		t.Fatalf("only %d secrets were found", len(secrets))
	}
	r := NewRedactor(c)
	for _, s := range secrets {
		if got := r.Text("a " + s + " b"); got != "a *** b" {
			t.Errorf("%s: %q", s, got)
		}
	}
	public := "public-value public-id https://host kafka.sasl.password public-kafka.security"
	if got := r.Text(public); got != public {
		t.Errorf("%q became %q", public, got)
	}
}

// TestRedactedForms looks for a secret in the forms that other programs give it.
func TestRedactedForms(t *testing.T) {
	const secret = `pä<ss>"w&rd/+ x`
	pem := "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----"
	c := &Config{Registry: Registry{Username: "me", Password: secret}, Kafka: Kafka{Properties: map[string]string{"ssl.key.pem": pem}},
		Catalog: Catalog{Credential: "client:client-secret", URI: "postgres://u:b%40d-p%2Fss@h/db"}, HTTP: HTTP{Token: "short"}}
	r := NewRedactor(c)
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{secret, string(quoted[1 : len(quoted)-1]), "p%C3%A4%3Css%3E%22w%26rd%2F%2B+x", "p%C3%A4%3Css%3E%22w&rd%2F+%20x",
		"bWU6cMOkPHNzPiJ3JnJkLysgeA==", "client-secret", "b%40d-p%2Fss", "b@d-p/ss", "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49"} {
		if got := r.Text("x " + text + " y"); got != "x *** y" {
			t.Errorf("%s: %s", text, got)
		}
	}
	if got := r.Text("short words stay"); got != "short words stay" {
		t.Error(got)
	}
	cause := &fs.PathError{Op: "open", Path: secret, Err: fs.ErrNotExist}
	wrapped := r.Error(fmt.Errorf("it failed: %w", cause))
	if !errors.Is(wrapped, fs.ErrNotExist) || strings.Contains(wrapped.Error(), secret) || !strings.Contains(wrapped.Error(), "it failed: open ***") {
		t.Error(wrapped)
	}
	if err := r.Error(cause.Err); err != cause.Err || r.Error(nil) != nil {
		t.Error("an error without secrets was changed")
	}
	var none *Redactor
	if none.Text("x") != "x" || new(Redactor).Text("x") != "x" {
		t.Error("a redactor without secrets changed text")
	}
}

// TestRedactedWriter writes a secret in pieces.
func TestRedactedWriter(t *testing.T) {
	var out strings.Builder
	w := NewRedactor(&Config{HTTP: HTTP{Token: "0123456789abcdef"}}).Writer(&out)
	for _, piece := range []string{"a 01234", "56789abc", "def b\nnext 0123456789", "abcdef", " end"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if out.String() != "a *** b\n" {
		t.Errorf("before the end of the line: %q", out.String())
	}
	if err := w.Flush(); err != nil || out.String() != "a *** b\nnext *** end" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// TestProblemsHideSecrets gives secrets where something else belongs, and breaks the YAML around them.
func TestProblemsHideSecrets(t *testing.T) {
	const canary = "canary-0123456789"
	for _, text := range []string{
		"kafka: {brokers: [\"sasl://u:" + canary + "@h:1\"]}\n",
		"registry: {url: \"ftp://u:" + canary + "@h\"}\n",
		"registry: {url: \"http://u:" + canary + "%zz@h\"}\n",
		"catalog: {type: postgres, uri: \"mysql://u:" + canary + "@h:x/db\"}\n",
		"http: {token: [" + canary + "], address: \"http://u:" + canary + "@h\"}\n",
		"http: {token: {" + canary + ": x}}\n",
		"kafka: {properties: {sasl.password: " + canary + ", ssl.key.password: [" + canary + "]}}\n",
		"catalog:\n  token: \"" + canary + "\n  uri: x\n",
		"catalog:\n  token: " + canary + "\n   uri: x\n",
		"catalog:\n  token: '" + canary + "' more\n",
		"catalog:\n\ttoken: " + canary + "\n",
		"catalog: {token: " + canary + "\n",
		"catalog:\n  token: " + canary + ": x\n",
		"catalog:\n  token: !!int " + canary + "\n",
		"catalog:\n  token: *" + canary + "\n",
		"catalog:\n  token: !" + canary + "\n",
		"catalog:\n  token: &" + canary + "\n",
		"catalog:\n  token: %" + canary + ": x\n",
		"catalog:\n  token: @" + canary + "\n",
		"catalog:\n  properties: {header.Authorization: *" + canary + "}\n",
	} {
		c, _, err := parse("f.yaml", []byte(text), from(nil, nil))
		if err == nil {
			t.Errorf("no problem with %q", text)
			continue
		}
		if said := NewRedactor(c).Text(err.Error()); strings.Contains(said, canary) {
			t.Errorf("%q: %s", text, said)
		}
	}
}
