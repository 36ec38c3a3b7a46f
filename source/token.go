package source

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/configs"
)

// issuer gives bearer tokens for a login. Its error is a refusal when waiting does not cure it.
type issuer func(context.Context) (kafka.OAuthBearerToken, error)

// refusalError is an error that stays.
type refusalError struct{ error }

func (e refusalError) Unwrap() error { return e.error }

// issuerOf returns where the tokens of a login come from; nil: it has none.
func issuerOf(k configs.Kafka) (issuer, error) {
	switch strings.ToUpper(k.SASL.Mechanism) {
	case "OAUTHBEARER":
		o := k.SASL.OAuth
		switch {
		case o == nil || o.TokenURL == "" && o.TokenFile == "":
			return nil, errors.New("kafka.sasl.oauth: the mechanism OAUTHBEARER needs token_url or token_file")
		case o.TokenFile != "":
			return tokenFile(*o), nil
		}
		return tokenEndpoint(*o)
	case "AWS_MSK_IAM":
		return iam(k)
	}
	return nil, nil
}

// Bounds of asking for a token.
const (
	tokenTimeout  = 15 * time.Second
	assumedLife   = 10 * time.Minute // of a token that does not say
	maxTokenBytes = 64 << 10
)

// tokenEndpoint asks an OAuth2 server.
func tokenEndpoint(o configs.OAuth) (issuer, error) {
	secure, err := access.TLS("kafka.sasl.oauth", configs.TLS{CA: o.CA})
	if err != nil {
		return nil, err
	}
	where := "the token endpoint"
	if u, err := url.Parse(o.TokenURL); err == nil {
		where += " " + u.Redacted()
	}
	client := &http.Client{
		Timeout:   tokenTimeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, TLSHandshakeTimeout: tokenTimeout, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		// A redirection would take the secret along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	config := &clientcredentials.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: strings.Fields(o.Scope), EndpointParams: url.Values{}}
	for k, v := range o.Parameters {
		config.EndpointParams.Set(k, v)
	}
	return func(ctx context.Context) (kafka.OAuthBearerToken, error) {
		got, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
		if err != nil {
			return kafka.OAuthBearerToken{}, endpointError(where, err)
		}
		return bearer(got.AccessToken, got.Expiry, o.ClientID, o.Extensions), nil
	}, nil
}

// endpointError leaves the answer's body out: it may repeat what was sent.
func endpointError(where string, err error) error {
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) && answer.Response != nil {
		why := answer.Response.Status
		if answer.ErrorCode != "" {
			why += ", " + answer.ErrorCode
		}
		err = fmt.Errorf("%s gives no token: it answers %s", where, why)
		if status := answer.Response.StatusCode; status/100 == 4 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
			return refusalError{fmt.Errorf("%w: check client_id, client_secret, scope and token_url of kafka.sasl.oauth", err)}
		}
		return err
	}
	if advice := access.Advice("kafka.sasl.oauth", err); advice != "" {
		return refusalError{fmt.Errorf("%s cannot be trusted: %w: %s", where, err, advice)}
	}
	return fmt.Errorf("%s gives no token: %w", where, err)
}

// tokenFile reads a file that someone else renews.
func tokenFile(o configs.OAuth) issuer {
	return func(context.Context) (kafka.OAuthBearerToken, error) {
		info, err := os.Stat(o.TokenFile)
		if err == nil && info.Size() > maxTokenBytes {
			return kafka.OAuthBearerToken{}, refusalError{fmt.Errorf("kafka.sasl.oauth.token_file: %s has %d bytes, which is no token", o.TokenFile, info.Size())}
		}
		text, err := os.ReadFile(o.TokenFile)
		if err != nil {
			return kafka.OAuthBearerToken{}, fmt.Errorf("kafka.sasl.oauth.token_file: %w", err)
		}
		t := bearer(strings.TrimSpace(string(text)), time.Time{}, "", o.Extensions)
		switch {
		case t.TokenValue == "":
			return t, fmt.Errorf("kafka.sasl.oauth.token_file: %s is empty", o.TokenFile)
		case !t.Expiration.After(time.Now()):
			return t, fmt.Errorf("kafka.sasl.oauth.token_file: the token in %s has expired at %s", o.TokenFile, t.Expiration.UTC().Format(time.RFC3339))
		}
		return t, nil
	}
}

// iam signs tokens for Amazon MSK.
func iam(k configs.Kafka) (issuer, error) {
	id := access.Identity{Path: "kafka.sasl.aws"}
	if k.SASL.AWS != nil {
		id.Identity = *k.SASL.AWS
	}
	id.Region = cmp.Or(id.Region, regionOf(k.Brokers))
	c, err := access.AWS(context.Background(), id)
	if err != nil {
		return nil, err
	}
	if c.Region == "" {
		return nil, errors.New("kafka.sasl.aws.region: neither the settings, the brokers' names nor the AWS environment name a region")
	}
	return func(ctx context.Context) (kafka.OAuthBearerToken, error) {
		text, until, err := signer.GenerateAuthTokenFromCredentialsProvider(ctx, c.Region, c.Credentials)
		if err != nil {
			err = fmt.Errorf("AWS gives no credentials for AWS_MSK_IAM: %w", err)
			if access.Denied(err) {
				err = refusalError{err}
			}
			return kafka.OAuthBearerToken{}, err
		}
		return kafka.OAuthBearerToken{TokenValue: text, Expiration: time.UnixMilli(until), Principal: principal}, nil
	}, nil
}

var mskBroker = regexp.MustCompile(`\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?:`)

// regionOf takes the region from the brokers' names: b-1.name.id.c2.kafka.eu-central-1.amazonaws.com:9098.
func regionOf(brokers []string) string {
	for _, b := range brokers {
		if m := mskBroker.FindStringSubmatch(b); m != nil {
			return m[1]
		}
	}
	return ""
}

// principal is what the client calls itself where a token does not say; brokers do not look at it.
const principal = "lakeloader"

// bearer makes a token. Without an end it is asked for one, as a JWT.
func bearer(text string, end time.Time, name string, extensions map[string]string) kafka.OAuthBearerToken {
	var claims struct {
		Sub string  `json:"sub"`
		Exp float64 `json:"exp"`
	}
	if parts := strings.Split(text, "."); len(parts) == 3 {
		body, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
		if err != nil || json.Unmarshal(body, &claims) != nil {
			claims.Sub, claims.Exp = "", 0 // it is opaque to us; the broker judges it
		}
	}
	switch {
	case claims.Exp > 0 && claims.Exp < 1e11: // the token's own word is what the broker goes by
		end = time.UnixMilli(int64(claims.Exp * 1000))
	case end.IsZero():
		end = time.Now().Add(assumedLife)
	}
	return kafka.OAuthBearerToken{TokenValue: text, Expiration: end, Principal: cmp.Or(claims.Sub, name, principal), Extensions: extensions}
}

// bearers is a client that logs in with tokens.
type bearers interface {
	SetOAuthBearerToken(kafka.OAuthBearerToken) error
	SetOAuthBearerTokenFailure(string) error
}

// tokens keeps a client supplied with tokens until stop: the next one at four fifths of the life of the last. Connections
// wait for the first one.
//
// The client's own refresh events are not used: the admin client gives them to nobody, and they come only when the old
// token is about to end.
type tokens struct {
	issue  issuer
	client bearers
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	last error // of the latest attempt
}

// startTokens begins to supply client; nil when the login needs no tokens.
func startTokens(issue issuer, client bearers, log *slog.Logger) *tokens {
	if issue == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tokens{issue: issue, client: client, log: log, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.run(ctx)
	}()
	return t
}

// Pauses between two tokens, and between attempts that failed.
const (
	shortestLife = time.Second
	longestLife  = 12 * time.Hour
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

func (t *tokens) run(ctx context.Context) {
	pause := firstPause
	for {
		life, err := t.renew(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := min(max(life*4/5, shortestLife), longestLife)
		if err != nil {
			wait, pause = pause, min(2*pause, longestPause)
		} else {
			pause = firstPause
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// renew gives the client another token and returns how long that is good.
func (t *tokens) renew(ctx context.Context) (time.Duration, error) {
	asking, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	got, err := t.issue(asking)
	if err == nil {
		if err = t.client.SetOAuthBearerToken(got); err != nil {
			err = refusalError{fmt.Errorf("the Kafka client refuses the token: %w", err)}
		}
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	t.mu.Lock()
	t.last = err
	t.mu.Unlock()
	if err == nil {
		t.log.Debug("a token for the login was taken up", "until", got.Expiration.UTC().Format(time.RFC3339))
		return time.Until(got.Expiration), nil
	}
	t.log.Warn("no token for the login to Kafka, trying on", "error", err)
	if serr := t.client.SetOAuthBearerTokenFailure(err.Error()); serr != nil {
		t.log.Warn("the Kafka client does not take the failure", "error", serr)
	}
	return 0, err
}

// failure is why there is no token, and whether that stays so; nil when there is one, or nobody has answered yet.
func (t *tokens) failure() (err error, stays bool) {
	if t == nil {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var r refusalError
	return t.last, errors.As(t.last, &r)
}

// stop returns when the client is called no more; it must still be open.
func (t *tokens) stop() {
	if t != nil {
		t.cancel()
		<-t.done
	}
}
