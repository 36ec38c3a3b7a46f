package objects

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/lakeloader/lakeloader/configs"
)

// Root returns the warehouse's location as a URI without a trailing slash: file:///absolute/folder or
// s3://bucket/prefix. An empty location is the folder ./lake.
func Root(cfg configs.Warehouse) (string, error) {
	loc := cfg.Location
	if loc == "" {
		loc = "lake"
	}
	switch scheme(loc) {
	case "s3":
		if _, _, err := splitS3(strings.TrimRight(loc, "/") + "/x"); err != nil {
			return "", fmt.Errorf("warehouse.location: %w", err)
		}
		return strings.TrimRight(loc, "/"), nil
	case "file", "":
		path, err := filepath.Abs(strings.TrimPrefix(strings.TrimPrefix(loc, "file://"), "file:"))
		if err != nil {
			return "", fmt.Errorf("warehouse.location %q: %w", loc, err)
		}
		uri := "file://" + path
		// Engines disagree on whether a file URI is percent-decoded, so a folder is only safe when both give the same name.
		if u, err := url.Parse(uri); err != nil || u.String() != uri || u.Path != path {
			return "", fmt.Errorf("warehouse.location %q: the folder's path has spaces or other characters that query engines "+
				"read differently in file URIs; use a path of letters, digits and -._=/", loc)
		}
		return uri, nil
	}
	return "", fmt.Errorf("warehouse.location %q: only a local folder (path or file://) or s3://bucket/prefix is supported", loc)
}

// Open returns the store of a warehouse. It makes no request: an unreachable store shows with the first use.
func Open(cfg configs.Warehouse) (Store, error) {
	root, err := Root(cfg)
	if err != nil {
		return nil, err
	}
	if scheme(root) == "s3" {
		return NewS3(cfg.S3)
	}
	return NewLocal(), nil
}

// scheme returns what stands before "://" (or "file:"), or "".
func scheme(uri string) string {
	if s, _, ok := strings.Cut(uri, "://"); ok {
		return s
	}
	if strings.HasPrefix(uri, "file:") {
		return "file"
	}
	return ""
}

// LocalPath returns the path that a file URI names, literally: file:///p, file:/p or an absolute path.
func LocalPath(uri string) (string, error) {
	p := uri
	if rest, ok := strings.CutPrefix(uri, "file:"); ok {
		p = rest
		if strings.HasPrefix(rest, "//") {
			p = rest[2:]
		}
	}
	if scheme(p) != "" || !filepath.IsAbs(p) {
		return "", fmt.Errorf("%q is not the URI of a local file (file:///absolute/path)", uri)
	}
	return p, nil
}

func splitS3(uri string) (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	if ok {
		bucket, key, ok = strings.Cut(rest, "/")
	}
	if !ok || bucket == "" || key == "" {
		return "", "", fmt.Errorf("%q is not the URI of an S3 object (s3://bucket/key)", uri)
	}
	return bucket, key, nil
}
