package iceberg

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	icebergo "github.com/apache/iceberg-go"
	iceglue "github.com/apache/iceberg-go/catalog/glue"
	icerest "github.com/apache/iceberg-go/catalog/rest"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/middleware"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
)

func (l *lake) openREST(ctx context.Context, cfg configs.Catalog, root string, props icebergo.Properties) error {
	u, err := url.Parse(cfg.URI)
	if err != nil || u.Host == "" {
		return errors.New("catalog.uri is no URL of a REST catalog, e.g. http://catalog:8181") // it is not shown, since it may hold a password
	}
	secure, err := access.TLS("catalog.tls", cfg.TLS)
	if err != nil {
		return err
	}
	l.kind, l.where = rest, "catalog rest "+u.Redacted()
	delete(props, "warehouse")
	opts := []icerest.Option{
		icerest.WithWarehouseLocation(cmp.Or(cfg.Warehouse, root)),
		icerest.WithAdditionalProps(props),
		icerest.WithTransportFactory(func(tc *tls.Config) (http.RoundTripper, func()) {
			if tc != nil { // the library's own property rest.tls.skip-verify
				secure.InsecureSkipVerify = secure.InsecureSkipVerify || tc.InsecureSkipVerify
			}
			t := newTransport(secure)
			return follower{t}, t.CloseIdleConnections
		}),
	}
	if cfg.Credential != "" {
		opts = append(opts, icerest.WithCredential(cfg.Credential))
	}
	if cfg.Token != "" {
		opts = append(opts, icerest.WithOAuthToken(cfg.Token))
	}
	c, err := icerest.NewCatalog(ctx, cfg.Name, cfg.URI, opts...)
	if err != nil {
		if advice := access.Advice("catalog.tls", err); advice != "" {
			return fmt.Errorf("%s: %w: %s", l.where, err, advice)
		}
		return fmt.Errorf("%s: %w", l.where, passing(err))
	}
	l.backend, l.close = c, c.Close
	return nil
}

func newTransport(tc *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: tc, ForceAttemptHTTP2: true,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 60 * time.Second, IdleConnTimeout: 90 * time.Second,
	}
}

// follower fills in the delivery of a commit's request.
type follower struct{ next http.RoundTripper }

func (f follower) RoundTrip(r *http.Request) (*http.Response, error) {
	d := deliveryOf(r.Context())
	if d == nil || r.Method != http.MethodPost {
		return f.next.RoundTrip(r)
	}
	trace := &httptrace.ClientTrace{WroteHeaders: func() { d.sent.Store(true) }}
	rsp, err := f.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err == nil {
		d.status.Store(int32(rsp.StatusCode))
	}
	return rsp, err
}

func (l *lake) openGlue(ctx context.Context, cfg configs.Catalog, wh configs.Warehouse, props icebergo.Properties) error {
	ac := l.aws.Copy()
	ac.Region = cmp.Or(cfg.Properties[iceglue.Region], ac.Region)
	if key := cfg.Properties[iceglue.AccessKeyID]; key != "" {
		ac.Credentials = credentials.NewStaticCredentialsProvider(key, cfg.Properties[iceglue.SecretAccessKey], cfg.Properties[iceglue.SessionToken])
	} else if wh.S3.Endpoint != "" {
		// The keys of another S3 service mean nothing to Glue.
		chain, err := objects.AWSConfig(ctx, configs.S3{Region: ac.Region})
		if err != nil {
			return err
		}
		ac.Credentials = chain.Credentials
	}
	l.kind, l.where = glue, "catalog glue "+ac.Region
	if e := cmp.Or(cfg.URI, cfg.Properties[iceglue.Endpoint]); e != "" {
		l.where = "catalog glue " + e
		ac.ConfigSources = append([]any{glueEndpoint(e)}, ac.ConfigSources...)
	}
	if n := cfg.Properties[iceglue.MaxRetries]; n != "" {
		attempts, err := strconv.Atoi(n)
		if err != nil {
			return fmt.Errorf("catalog.properties: %s is %q, not a number", iceglue.MaxRetries, n)
		}
		standard := ac.Retryer
		ac.Retryer = func() aws.Retryer { return retry.AddWithMaxAttempts(standard(), attempts) }
	}
	ac.HTTPClient = glueClient{ac.HTTPClient}
	ac.APIOptions = append(ac.APIOptions, once)
	c, err := iceglue.NewCatalog(iceglue.WithAwsConfig(ac), iceglue.WithAwsProperties(iceglue.AwsProperties(props)))
	if err != nil {
		return fmt.Errorf("%s: %w", l.where, err)
	}
	l.backend, l.close = c, c.Close
	if _, err := c.CheckNamespaceExists(ctx, []string{cmp.Or(cfg.Namespace, "lake")}); err != nil {
		return fmt.Errorf("%s: %w", l.where, passing(err))
	}
	return nil
}

// glueEndpoint is the URL of Glue alone: a general base endpoint would catch the S3 client too.
type glueEndpoint string

// GetServiceBaseEndpoint is how the SDK asks for it.
func (e glueEndpoint) GetServiceBaseEndpoint(_ context.Context, sdkID string) (string, bool, error) {
	return string(e), sdkID == "Glue", nil
}

// once takes the SDK's retries from the request that decides a commit: a repeated one finds the version that its own
// lost predecessor made, and would look like a lost race.
func once(st *middleware.Stack) error {
	if st.ID() == "UpdateTable" {
		_, err := st.Finalize.Remove("Retry")
		return err
	}
	return nil
}

// glueClient fills in the delivery of UpdateTable.
type glueClient struct{ next aws.HTTPClient }

func (c glueClient) Do(r *http.Request) (*http.Response, error) {
	d := deliveryOf(r.Context())
	if d == nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".UpdateTable") {
		return c.next.Do(r)
	}
	trace := &httptrace.ClientTrace{WroteHeaders: func() { d.sent.Store(true) }}
	rsp, err := c.next.Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err == nil {
		d.status.Store(int32(rsp.StatusCode))
	}
	return rsp, err
}
