//go:build stack

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// Multipart uploads whose program died end with the orphans, in a real S3 service; one that is young, and one that is not ours, do not.
func TestUnfinishedUploads(t *testing.T) {
	t.Parallel()
	bucket := stacktest.NewBucket(t)
	access, secret := stacktest.S3Keys(t)
	file := write(t, "lakeloader.yaml", fmt.Sprintf(`
kafka: {brokers: ["127.0.0.1:1"]}
warehouse: {location: "s3://%s/lake", s3: {endpoint: %q, access_key: %q, secret_key: %q}}
catalog: {uri: %q}
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long required}]}}
    table: {name: t, partition_by: []}
`, bucket, stacktest.S3(t), access, secret, filepath.Join(t.TempDir(), "catalog.db")))
	u := later(t, file, 0)
	info, err := u.lake.catalog.Ensure(t.Context(), table.Def{Ident: table.Ident{Namespace: "lake", Name: "t"},
		Row: batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long), Required: true})})
	if err != nil {
		t.Fatal(err)
	}
	foreign := "s3://" + bucket + "/elsewhere/x"
	for _, uri := range []string{info.Location + "/data/x=1/a.parquet", info.Location + "/data/b.parquet", u.lake.root + "/_lakeloader/p/x.json", foreign} {
		up, err := u.lake.objects.Create(t.Context(), uri)
		if err == nil {
			_, err = up.Write(make([]byte, 9<<20)) // more than a part
		}
		if err != nil {
			t.Fatal(err)
		}
		defer up.Abort()
	}
	open := func() (keys []string) {
		t.Helper()
		out, err := stacktest.S3Client(t, stacktest.S3(t)).ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range out.Uploads {
			keys = append(keys, *x.Key)
		}
		return keys
	}
	if keys := open(); len(keys) != 4 {
		t.Fatalf("open: %q", keys)
	}
	young := lakeloader(t, "job", "run", "orphans", "-c", file).ends(exitOK, "orphans all-tables: 0 orphans of ")
	if strings.Contains(young.stdout, "upload") || len(open()) != 4 {
		t.Errorf("%s, open: %q", young.stdout, open())
	}
	old := later(t, file, 100*time.Hour)
	j, err := old.find("orphans")
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := old.tasks(t.Context(), j, "")
	if err != nil || len(tasks) != 1 {
		t.Fatalf("%v, %v", tasks, err)
	}
	plan, err := tasks[0].Plan(t.Context())
	if err != nil || plan.Numbers["uploads"] != 3 || !strings.Contains(plan.Summary, ", 3 unfinished uploads") || !strings.Contains(strings.Join(plan.Details, "\n"), "/data/x=1/a.parquet: an upload that was begun at ") || len(open()) != 4 {
		t.Errorf("%+v, %v, open: %q", plan, err, open())
	}
	if c := plan.Cost; c == nil || c.List < 3 || c.Put != 3 || c.Delete < 3 || c.USD != 0 || !strings.Contains(plan.Details[0], " requests") {
		t.Errorf("%+v, %+v", plan, c) // the prices of a service of one's own are not known
	}
	done, err := tasks[0].Run(t.Context())
	if keys := open(); err != nil || done.Numbers["uploads"] != 3 || len(keys) != 1 || "s3://"+bucket+"/"+keys[0] != foreign {
		t.Errorf("%+v, %v, open: %q", done, err, keys)
	}
}
