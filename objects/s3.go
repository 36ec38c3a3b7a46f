package objects

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/configs"
)

const (
	defaultPartSize = 8 << 20
	minPartSize     = 5 << 20 // S3's limit for all parts but the last
	maxParts        = 10000   // S3's limit
	maxAttempts     = 5
	// ownerKey is the metadata under which an object carries the random id of the write that made it, so that a writer
	// whose reply was lost can tell its own object from another's.
	ownerKey = "lakeloader-write"
)

// s3Store keeps objects in S3. A name is claimed with If-None-Match: *, so nothing is overwritten.
type s3Store struct {
	client   *s3.Client
	endpoint string // for messages
	aws      bool   // no endpoint is set: it is AWS itself
	partSize int
	buffers  sync.Pool     // of parts (*[]byte), free to be used again or collected
	idle     time.Duration // the longest silence of the server within a response
}

// AWSConfig returns the SDK's settings for S3: region, keys (else the usual chain), role, encryption of what is written,
// authorities, retries, time limits. The endpoint and path style are not part of it. The result and its HTTP client can be
// shared.
func AWSConfig(ctx context.Context, cfg configs.S3) (aws.Config, error) {
	opts := []func(*config.LoadOptions) error{config.WithRetryer(func() aws.Retryer { return newRetryer(retry.DefaultMaxBackoff) })}
	if (cfg.AccessKey == "") != (cfg.SecretKey == "") {
		return aws.Config{}, errors.New("warehouse.s3: access_key and secret_key must be set together")
	}
	if cfg.AccessKey != "" {
		opts = append(opts, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, cfg.SessionToken)))
	}
	c, err := access.AWS(ctx, access.Identity{Path: "warehouse.s3", CA: cfg.CA, STSEndpoint: cfg.STSEndpoint,
		Identity: configs.Identity{Region: cfg.Region, RoleARN: cfg.RoleARN, ExternalID: cfg.ExternalID, SessionName: cfg.SessionName}}, opts...)
	if err != nil {
		return c, err
	}
	c.HTTPClient = quietClient{c.HTTPClient}
	c.Region = cmp.Or(c.Region, "us-east-1")
	return c, encrypted(&c, cfg)
}

// encrypted makes every client of c ask for the encryption of what it writes. It is done here, below all clients, so that
// the metadata that the table's library writes is covered too.
func encrypted(c *aws.Config, cfg configs.S3) error {
	var how types.ServerSideEncryption
	var key *string
	switch cfg.Encryption {
	case "", "none":
		return nil
	case "sse-s3":
		how = types.ServerSideEncryptionAes256
	case "sse-kms":
		how = types.ServerSideEncryptionAwsKms
		if cfg.KMSKey != "" {
			key = &cfg.KMSKey
		}
	default:
		return fmt.Errorf("warehouse.s3.encryption: %q is none of none, sse-s3, sse-kms", cfg.Encryption)
	}
	set := middleware.InitializeMiddlewareFunc("lakeloaderEncryption",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			switch p := in.Parameters.(type) {
			case *s3.PutObjectInput:
				p.ServerSideEncryption, p.SSEKMSKeyId = how, key
			case *s3.CreateMultipartUploadInput: // its parts inherit it
				p.ServerSideEncryption, p.SSEKMSKeyId = how, key
			case *s3.CopyObjectInput:
				p.ServerSideEncryption, p.SSEKMSKeyId = how, key
			}
			return next.HandleInitialize(ctx, in)
		})
	c.APIOptions = append(c.APIOptions, func(st *middleware.Stack) error { return st.Initialize.Add(set, middleware.Before) })
	return nil
}

// quietClient lets request bodies be closed twice. The SDK (1.45) closes a body as soon as the answer begins; when net/http
// does so a moment later it gets an error, takes the request for failed and cuts the connection within the answer.
type quietClient struct{ next aws.HTTPClient }

func (c quietClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context())
		r.Body = quietBody{r.Body}
	}
	return c.next.Do(r)
}

type quietBody struct{ io.ReadCloser }

func (b quietBody) Close() error {
	if err := b.ReadCloser.Close(); !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}

func newRetryer(maxBackoff time.Duration) *retry.Standard {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff
		// S3 answers two conditional writes at the same moment with 409: neither landed.
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(final)}, o.Retryables...)
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{"ConditionalRequestConflict": {}}})
	})
}

// final knows errors that the same request would meet again: of certificates, and of a role, whose client has tried
// several times itself.
func final(err error) aws.Ternary {
	var role *access.RoleError
	if access.Certificate(err) || errors.As(err, &role) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// PathStyle says whether the bucket goes into the path: by default with every endpoint but AWS.
func PathStyle(cfg configs.S3) bool {
	if cfg.PathStyle != nil {
		return *cfg.PathStyle
	}
	return cfg.Endpoint != ""
}

// NewS3 returns the store of s3:// URIs at an endpoint. An upload holds at most three parts in memory: two on their way
// and one being filled; objects up to one part go in a single request.
func NewS3(cfg configs.S3) (Store, error) { return newS3(cfg, retry.DefaultMaxBackoff) }

func newS3(cfg configs.S3, maxBackoff time.Duration) (*s3Store, error) {
	ac, err := AWSConfig(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	part := int(cmp.Or(cfg.PartSize, defaultPartSize))
	if part < minPartSize {
		return nil, fmt.Errorf("warehouse.s3.part_size is %d bytes: S3 takes no part below 5MiB", part)
	}
	client := s3.NewFromConfig(ac, func(o *s3.Options) {
		o.UsePathStyle = PathStyle(cfg)
		o.Retryer = newRetryer(maxBackoff)
		o.DisableLogOutputChecksumValidationSkipped = true
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
			// Many S3 services refuse the SDK's newer checksum headers; the signature covers the payload anyway.
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})
	return &s3Store{client: client, endpoint: cmp.Or(shown(cfg.Endpoint), "AWS "+ac.Region), aws: cfg.Endpoint == "", partSize: part, idle: 60 * time.Second}, nil
}

// shown is a URL as messages show it, without a password.
func shown(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "the endpoint"
	}
	return u.Redacted()
}

func (s *s3Store) Create(ctx context.Context, uri string) (Upload, error) {
	bucket, key, err := splitS3(uri)
	if err != nil {
		return nil, err
	}
	return newS3Upload(ctx, s, bucket, key), nil
}

func (s *s3Store) Put(ctx context.Context, uri string, data []byte) error {
	bucket, key, err := splitS3(uri)
	if err != nil {
		return err
	}
	return s.putOnce(ctx, bucket, key, newOwner(), data)
}

func newOwner() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// partBuffer returns an empty buffer with room for a part.
func (s *s3Store) partBuffer() []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, s.partSize)
}

// freeBuffer takes a buffer back.
func (s *s3Store) freeBuffer(b []byte) {
	if cap(b) >= s.partSize {
		s.buffers.Put(&b)
	}
}

// putOnce writes a whole object under a name that must be free. When an attempt's reply was lost, the SDK's next attempt
// finds the name taken, maybe by us: then the object's owner decides.
func (s *s3Store) putOnce(ctx context.Context, bucket, key, owner string, data []byte) error {
	var tries atomic.Int32
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
		IfNoneMatch: aws.String("*"), Metadata: map[string]string{ownerKey: owner},
	}, countTries(&tries))
	if err == nil {
		return nil
	}
	err = s.classify("write", bucket, key, err)
	if tries.Load() > 1 && (errors.Is(err, ErrExists) || errors.Is(err, ErrRetry)) {
		ours, herr := s.owns(ctx, bucket, key, owner)
		if herr != nil && ctx.Err() != nil {
			return fmt.Errorf("%w, before that: %w", herr, err) // the time that ran out is not the reason
		}
		if herr != nil {
			return herr
		}
		if ours {
			return nil
		}
	}
	return err
}

// owns says whether the object is there and was made by the write owner. Its error is ErrRetry or permanent.
func (s *s3Store) owns(ctx context.Context, bucket, key, owner string) (bool, error) {
	h, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		err = s.classify("look at", bucket, key, err)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return false, err
	}
	return h.Metadata[ownerKey] == owner, nil
}

// countTries counts the attempts that a request took.
func countTries(n *atomic.Int32) func(*s3.Options) {
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(st *middleware.Stack) error {
			return st.Finalize.Insert(middleware.FinalizeMiddlewareFunc("lakeloaderTries",
				func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
					n.Add(1)
					return next.HandleFinalize(ctx, in)
				}), (*retry.Attempt)(nil).ID(), middleware.After)
		})
	}
}

func (s *s3Store) Open(ctx context.Context, uri string) (Reader, error) {
	bucket, key, err := splitS3(uri)
	if err != nil {
		return nil, err
	}
	h, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		err = s.classify("open", bucket, key, err)
		if errors.Is(err, ErrNotFound) {
			// A reply to HEAD has no body, so a missing bucket looks like a missing key.
			if _, berr := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}); isStatus(berr, http.StatusNotFound) {
				return nil, s.noBucket("open", bucket, key, err)
			}
		}
		return nil, err
	}
	return &s3Reader{store: s, ctx: ctx, bucket: bucket, key: key, size: aws.ToInt64(h.ContentLength)}, nil
}

func (s *s3Store) List(ctx context.Context, prefix string) ([]Info, error) {
	bucket, key, err := splitS3(strings.TrimSuffix(prefix, "/") + "/.")
	if err != nil {
		return nil, err
	}
	key = strings.TrimSuffix(key, "/.")
	if key == "." {
		key = ""
	} else if strings.HasSuffix(prefix, "/") {
		key += "/"
	}
	var out []Info
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s.classify("list", bucket, key, err)
		}
		for _, o := range page.Contents {
			out = append(out, Info{URI: "s3://" + bucket + "/" + aws.ToString(o.Key), Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified), ETag: strings.Trim(aws.ToString(o.ETag), `"`)})
		}
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.URI, b.URI) })
	return out, nil
}

func (s *s3Store) Delete(ctx context.Context, uri string) error {
	bucket, key, err := splitS3(uri)
	if err != nil {
		return err
	}
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
		if err = s.classify("delete", bucket, key, err); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// s3Reader reads ranges under the context of Open.
type s3Reader struct {
	store       *s3Store
	ctx         context.Context
	bucket, key string
	size        int64
}

func (r *s3Reader) Size() int64  { return r.size }
func (r *s3Reader) Close() error { return nil }

// ReadAt resumes after a body that broke off; requests that fail before their body are repeated by the SDK.
func (r *s3Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read s3://%s/%s: negative offset %d", r.bucket, r.key, off)
	}
	if off >= r.size {
		return 0, io.EOF
	}
	var eof error
	if rest := r.size - off; int64(len(p)) > rest {
		p, eof = p[:rest], io.EOF
	}
	n, failures := 0, 0
	for n < len(p) {
		m, err := r.read(p[n:], off+int64(n))
		n += m
		if err == nil {
			continue
		}
		if m > 0 {
			failures = 0
		}
		if failures++; failures >= maxAttempts || !errors.Is(err, ErrRetry) || r.ctx.Err() != nil {
			return n, err
		}
	}
	return n, eof
}

func (r *s3Reader) read(p []byte, off int64) (int, error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	out, err := r.store.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: &r.key,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1))})
	if err != nil {
		return 0, r.store.classify("read", r.bucket, r.key, err)
	}
	defer out.Body.Close()
	if total, ok := totalOf(aws.ToString(out.ContentRange)); ok && total != r.size {
		return 0, fmt.Errorf("read s3://%s/%s: %w: %d bytes instead of %d", r.bucket, r.key, errSize, total, r.size)
	}
	// A connection that goes silent within the body has no time limit of its own.
	silence := time.AfterFunc(r.store.idle, func() { cancel(errSilent) })
	defer silence.Stop()
	n := 0
	for n < len(p) {
		m, err := out.Body.Read(p[n:])
		n += m
		silence.Reset(r.store.idle)
		if err != nil && n < len(p) {
			return n, r.store.classify("read", r.bucket, r.key, brokenBody(ctx, err))
		}
	}
	return n, nil
}
