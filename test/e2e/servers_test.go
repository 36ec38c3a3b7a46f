//go:build stack

package e2e

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// objects lists everything that is stored for the lake, in its warehouse and, of a REST catalog, where that puts its tables.
func (l lake) objects(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	roots := []string{l.warehouse}
	if l.table.Catalog == "rest" {
		roots = append(roots, "s3://warehouse/rest/"+l.table.Table)
	}
	for _, root := range roots {
		at, remote := strings.CutPrefix(root, "s3://")
		if !remote {
			walk(t, root, found)
			continue
		}
		bucket, prefix, _ := strings.Cut(at, "/")
		client := stacktest.S3Client(t, stacktest.S3(t))
		pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Contents {
				found[*o.Key] = true
			}
		}
	}
	return found
}

// walk adds the files below a folder that may not be there yet, and whose files come and go.
func walk(t *testing.T, root string, found map[string]bool) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile, or not there yet
		}
		if !d.IsDir() {
			found[path] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
