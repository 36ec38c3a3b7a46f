package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lakeloader/lakeloader/configs"
)

// Identity is who to be to AWS.
type Identity struct {
	configs.Identity
	// Path names the settings in errors, e.g. warehouse.s3.
	Path string
	// STSEndpoint is the URL of the service that gives role credentials; "": AWS's.
	STSEndpoint string
	// CA is a PEM file of authorities to trust; "": the system's, or what AWS_CA_BUNDLE names.
	CA string
}

// AWS returns the SDK's settings for an identity: the usual chain (environment, profile, web identity, container,
// instance), unless options say otherwise, and on its base the role. Temporary credentials are renewed as needed. Nothing is asked yet.
func AWS(ctx context.Context, id Identity, options ...func(*config.LoadOptions) error) (aws.Config, error) {
	client := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 10 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = 30 * time.Second
			t.MaxIdleConnsPerHost = 64
		})
	if id.CA != "" {
		pool, err := pool(id.Path+".ca_file", id.CA)
		if err != nil {
			return aws.Config{}, err
		}
		client = client.WithTransportOptions(func(t *http.Transport) { t.TLSClientConfig.RootCAs = pool })
	}
	options = append([]func(*config.LoadOptions) error{config.WithHTTPClient(client)}, options...)
	if id.Region != "" {
		options = append(options, config.WithRegion(id.Region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return c, fmt.Errorf("%s: AWS settings: %w", id.Path, err)
	}
	if id.RoleARN != "" {
		c.Credentials = role(c.Copy(), id)
	}
	return c, nil
}

// role gives the credentials of a role, and says whose they were to be when there are none.
func role(c aws.Config, id Identity) aws.CredentialsProvider {
	c.Region = cmp.Or(c.Region, "us-east-1") // STS has one endpoint a region
	client := sts.NewFromConfig(c, func(o *sts.Options) {
		if id.STSEndpoint != "" {
			o.BaseEndpoint = aws.String(id.STSEndpoint)
		}
	})
	provider := stscreds.NewAssumeRoleProvider(client, id.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = cmp.Or(id.SessionName, "lakeloader")
		if id.ExternalID != "" {
			o.ExternalID = aws.String(id.ExternalID)
		}
	})
	named := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		got, err := provider.Retrieve(ctx)
		if err != nil {
			return got, &RoleError{ARN: id.RoleARN, Path: id.Path, Err: err}
		}
		return got, nil
	})
	return aws.NewCredentialsCache(named, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow, o.ExpiryWindowJitterFrac = time.Minute, 0.5
	})
}

// RoleError says that a role could not be assumed.
type RoleError struct {
	ARN, Path string
	Err       error
}

func (e *RoleError) Error() string {
	return fmt.Sprintf("the role %s cannot be assumed: check %s.role_arn and external_id, and the role's trust policy: %v", e.ARN, e.Path, e.Err)
}

func (e *RoleError) Unwrap() error { return e.Err }

// Denied reports whether AWS has refused a role, which waiting does not cure.
func Denied(err error) bool {
	var role *RoleError
	var answer *awshttp.ResponseError
	return errors.As(err, &role) && errors.As(err, &answer) && answer.HTTPStatusCode() >= 400 && answer.HTTPStatusCode() < 500
}
