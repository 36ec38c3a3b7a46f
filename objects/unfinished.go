package objects

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// Unfinished is an upload that was begun and neither committed nor aborted: its program is writing, or died. S3 keeps, and
// charges for, the parts of a multipart upload, which no listing of objects shows; a local folder has the hidden file.
type Unfinished struct {
	URI   string // that the object was to have; of a local folder, the hidden file's
	ID    string // of a multipart upload
	Begun time.Time
	Size  int64 // of a hidden file; S3 does not tell
}

func sortUnfinished(list []Unfinished) {
	slices.SortFunc(list, func(a, b Unfinished) int { return strings.Compare(a.URI+"\x00"+a.ID, b.URI+"\x00"+b.ID) })
}

// Unfinished lists the multipart uploads of objects whose URI begins with prefix. Services other than AWS are asked for those of
// the whole bucket: MinIO takes a prefix for a whole name. One that does not know the question has none to tell of.
func (s *s3Store) Unfinished(ctx context.Context, prefix string) (list []Unfinished, err error) {
	bucket, key, err := splitS3(prefix)
	if err != nil {
		return nil, err
	}
	in := &s3.ListMultipartUploadsInput{Bucket: &bucket}
	if s.aws {
		in.Prefix = &key
	}
	pages := s3.NewListMultipartUploadsPaginator(s.client, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if isStatus(err, http.StatusNotImplemented) {
			return nil, nil
		}
		if err != nil {
			return nil, s.classify("list the unfinished uploads (s3:ListBucketMultipartUploads) of", bucket, key, err)
		}
		for _, u := range page.Uploads {
			if strings.HasPrefix(aws.ToString(u.Key), key) {
				list = append(list, Unfinished{URI: "s3://" + bucket + "/" + aws.ToString(u.Key), ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)})
			}
		}
	}
	sortUnfinished(list)
	return list, nil
}

// Abandon ends an unfinished upload, whose parts are then gone. One that has ended meanwhile is no error.
func (s *s3Store) Abandon(ctx context.Context, u Unfinished) error {
	bucket, key, err := splitS3(u.URI)
	if err != nil {
		return err
	}
	_, err = s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: &u.ID})
	var api smithy.APIError
	if err == nil || errors.As(err, &api) && api.ErrorCode() == "NoSuchUpload" {
		return nil
	}
	return s.classify("abort an upload (s3:AbortMultipartUpload) of", bucket, key, err)
}

// Unfinished lists the hidden files in a folder, prefix, and below. They count as begun when they were written last.
func (l *local) Unfinished(ctx context.Context, prefix string) (list []Unfinished, err error) {
	root, err := LocalPath(prefix)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() || !isTemp(d.Name()) {
			return err
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		list = append(list, Unfinished{URI: "file://" + p, Begun: st.ModTime(), Size: st.Size()})
		return nil
	})
	if err != nil {
		return nil, localError("list the unfinished files of", root, err)
	}
	sortUnfinished(list)
	return list, nil
}

// Abandon removes a hidden file, and nothing else.
func (l *local) Abandon(_ context.Context, u Unfinished) error {
	path, err := LocalPath(u.URI)
	if err != nil {
		return err
	}
	if !isTemp(filepath.Base(path)) {
		return localError("remove", path, errors.New("it is no unfinished file"))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return localError("remove", path, err)
	}
	return nil
}
