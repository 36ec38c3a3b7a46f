package access

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// fakeSTS gives credentials that name who asked for them, and refuses the role "refused".
type fakeSTS struct {
	*httptest.Server
	mu    sync.Mutex
	asked []url.Values
	keys  []string // that signed the requests
}

func newSTS(t *testing.T, secure bool) *fakeSTS {
	t.Helper()
	f := &fakeSTS{}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		f.StartTLS()
	} else {
		f.Start()
	}
	t.Cleanup(f.Close)
	return f
}

func (f *fakeSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, signed, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(signed, "/")
	f.mu.Lock()
	f.asked, f.keys = append(f.asked, r.PostForm), append(f.keys, key)
	n := len(f.asked)
	f.mu.Unlock()
	action := r.PostForm.Get("Action")
	w.Header().Set("Content-Type", "text/xml")
	if strings.HasSuffix(r.PostForm.Get("RoleArn"), "refused") {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>`)
		return
	}
	fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>role-%[2]d</AccessKeyId>`+
		`<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%[3]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
		action, n, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

// noAWS takes the machine's own AWS settings away.
func noAWS(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// keyOf is the access key of an identity's credentials.
func keyOf(t *testing.T, id Identity) (key, region string) {
	t.Helper()
	c, err := AWS(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got.AccessKeyID, c.Region
}

func TestTheUsualChain(t *testing.T) {
	t.Run("environment", func(t *testing.T) {
		noAWS(t)
		t.Setenv("AWS_ACCESS_KEY_ID", "of-environment")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
		t.Setenv("AWS_REGION", "eu-west-3")
		if key, region := keyOf(t, Identity{}); key != "of-environment" || region != "eu-west-3" {
			t.Error(key, region)
		}
		if _, region := keyOf(t, Identity{Identity: configs.Identity{Region: "eu-central-1"}}); region != "eu-central-1" {
			t.Error(region)
		}
	})
	t.Run("profile", func(t *testing.T) {
		noAWS(t)
		file := filepath.Join(t.TempDir(), "credentials")
		if err := os.WriteFile(file, []byte("[lake]\naws_access_key_id = of-profile\naws_secret_access_key = s\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
		t.Setenv("AWS_PROFILE", "lake")
		if key, _ := keyOf(t, Identity{}); key != "of-profile" {
			t.Error(key)
		}
	})
	t.Run("web identity", func(t *testing.T) {
		noAWS(t)
		sts := newSTS(t, false)
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte("web-token"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod")
		t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
		t.Setenv("AWS_REGION", "eu-central-1")
		if key, _ := keyOf(t, Identity{}); key != "role-1" {
			t.Error(key)
		}
		if a := sts.asked[0]; a.Get("Action") != "AssumeRoleWithWebIdentity" || a.Get("WebIdentityToken") != "web-token" || a.Get("RoleArn") != "arn:aws:iam::1:role/pod" {
			t.Error(a)
		}
	})
}

func TestAssumedRole(t *testing.T) {
	noAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "of-environment")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	sts := newSTS(t, true)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sts.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	id := Identity{Path: "warehouse.s3", STSEndpoint: sts.URL, CA: ca,
		Identity: configs.Identity{RoleARN: "arn:aws:iam::1:role/lake", ExternalID: "us", SessionName: "loader-7"}}
	c, err := AWS(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // they are kept until they are about to expire
		if got, err := c.Credentials.Retrieve(t.Context()); err != nil || got.AccessKeyID != "role-1" || got.SessionToken != "t" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	a := sts.asked[0]
	if a.Get("Action") != "AssumeRole" || a.Get("RoleArn") != id.RoleARN || a.Get("ExternalId") != "us" || a.Get("RoleSessionName") != "loader-7" || sts.keys[0] != "of-environment" {
		t.Errorf("%v, signed by %q", a, sts.keys[0])
	}

	untrusted := id
	untrusted.CA = ""
	c, err = AWS(t.Context(), untrusted)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Credentials.Retrieve(ctx); err == nil || !Certificate(err) || !strings.Contains(Advice("warehouse.s3", err), "warehouse.s3.ca_file") {
		t.Errorf("%v", err)
	}

	refused := id
	refused.RoleARN = "arn:aws:iam::1:role/refused"
	c, err = AWS(t.Context(), refused)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Credentials.Retrieve(t.Context())
	for _, word := range []string{refused.RoleARN, "warehouse.s3.role_arn", "external_id", "not authorized"} {
		if err == nil || !Denied(err) || !strings.Contains(err.Error(), word) {
			t.Errorf("%v lacks %q", err, word)
		}
	}

	if _, err := AWS(t.Context(), Identity{Path: "warehouse.s3", CA: "/none.pem"}); err == nil || !strings.Contains(err.Error(), "warehouse.s3.ca_file") {
		t.Error(err)
	}
}
