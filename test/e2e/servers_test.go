//go:build stack

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// reference is a schema that another one imports.
type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// register puts a schema into the registry and returns its id.
func register(t *testing.T, subject, kind, schema string, refs ...reference) uint32 {
	t.Helper()
	body, err := json.Marshal(map[string]any{"schema": schema, "schemaType": kind, "references": refs})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, stacktest.Registry(t)+"/subjects/"+subject+"/versions", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ ID uint32 }
	if err := json.Unmarshal(answer, &got); err != nil || resp.StatusCode != http.StatusOK || got.ID == 0 {
		t.Fatalf("registering a schema for %s: %s: %s", subject, resp.Status, answer)
	}
	return got.ID
}

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
