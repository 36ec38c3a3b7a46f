//go:build stack

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// growth is what a table was like after some of its commits.
type growth struct {
	rows []string
}

// note looks at the table: what the catalog says of it, and what lies in its folders, with all that waits for its snapshots to
// expire, or to be an orphan.
func (g *growth) note(t *testing.T, d *day, after string) {
	t.Helper()
	at := d.named("clicks")
	ns, name, _ := strings.Cut(at.Table, ".")
	res, err := http.Get(fmt.Sprintf("%s/v1/namespaces/%s/tables/%s", at.URI, ns, name))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the catalog answers %s, %v", res.Status, err)
	}
	var answer struct {
		Metadata struct {
			Location  string `json:"location"`
			Current   int64  `json:"current-snapshot-id"`
			Sequence  int64  `json:"last-sequence-number"`
			Snapshots []struct {
				ID      int64             `json:"snapshot-id"`
				Summary map[string]string `json:"summary"`
			} `json:"snapshots"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	m := answer.Metadata
	files, rows := "", ""
	for _, s := range m.Snapshots {
		if s.ID == m.Current {
			files, rows = s.Summary["total-data-files"], s.Summary["total-records"]
		}
	}
	bucket, folder, _ := strings.Cut(strings.TrimPrefix(m.Location, "s3://"), "/")
	data, _ := stored(t, bucket, folder+"/data/")
	meta, bytes := stored(t, bucket, folder+"/metadata/")
	if g.rows == nil {
		g.rows = []string{"| | commits of all kinds | rows | data files | snapshots | bytes of metadata.json | objects, bytes below metadata/ | objects below data/ |", "|---|---|---|---|---|---|---|---|"}
	}
	g.rows = append(g.rows, fmt.Sprintf("| %s | %d | %s | %s | %d | %d | %d, %d | %d |", after, m.Sequence, rows, files, len(m.Snapshots), len(body), meta, bytes, data))
}

func (g growth) String() string { return strings.Join(g.rows, "\n") }

// stored counts the objects below a prefix and their bytes.
func stored(t *testing.T, bucket, prefix string) (n, bytes int64) {
	t.Helper()
	pages := s3.NewListObjectsV2Paginator(stacktest.S3Client(t, stacktest.S3(t)), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			n, bytes = n+1, bytes+*o.Size
		}
	}
	return n, bytes
}
