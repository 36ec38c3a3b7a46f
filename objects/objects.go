// Package objects is the little that lakeloader asks of an object store: whole immutable objects under
// unique names, in a local folder or in S3. Nothing is ever overwritten, so there are no partial reads.
package objects

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that callers tell apart; adapters wrap them with what happened and where.
var (
	ErrNotFound = errors.New("object not found")
	ErrExists   = errors.New("object exists already") // Put with a name that is taken
	// ErrRetry marks errors that another attempt may cure (throttling, 5xx, timeouts, broken connections).
	ErrRetry = errors.New("temporary error of the object store")
)

// Info describes an object in a listing.
type Info struct {
	URI      string
	Size     int64
	Modified time.Time
	// ETag is another one for other bytes, where the store says so (S3); else empty.
	ETag string
}

// Store reads and writes objects below one location. URIs are absolute: s3://bucket/key, or file:///path.
// Every method is safe for concurrent use.
type Store interface {
	// Create starts an object. It becomes visible, whole and durable, when Commit returns nil.
	Create(ctx context.Context, uri string) (Upload, error)
	// Put writes a small object that must not exist yet (If-None-Match: *), else ErrExists.
	Put(ctx context.Context, uri string, data []byte) error
	// Open returns a reader for ranges of an object, and its size. ErrNotFound when there is none. The context covers the
	// reads too.
	Open(ctx context.Context, uri string) (Reader, error)
	// List returns the objects whose URI starts with prefix, in order of name.
	List(ctx context.Context, prefix string) ([]Info, error)
	// Delete removes an object; removing one that is not there is no error.
	Delete(ctx context.Context, uri string) error
}

// Read returns a small object, whole.
func Read(ctx context.Context, s Store, uri string) ([]byte, error) {
	r, err := s.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	data := make([]byte, r.Size())
	_, err = io.ReadFull(io.NewSectionReader(r, 0, r.Size()), data)
	return data, errors.Join(err, r.Close())
}

// Upload is an object being written, by one goroutine. After an error of Write or Commit it is of no further use. Abort may
// follow Commit (then it does nothing), so that it can be deferred.
type Upload interface {
	io.Writer
	// Commit makes the object durable: locally fsync of file and folder, in S3 the end of the multipart upload. ErrExists
	// when the name is taken: nothing is overwritten.
	Commit(ctx context.Context) error
	Abort()
}

// Reader reads ranges of an object.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}
