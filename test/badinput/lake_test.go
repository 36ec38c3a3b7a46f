//go:build stack

package badinput

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

func TestS3AtStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	bucket := stacktest.NewBucket(t)
	s.inS3(stacktest.S3(t), bucket)
	good := s.warehouse

	access, _ := stacktest.S3Keys(t)
	s.warehouse = fmt.Sprintf("{location: s3://%s/lake, s3: {endpoint: %q, access_key: %s, secret_key: wrong}}", bucket, stacktest.S3(t), access)
	s.refused(exitUnreachable, "warehouse", "s3://"+bucket, "warehouse.s3", "secret_key")
	s.inS3(stacktest.S3(t), "no-such-"+bucket)
	s.refused(exitUnreachable, "warehouse", "s3://no-such-"+bucket, "bucket", "does not exist")
	addr := closedPort(t)
	s.inS3("http://"+addr, bucket)
	s.refused(exitUnreachable, "warehouse", addr, "connection refused", "warehouse.s3.endpoint")

	s.warehouse = good
	s.start().loaded(10, 0)
}

func TestWarehouseFolder(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	good := s.warehouse
	file := filepath.Join(s.dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.catalog = "{type: sqlite, uri: ./elsewhere.db}"
	s.warehouse = "{location: ./file}"
	s.refused(exitUnreachable, "warehouse", file, "is a file, no folder")
	s.warehouse = "{location: /proc/lake}"
	s.refused(exitUnreachable, "warehouse", "/proc/lake")

	s.warehouse, s.catalog = good, "{type: sqlite}"
	s.start().loaded(10, 0)
}

func TestCatalogFile(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	good := s.catalog
	if err := os.WriteFile(filepath.Join(s.dir, "text.db"), []byte("this is no database, but it is long enough to have a header of a hundred bytes, so that it is not taken for a new one"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.catalog = "{type: sqlite, uri: ./text.db}"
	s.refused(exitUnreachable, "catalog", filepath.Join(s.dir, "text.db"), "no SQLite database")
	s.catalog = "{type: sqlite, uri: /proc/catalog.db}"
	s.refused(exitUnreachable, "catalog", "/proc/catalog.db", "cannot be written")

	s.catalog = good
	s.start().loaded(10, 0)
}

func TestPostgresAtStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	good := stacktest.NewDatabase(t)
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	use := func(u url.URL) { s.catalog = fmt.Sprintf("{type: postgres, uri: %q}", u.String()) }

	wrong := *u
	wrong.User = url.UserPassword(u.User.Username(), "not-the-password")
	use(wrong)
	s.refused(exitUnreachable, "catalog postgres "+u.Host, "user or password is wrong")
	wrong = *u
	wrong.Path += "_none"
	use(wrong)
	s.refused(exitUnreachable, "catalog postgres "+u.Host, "database does not exist")
	wrong = *u
	wrong.Host = closedPort(t)
	use(wrong)
	s.refused(exitUnreachable, "catalog postgres "+wrong.Host, "unreachable", "connection refused")

	use(*u)
	s.reader.Catalog, s.reader.URI = "postgres", good
	s.start().loaded(10, 0)
}

func TestRESTCatalogAtStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.produce(0, 10)
	s.inS3(stacktest.S3(t), stacktest.NewBucket(t))
	addr := closedPort(t)
	s.catalog = "{type: rest, uri: http://" + addr + "}"
	s.refused(exitUnreachable, "catalog rest http://"+addr, "connection refused")
	p := stacktest.NewHTTPProxy(t, stacktest.REST(t))
	s.catalog = "{type: rest, uri: " + p.URL + ", token: wrong}"
	p.Answer(stacktest.Broken(401))
	s.refused(exitUnreachable, "catalog rest "+p.URL, "credentials", "catalog.token")
	p.Answer(nil)

	namespace := strings.ReplaceAll(stacktest.Name("ns"), "-", "_")
	s.catalog = "{type: rest, uri: " + p.URL + ", namespace: " + namespace + "}"
	s.reader.Catalog, s.reader.URI, s.reader.Table = "rest", stacktest.REST(t), namespace+".events"
	s.start().loaded(10, 0)
}
