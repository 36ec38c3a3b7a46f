package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const (
	partsInFlight = 2
	abortTimeout  = 10 * time.Second
)

// s3Upload writes an object: in one request when it fits into one part, else in parts that are sent while the next one
// is filled. Write blocks while two parts are on their way; that is the bound on memory. Uploads share the buffers of parts:
// one that is open but not written to, as those of past time partitions are, holds no more than what it was given.
type s3Upload struct {
	store       *s3Store
	ctx         context.Context
	cancel      context.CancelFunc
	bucket, key string
	owner       string
	buf         []byte
	size        int64
	id          string // of the multipart upload; empty: none begun
	parts       []types.CompletedPart
	slots       chan struct{} // one for every part that may be on its way
	sending     sync.WaitGroup
	mu          sync.Mutex
	err         error // the first of a part
	done        bool
	held        atomic.Int64 // in buf and in parts on their way
}

// Buffered tells how much of what was written is still in memory, bytes. It may be called on any goroutine.
func (u *s3Upload) Buffered() int64 { return u.held.Load() }

func newS3Upload(ctx context.Context, s *s3Store, bucket, key string) *s3Upload {
	u := &s3Upload{store: s, bucket: bucket, key: key, owner: newOwner(), slots: make(chan struct{}, partsInFlight)}
	u.ctx, u.cancel = context.WithCancel(ctx)
	return u
}

func (u *s3Upload) Write(p []byte) (int, error) {
	if u.done {
		return 0, fmt.Errorf("write s3://%s/%s: it was committed or aborted before", u.bucket, u.key)
	}
	n := 0
	for n < len(p) {
		if len(u.buf) == u.store.partSize {
			if err := u.flush(); err != nil {
				return n, err
			}
		}
		m := min(len(p)-n, u.store.partSize-len(u.buf))
		if need, had := len(u.buf)+m, cap(u.buf); need > had { // append would overshoot the part size
			u.grow(need)
			u.held.Add(int64(cap(u.buf) - had))
		}
		u.buf = append(u.buf, p[n:n+m]...)
		n += m
	}
	u.size += int64(n)
	return n, nil
}

// grow doubles the buffer of a small object; one that has more parts gets a whole one at once.
func (u *s3Upload) grow(need int) {
	if size := max(need, 2*cap(u.buf)); u.id == "" && size < u.store.partSize {
		u.buf = append(make([]byte, 0, size), u.buf...)
		return
	}
	u.buf = append(u.store.partBuffer(), u.buf...)
}

// flush sends the buffer as the next part.
func (u *s3Upload) flush() error {
	if err := u.failure(); err != nil {
		return err
	}
	if u.id == "" {
		out, err := u.store.client.CreateMultipartUpload(u.ctx, &s3.CreateMultipartUploadInput{Bucket: &u.bucket, Key: &u.key,
			Metadata: map[string]string{ownerKey: u.owner}})
		if err != nil {
			return u.store.classify("begin the upload of", u.bucket, u.key, err)
		}
		u.id = aws.ToString(out.UploadId)
	}
	if len(u.parts) == maxParts {
		return fmt.Errorf("write s3://%s/%s: more than %d parts of %d bytes: raise warehouse.s3.part_size or lower the target file size",
			u.bucket, u.key, maxParts, u.store.partSize)
	}
	select {
	case u.slots <- struct{}{}:
	case <-u.ctx.Done():
		return u.store.classify("write", u.bucket, u.key, u.ctx.Err())
	}
	u.mu.Lock()
	i := len(u.parts)
	u.parts = append(u.parts, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1))})
	u.mu.Unlock()
	part := u.buf
	u.buf = nil
	u.sending.Go(func() {
		etag, err := u.sendPart(int32(i+1), part)
		u.mu.Lock()
		u.parts[i].ETag = etag
		if u.err == nil {
			u.err = err
		}
		u.mu.Unlock()
		if err == nil { // else a broken connection may be reading it still
			u.store.freeBuffer(part)
		}
		u.held.Add(-int64(cap(part)))
		<-u.slots
	})
	return nil
}

func (u *s3Upload) sendPart(number int32, data []byte) (*string, error) {
	out, err := u.store.client.UploadPart(u.ctx, &s3.UploadPartInput{Bucket: &u.bucket, Key: &u.key, UploadId: &u.id,
		PartNumber: &number, Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data)))})
	if err != nil {
		return nil, u.store.classify(fmt.Sprintf("write part %d of", number), u.bucket, u.key, err)
	}
	return out.ETag, nil
}

func (u *s3Upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *s3Upload) Commit(ctx context.Context) error {
	if u.done {
		return fmt.Errorf("commit s3://%s/%s: it was committed or aborted before", u.bucket, u.key)
	}
	defer u.Abort()
	if u.id == "" {
		if err := u.store.putOnce(ctx, u.bucket, u.key, u.owner, u.buf); err != nil {
			return err
		}
		u.done, u.buf = true, nil
		u.held.Store(0)
		u.cancel()
		return nil
	}
	if err := u.flush(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, u.cancel)
	u.sending.Wait()
	stop()
	if err := u.failure(); err != nil {
		return err
	}
	if err := u.complete(ctx, aws.String("*")); err != nil {
		return err
	}
	u.done = true
	u.held.Store(0)
	u.cancel()
	return nil
}

// complete ends the multipart upload. After a lost reply the repeated request finds the name taken or the upload gone:
// then the object's owner decides.
func (u *s3Upload) complete(ctx context.Context, ifNoneMatch *string) error {
	var tries atomic.Int32
	_, err := u.store.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &u.bucket, Key: &u.key, UploadId: &u.id,
		IfNoneMatch: ifNoneMatch, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts}}, countTries(&tries))
	if err == nil {
		return nil
	}
	var api smithy.APIError
	gone := errors.As(err, &api) && api.ErrorCode() == "NoSuchUpload"
	if ifNoneMatch != nil && isStatus(err, http.StatusNotImplemented) {
		// An older service without conditional completion. Names are unique, so nothing is lost without it.
		return u.complete(ctx, nil)
	}
	err = u.store.classify("end the upload of", u.bucket, u.key, err)
	if gone || tries.Load() > 1 && (errors.Is(err, ErrExists) || errors.Is(err, ErrRetry)) {
		if ours, herr := u.store.owns(ctx, u.bucket, u.key, u.owner); herr != nil {
			return herr
		} else if ours {
			return nil
		}
	}
	return err
}

// Abort stops the parts on their way, waits for them, and tells the server to forget them. Should that fail, the parts
// stay until the bucket's lifecycle rule for incomplete uploads removes them; no reader sees them.
func (u *s3Upload) Abort() {
	if u.done {
		return
	}
	u.done = true
	u.cancel()
	u.sending.Wait()
	u.buf = nil
	u.held.Store(0)
	if u.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTimeout)
	defer cancel()
	_, _ = u.store.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.bucket, Key: &u.key, UploadId: &u.id})
}
