package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/lakeloader/lakeloader/access"
)

var (
	errSilent = errors.New("the server went silent within its answer")
	errBroken = errors.New("the answer broke off")
)

// brokenBody explains the error of reading a response's body.
func brokenBody(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	if ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// classify turns an error of the SDK into one of this package's, naming endpoint, bucket and key. What it does not mark
// as ErrRetry is permanent.
func (s *s3Store) classify(op, bucket, key string, err error) error {
	what := fmt.Sprintf("%s s3://%s/%s at %s", op, bucket, key, s.endpoint)
	if errors.Is(err, errSilent) || errors.Is(err, errBroken) {
		return fmt.Errorf("%s: %w: %w", what, ErrRetry, err)
	}
	var role *access.RoleError
	if errors.As(err, &role) {
		if access.Denied(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		return fmt.Errorf("%s: %w: %w", what, ErrRetry, err)
	}
	if advice := access.Advice("warehouse.s3", err); advice != "" {
		return fmt.Errorf("%s: %w: %s", what, err, advice)
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); code {
		case "NoSuchKey", "NotFound":
			return fmt.Errorf("%s: %w", what, ErrNotFound)
		case "PreconditionFailed":
			return fmt.Errorf("%s: %w", what, ErrExists)
		case "NoSuchBucket":
			return s.noBucket(op, bucket, key, err)
		case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired":
			return fmt.Errorf("%s: the credentials are wrong (%s): check warehouse.s3.access_key and secret_key, or the AWS environment: %w", what, code, err)
		case "AccessDenied", "Forbidden", "AllAccessDisabled":
			return fmt.Errorf("%s: access denied: the credentials are wrong or may not do this on bucket %s: %w", what, bucket, err)
		case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
			return fmt.Errorf("%s: wrong region or endpoint for bucket %s: check warehouse.s3.region and endpoint: %w", what, bucket, err)
		case "NotImplemented":
			return fmt.Errorf("%s: this S3 service lacks something lakeloader needs (conditional writes with If-None-Match): %w", what, err)
		case "KMS.NotFoundException", "KMS.DisabledException", "KMS.KMSInvalidStateException", "KMSKeyDisabledException":
			return fmt.Errorf("%s: the key cannot be used: check warehouse.s3.kms_key: %w", what, err)
		case "RequestTimeTooSkewed":
			return fmt.Errorf("%s: this machine's clock is wrong: %w", what, err)
		case "ConditionalRequestConflict":
			return fmt.Errorf("%s: %w: %w", what, ErrRetry, err)
		}
	}
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !isNetTimeout(err):
		return fmt.Errorf("%s: %w", what, err)
	case isDial(err):
		return fmt.Errorf("%s: %w: the server cannot be reached: check warehouse.s3.endpoint and that it runs: %w", what, ErrRetry, err)
	case isTemporary(err):
		return fmt.Errorf("%s: %w: %w", what, ErrRetry, err)
	case isStatus(err, http.StatusForbidden), isStatus(err, http.StatusUnauthorized):
		return fmt.Errorf("%s: access denied: the credentials are wrong or may not do this on bucket %s: %w", what, bucket, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// noBucket does not wrap err: a missing bucket must not be taken for a missing object.
func (s *s3Store) noBucket(op, bucket, key string, err error) error {
	//nolint:errorlint // see above
	return fmt.Errorf("%s s3://%s/%s at %s: bucket %s does not exist there: create it or correct warehouse.location (%s)", op, bucket, key, s.endpoint, bucket, err)
}

// isTemporary covers what the SDK itself retries, and broken connections.
func isTemporary(err error) bool {
	for _, r := range retry.DefaultRetryables {
		if r.IsErrorRetryable(err) == aws.TrueTernary {
			return true
		}
	}
	var r *awshttp.ResponseError
	if errors.As(err, &r) && (r.HTTPStatusCode() >= 500 || r.HTTPStatusCode() == http.StatusTooManyRequests || r.HTTPStatusCode() == http.StatusRequestTimeout) {
		return r.HTTPStatusCode() != http.StatusNotImplemented
	}
	return isNetwork(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// isDial says that there was no connection at all.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// isNetwork reports errors of connections. A plain system error (a full disk) has the methods of net.Error too.
func isNetwork(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var n net.Error
	return errors.As(err, &op) || errors.As(err, &dns) || errors.As(err, &n) && n.Timeout()
}

func isNetTimeout(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Timeout()
}

func isStatus(err error, status int) bool {
	var r *awshttp.ResponseError
	return errors.As(err, &r) && r.HTTPStatusCode() == status
}

// Temporary reports whether another attempt may cure an error of this package or of the AWS SDK.
func Temporary(err error) bool { return errors.Is(err, ErrRetry) || isTemporary(err) }
