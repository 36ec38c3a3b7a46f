package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// WholeSize is the size up to which an object is read whole, bytes: to ask for parts of it takes longer than to get all of it.
const WholeSize = 1 << 20

// sizedStore is a store that needs no request to learn a size which the caller knows.
type sizedStore interface {
	// OpenSized is Open for an object that should have so many bytes. It is right too where it has not.
	OpenSized(ctx context.Context, uri string, size int64) (Reader, error)
}

// OpenSized is Open for an object whose size metadata tell; 0: they do not. Up to WholeSize it is in memory then, and took an
// object store one request.
func OpenSized(ctx context.Context, s Store, uri string, size int64) (Reader, error) {
	if sized, ok := s.(sizedStore); ok && size > 0 && size <= WholeSize {
		return sized.OpenSized(ctx, uri, size)
	}
	return s.Open(ctx, uri)
}

var errSize = errors.New("the object has another size")

// OpenSized implements sizedStore.
func (s *s3Store) OpenSized(ctx context.Context, uri string, size int64) (Reader, error) {
	bucket, key, err := splitS3(uri)
	if err != nil {
		return nil, err
	}
	r, data := &s3Reader{store: s, ctx: ctx, bucket: bucket, key: key, size: size}, make([]byte, size)
	switch _, err := io.ReadFull(io.NewSectionReader(r, 0, size), data); {
	case err == nil:
		return whole{bytes.NewReader(data)}, nil
	case errors.Is(err, errSize), errors.Is(err, ErrNotFound), isStatus(err, http.StatusRequestedRangeNotSatisfiable):
		return s.Open(ctx, uri) // which knows the size, and what exactly is missing
	default:
		return nil, err
	}
}

// whole is an object in memory.
type whole struct{ *bytes.Reader }

func (whole) Close() error { return nil }

// totalOf gives the size of the object from a Content-Range, "bytes 0-99/1234".
func totalOf(contentRange string) (int64, bool) {
	_, total, ok := strings.Cut(contentRange, "/")
	n, err := strconv.ParseInt(total, 10, 64)
	return n, ok && err == nil
}
