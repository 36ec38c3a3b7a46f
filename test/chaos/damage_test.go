//go:build stack

package chaos

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// damage is what someone did to a lake that was right, and what lakeloader verify must say about it.
type damage struct {
	kind string
	// problem is the kind of problem that must be found with just the offsets concerned, and also one without offsets;
	// "": nothing must be found.
	problem, also string
	// says is why verify cannot even begin; "": it can.
	says string
	// stops is what a loader says that must not go on; "": it may.
	stops string
}

// lostObject is the damage that is done in S3; all others are done by PyIceberg (damage.py).
const lostObject = "lost object"

var damages = []damage{
	{kind: "twice", problem: "duplicated"},
	{kind: "dropped", problem: "lost"},
	{kind: "moved", problem: "lost"},
	{kind: lostObject, problem: "lost", also: "unreadable"},
	{kind: "wiped", says: "has no offsets of pipeline", stops: "but no offsets of pipeline"},
	{kind: "rollback", problem: "lost", stops: "was rolled back"},
	{kind: "compacted"},
}

// damaged does the damage, compares verify's verdict with it, and returns what undoes it in a PostgreSQL catalog.
func (r *round) damaged(t *testing.T, d damage, truth *stacktest.Truth) (undo func()) {
	t.Helper()
	var want map[int32][]int64
	if d.kind == lostObject {
		want, undo = r.loseObject(t, truth)
	} else {
		want, undo = r.pyDamage(t, d.kind)
	}
	stdout, stderr, code := stacktest.ChaosLakeloader(t, "verify", "-c", r.direct(t), "-o", "json")
	if d.says != "" {
		if code != 1 || !strings.Contains(stderr, d.says) {
			t.Errorf("%s: verify ends with %d and does not say %q:\n%s", d.kind, code, d.says, stderr)
		}
		return undo
	}
	var reports []struct {
		Problems []problem
	}
	if err := json.Unmarshal([]byte(stdout), &reports); err != nil || len(reports) != 1 || (code == 0) != (d.problem == "") {
		t.Errorf("%s: verify ends with %d: %v\n%s%s", d.kind, code, err, stdout, stderr)
		return undo
	}
	if d.problem != "" && len(want) == 0 {
		t.Errorf("%s: no offsets were concerned: the test is of no use", d.kind)
	}
	got, also := map[int32][]int64{}, 0
	for _, p := range reports[0].Problems {
		switch {
		case d.also != "" && p.Kind == d.also && len(p.Ranges) == 0:
			also++
		case p.Kind == d.problem && p.Topic == r.topic:
			got[p.Partition] = append(got[p.Partition], p.offsets()...)
		default:
			t.Errorf("%s: verify finds what is not there: %+v", d.kind, p)
		}
	}
	if !maps.EqualFunc(got, want, slices.Equal) || also != 0 != (d.also != "") {
		t.Errorf("%s: verify finds %s %v, and %d times %q; what was damaged is %v", d.kind, d.problem, got, also, d.also, want)
	}
	return undo
}

type problem struct {
	Kind, Table, Topic, Message string
	Partition                   int32
	Ranges                      []struct{ First, Next int64 }
}

func (p problem) offsets() (out []int64) {
	for _, r := range p.Ranges {
		for o := r.First; o < r.Next; o++ {
			out = append(out, o)
		}
	}
	return out
}

// pyDamage has PyIceberg damage the table, and returns the offsets concerned.
func (r *round) pyDamage(t *testing.T, kind string) (concerned map[int32][]int64, undo func()) {
	t.Helper()
	out := stacktest.Damage(t, filepath.Join(stacktest.Root(t), "test", "chaos", "damage.py"), r.lake.named("clicks"), kind, r.rnd.IntN(1000))
	var report struct {
		Where      string
		Partitions map[int32][]int64
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%s: %v\n%s", kind, err, out)
	}
	return report.Partitions, func() {
		db, err := sql.Open("pgx", r.lake.table.URI)
		if err == nil {
			_, err = db.ExecContext(t.Context(), "UPDATE iceberg_tables SET metadata_location = $1 WHERE table_name = 'clicks'", report.Where)
			err = errors.Join(err, db.Close())
		}
		if err != nil {
			t.Fatalf("undoing %s: %v", kind, err)
		}
	}
}

// loseObject removes the object of a committed round. What it alone knew are the offsets that are neither rows nor dead
// letters.
func (r *round) loseObject(t *testing.T, truth *stacktest.Truth) (concerned map[int32][]int64, undo func()) {
	t.Helper()
	client := stacktest.S3Client(t, stacktest.S3(t))
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(r.lake.at, "s3://"), "/")
	prefix += "/_lakeloader/clicks/"
	var done []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			if strings.Contains(*o.Key, "/committed/") {
				done = append(done, *o.Key)
			}
		}
	}
	get := func(key string) []byte {
		o, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			t.Fatalf("reading %s: %v", key, err)
		}
		defer o.Body.Close()
		data, err := io.ReadAll(o.Body)
		if err != nil {
			t.Fatalf("reading %s: %v", key, err)
		}
		return data
	}
	chosen := pick(r.rnd, done...)
	dir, _, _ := strings.Cut(chosen, "committed/")
	key := dir + "rounds/" + string(get(chosen)) + ".json"
	object := get(key)
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
		t.Fatal(err)
	}
	return r.knownToNoneBut(t, object, truth), func() {
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(object)}); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *round) knownToNoneBut(t *testing.T, object []byte, truth *stacktest.Truth) map[int32][]int64 {
	t.Helper()
	var round struct {
		Moves []struct {
			Partition struct{ Partition int32 }
			From, To  struct{ Next int64 }
		}
	}
	if err := json.Unmarshal(object, &round); err != nil {
		t.Fatalf("a round's object: %v\n%s", err, object)
	}
	concerned := map[int32][]int64{}
	for _, m := range round.Moves {
		for o := m.From.Next; o < m.To.Next; o++ {
			at := stacktest.Coordinate{Place: stacktest.Place{Topic: r.topic, Partition: m.Partition.Partition}, Offset: o}
			if truth.Rows[at] == nil && truth.Dead[at] == nil {
				concerned[m.Partition.Partition] = append(concerned[m.Partition.Partition], o)
			}
		}
	}
	return concerned
}

// TestDamagedLake does all damages to one lake in S3 and PostgreSQL, one after the other, and after each a loader must
// stop where it must not go on.
func TestDamagedLake(t *testing.T) {
	t.Parallel()
	r, truth := quiet(t, "postgres")
	for _, d := range damages {
		undo := r.damaged(t, d, truth)
		if d.stops != "" {
			r.loaders[0].start()
			p := r.loaders[0].process
			if code := p.Wait(); code != 5 || !strings.Contains(p.Log(), d.stops) {
				t.Errorf("%s: a loader ends with %d and not with 5, or does not say %q:\n%s", d.kind, code, d.stops, p.Log())
			}
		}
		undo()
	}
	r.verified(truth, verdict{})
}

// quiet is a lake that was filled without any fault.
func quiet(t *testing.T, kind string) (*round, *stacktest.Truth) {
	t.Helper()
	r := begin(t, 1, options{lakes: []string{kind}, loaders: 1, keep: t.TempDir()})
	r.working(time.Time{})
	r.working(time.Now())
	r.working(time.Now())
	truth := r.writers.end(t)
	r.loaded(truth.Reached())
	for _, l := range r.loaders {
		if code := l.process.Stop(); code != 0 {
			t.Errorf("the loader ends with %d when it is told to stop", code)
		}
	}
	r.verified(truth, verdict{})
	return r, truth
}
