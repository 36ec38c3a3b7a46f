//go:build stack

package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

const customerSchema = `{"type":"record","name":"customer","fields":[{"name":"id","type":"long"},{"name":"code","type":"string"},{"name":"name","type":"string"}]}`

// crm says who the customers are, in a topic, and remembers what it said, by partition and offset. A code tells whose it is, so it is
// known without the lookup what a code meant at a version.
type crm struct {
	topic  string
	schema uint32
	client *kgo.Client
	log    [2][]customerSaid
}

type customerSaid struct {
	id         int
	code, name string // without a code the customer is deleted
}

func codeOf(id, k int) string { return fmt.Sprintf("c%d-%d", id, k) }

// says writes of some customers that they are there, have another code, or are gone.
func (c *crm) says(t *testing.T, said ...customerSaid) {
	t.Helper()
	rs := make([]*kgo.Record, len(said))
	for i, s := range said {
		rs[i] = &kgo.Record{Topic: c.topic, Partition: int32(s.id % 2), Key: fmt.Append(nil, s.id)}
		if s.code != "" {
			v := binary.AppendVarint(binary.BigEndian.AppendUint32([]byte{0}, c.schema), int64(s.id))
			rs[i].Value = stacktest.AvroText(stacktest.AvroText(v, s.code), s.name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.client.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for i, s := range said {
		if p := rs[i].Partition; rs[i].Offset != int64(len(c.log[p])) {
			t.Fatalf("partition %d: offset %d instead of %d", p, rs[i].Offset, len(c.log[p]))
		}
		c.log[rs[i].Partition] = append(c.log[rs[i].Partition], s)
	}
}

func (c *crm) some(t *testing.T, n, customers int) {
	t.Helper()
	said := make([]customerSaid, n)
	for i := range said {
		s := customerSaid{id: rand.IntN(customers)}
		if rand.IntN(4) > 0 {
			s.code, s.name = codeOf(s.id, rand.IntN(3)), fmt.Sprintf("name %d", rand.Int32())
		}
		said[i] = s
	}
	c.says(t, said...)
}

// at replays what was said up to a version of the lookup.
func (c *crm) at(t *testing.T, version string) (names map[string]string, next [2]int64) {
	t.Helper()
	if n, err := fmt.Sscanf(version, "0:%d,1:%d", &next[0], &next[1]); n != 2 || err != nil {
		t.Fatalf("version %q: %v", version, err)
	}
	last := map[int]customerSaid{}
	for p, log := range c.log {
		for _, s := range log[:next[p]] {
			last[s.id] = s
		}
	}
	names = map[string]string{}
	for _, s := range last {
		names[s.code] = s.name
	}
	return names, next
}

// vats is a file in S3 that is replaced now and then.
type vats struct {
	client *s3.Client
	bucket string
	by     map[string]map[string]string // ETag, country
}

var lands = []string{"BE", "CH", "BR", "DE"}

func (v *vats) replace(t *testing.T) {
	t.Helper()
	text, rates := "code,vat\n", map[string]string{}
	for _, land := range lands[:3] {
		rates[land] = fmt.Sprint(rand.IntN(100_000))
		text += land + "," + rates[land] + "\n"
	}
	key := "countries.csv"
	out, err := v.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &v.bucket, Key: &key, Body: strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	v.by[strings.Trim(*out.ETag, `"`)] = rates
}

// spilled counts what lookups have on the disk.
func spilled(t *testing.T, temp string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(temp, "lakeloader-lookup-*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// TestEnrichmentThroughKills: rows are joined with a topic by another column than its key, a file in S3 and a table of the REST catalog, all
// of which change meanwhile, while the daemon is killed. Each row is there once, has what its columns of versions say, and none saw
// less than there was when its process began.
func TestEnrichmentThroughKills(t *testing.T) {
	t.Parallel()
	const customers, rounds, steps, each = 30_000, 4, 8, 40
	l := restLake(t)
	ratings, products := stacktest.Topic(t, 2), stacktest.Topic(t, 1)
	c := &crm{topic: stacktest.Name("customers"), client: stacktest.Producer(t)}
	stacktest.CreateTopic(t, stacktest.Kafka(t), c.topic, 2, map[string]string{"cleanup.policy": "compact"})
	c.schema = stacktest.Register(t, c.topic+"-value", "AVRO", customerSchema)
	v := &vats{client: stacktest.S3Client(t, stacktest.S3(t)), bucket: stacktest.NewBucket(t), by: map[string]map[string]string{}}
	temp := t.TempDir()
	config := configure(t, l, fmt.Sprintf(`
- name: products
  source: {topics: [%s]}
  decode: {value: {format: json, columns: [{name: sku, type: long}, {name: name, type: string}]}}
  table: {name: products}
  commit: {interval: 500ms}
- name: ratings
  source: {topics: [%s]}
  decode: {value: {format: json, columns: [{name: n, type: long required}, {name: round, type: long}, {name: code, type: string}, {name: country, type: string}, {name: sku, type: long}]}}
  enrich:
  - {lookup: customers, on: {code: code}, prefix: customer_, version: customers_seen, matched: known}
  - {lookup: countries, on: {country: code}, version: countries_seen}
  - {lookup: products, on: {sku: sku}, prefix: product_, version: products_seen}
  table: {name: ratings}
  commit: {interval: 500ms}
lookups:
- name: customers
  key: [code]
  columns: [name]
  topic: {name: %s, decode: {value: {format: avro}}}
  memory: 1MiB
- name: countries
  key: [code]
  file: {path: "s3://%s/countries.csv", reload: 100ms, columns: [{name: code, type: string}, {name: vat, type: long}]}
- name: products
  key: [sku]
  columns: [name]
  table: {name: products, refresh: 200ms}
`, products, ratings, c.topic, v.bucket))
	all := make([]customerSaid, customers)
	for id := range all {
		all[id] = customerSaid{id, codeOf(id, 0), fmt.Sprint("first ", id)}
	}
	c.says(t, all...)
	v.replace(t)
	send := func(topic string, partition int, text string) {
		t.Helper()
		if err := c.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: int32(partition), Value: []byte(text)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	var began [rounds][2]int64
	for round := range rounds {
		c.some(t, 500, customers)
		for sku := range 11 {
			send(products, 0, fmt.Sprintf(`{"sku":%d,"name":"product %d of %d"}`, 10*round+sku, 10*round+sku, round))
		}
		began[round] = [2]int64{int64(len(c.log[0])), int64(len(c.log[1]))}
		d := stacktest.StartDaemon(t, config, "TMPDIR="+temp)
		for range steps {
			for range each {
				id := rand.IntN(customers)
				send(ratings, n%2, fmt.Sprintf(`{"n":%d,"round":%d,"code":%q,"country":%q,"sku":%d}`, n, round, codeOf(id, rand.IntN(2)), lands[rand.IntN(4)], rand.IntN(45)))
				n++
			}
			c.some(t, 50, customers)
			v.replace(t)
		}
		if round < rounds-1 {
			until(t, "the daemon has committed rows of the round", func() (bool, any) {
				at, err := committed(d, "ratings")
				sum := at[stacktest.Place{Topic: ratings}] + at[stacktest.Place{Topic: ratings, Partition: 1}]
				return sum > int64(n-steps*each), fmt.Sprint(at, err)
			})
			d.Kill()
			if spilled(t, temp) == 0 {
				t.Error("the customers take no disk, so the test shows less than it should")
			}
			continue
		}
		loaded(t, "ratings", map[stacktest.Place]int64{{Topic: ratings}: int64(n+1) / 2, {Topic: ratings, Partition: 1}: int64(n) / 2}, d)
		stopped(t, d)
	}
	if left := spilled(t, temp); left > 0 {
		entries, err := os.ReadDir(temp)
		t.Errorf("killed processes have left %d files and folders: %v %v", left, entries, err)
	}
	verified(t, config)
	enriched(t, l, c, v, n, began[:])
}

// enriched compares every row with what its versions say.
func enriched(t *testing.T, l lake, c *crm, v *vats, n int, began [][2]int64) {
	t.Helper()
	rows := stacktest.PyIceberg(t, l.named("ratings"), stacktest.Read{Rows: true}).Data
	seen := map[int64]int{}
	customers, nexts, skus := map[string]map[string]string{}, map[string][2]int64{}, map[string]map[int64]string{}
	text := func(r map[string]any, column string) string {
		s, _ := r[column].(string)
		return s
	}
	number := func(r map[string]any, column string) int64 {
		x, ok := r[column].(json.Number)
		i, err := x.Int64()
		if !ok || err != nil {
			t.Fatalf("%s of %v: %v", column, r, err)
		}
		return i
	}
	matched := 0
	for _, r := range rows {
		seen[number(r, "n")]++
		version := text(r, "customers_seen")
		if customers[version] == nil {
			customers[version], nexts[version] = c.at(t, version)
		}
		want, known := customers[version][text(r, "code")]
		if got := text(r, "customer_name"); got != want || r["known"] != known {
			t.Errorf("row %v has the customer %q, want %q", r, got, want)
		}
		if known {
			matched++
		}
		if start, next := began[number(r, "round")], nexts[version]; next[0] < start[0] || next[1] < start[1] {
			t.Errorf("row %v saw customers at %s, but there were %v when its process began", r, version, start)
		}
		rates, ok := v.by[strings.Trim(text(r, "countries_seen"), `"`)]
		vat, _ := r["vat"].(json.Number)
		if !ok || vat.String() != rates[text(r, "country")] {
			t.Errorf("row %v has the rate %q, want %q", r, vat, rates[text(r, "country")])
		}
		snapshot := text(r, "products_seen")
		if skus[snapshot] == nil {
			skus[snapshot] = productsAt(t, l, snapshot)
		}
		if got, want := text(r, "product_name"), skus[snapshot][number(r, "sku")]; got != want {
			t.Errorf("row %v has the product %q, want %q", r, got, want)
		}
	}
	for i := range n {
		if seen[int64(i)] != 1 {
			t.Errorf("row %d is there %d times", i, seen[int64(i)])
		}
	}
	t.Logf("%d rows, %d with a customer, saw %d versions of the topic, %d of the file are known, %d of the table", len(rows), matched, len(customers), len(v.by), len(skus))
	if len(rows) != n || matched == 0 || matched == n || len(customers) < 3 || len(skus) < 2 {
		t.Errorf("%d rows of %d", len(rows), n)
	}
}

// productsAt reads the names of a snapshot of the table: of several rows the one that was loaded last counts.
func productsAt(t *testing.T, l lake, snapshot string) map[int64]string {
	t.Helper()
	names, last := map[int64]string{}, map[int64]int64{}
	var id int64
	if _, err := fmt.Sscan(snapshot, &id); err != nil {
		t.Fatal(err)
	}
	if id == 0 {
		return names
	}
	for _, r := range stacktest.PyIceberg(t, l.named("products"), stacktest.Read{Snapshot: id, Rows: true}).Data {
		sku, err := r["sku"].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		at, err := r["_kafka_offset"].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		if _, has := names[sku]; !has || at > last[sku] {
			names[sku], last[sku] = r["name"].(string), at
		}
	}
	return names
}
