//go:build stack

package stacktest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ClickSchema is the Avro schema of clicks.
const ClickSchema = `{"type":"record","name":"Click","namespace":"e2e","fields":[{"name":"uuid","type":"string"},
{"name":"campaignId","type":"int"},{"name":"pubId","type":"int"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},
{"name":"ip","type":"string"},{"name":"city","type":"string"},{"name":"country","type":"string"},{"name":"browser","type":"string"},
{"name":"platform","type":"string"},{"name":"platformVersion","type":"string"}]}`

// ClickSteps go with spoilt clicks, in a pipeline's configuration: some are filtered, and some break a rule.
const ClickSteps = `
  cleanse:
  - filter: 'browser != "bot"'
  - validate: {columns: [pubId], min: 1}
`

// Clicks makes clicks for one topic, each different from all others.
type Clicks struct {
	Topic      string
	Partitions int
	Schema     uint32 // its id in the registry
	Made       int
	Began      time.Time
	// Spoilt: some are bots (to be filtered), break a rule, or cannot be decoded.
	Spoilt bool
}

// NewClicks registers the schema for the topic.
func NewClicks(t testing.TB, topic string, partitions int) *Clicks {
	t.Helper()
	id := Register(t, topic+"-value", "AVRO", ClickSchema)
	return &Clicks{Topic: topic, Partitions: partitions, Schema: id, Began: time.Now().Truncate(time.Millisecond)}
}

// Next makes a click.
func (c *Clicks) Next() Message {
	i := c.Made
	c.Made++
	at := c.Began.Add(time.Duration(i)*time.Millisecond + 123*time.Microsecond)
	pub, browser := 1+i%5, []string{"Chrome", "Firefox", "Safari", "Edge"}[i%4]
	m := Message{Record: &kgo.Record{Topic: c.Topic, Partition: int32(i % c.Partitions), Timestamp: at.Truncate(time.Millisecond)}}
	if c.Spoilt {
		switch i % 41 {
		case 7:
			pub, m.Dead = 0, "cleanse"
		case 19:
			browser = "bot"
		}
	}
	texts := map[string]string{"ip": fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), "city": []string{"Brussels", "Zürich", "São Paulo", ""}[i%4],
		"country": []string{"BE", "CH", "BR"}[i%3], "browser": browser, "platform": "Linux", "platformVersion": fmt.Sprint(i % 17)}
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761&0xffffffff, i)
	r := Row{"uuid": id, "campaignId": i%20 - 10, "pubId": pub, "ts": UTC(at)}
	m.Value = binary.BigEndian.AppendUint32([]byte{0}, c.Schema)
	m.Value = AvroText(m.Value, id)
	m.Value = binary.AppendVarint(m.Value, int64(i%20-10))
	m.Value = binary.AppendVarint(m.Value, int64(pub))
	m.Value = binary.AppendVarint(m.Value, at.UnixMicro())
	for _, name := range []string{"ip", "city", "country", "browser", "platform", "platformVersion"} {
		m.Value = AvroText(m.Value, texts[name])
		r[name] = texts[name]
	}
	switch {
	case c.Spoilt && i%41 == 31:
		m.Value, m.Dead = m.Value[:len(m.Value)-3], "decode"
	case m.Dead == "" && browser != "bot":
		m.Row = r
	}
	return m
}

// Some makes n clicks.
func (c *Clicks) Some(n int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		ms[i] = c.Next()
	}
	return ms
}

// AvroText appends a string as Avro has it.
func AvroText(b []byte, s string) []byte {
	return append(binary.AppendVarint(b, int64(len(s))), s...)
}

// Producer is a client that sends records to the partitions that they name, to the shared broker unless opts say otherwise.
func Producer(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(Kafka(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Send produces messages and waits for the acknowledgements.
func Send(ctx context.Context, c *kgo.Client, ms []Message) error {
	rs := make([]*kgo.Record, len(ms))
	for i, m := range ms {
		rs[i] = m.Record
	}
	return c.ProduceSync(ctx, rs...).FirstErr()
}

// Reference is a schema that another one imports.
type Reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// Register puts a schema into the shared registry and returns its id.
func Register(t testing.TB, subject, kind, schema string, refs ...Reference) uint32 {
	t.Helper()
	body, err := json.Marshal(map[string]any{"schema": schema, "schemaType": kind, "references": refs})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, Registry(t)+"/subjects/"+subject+"/versions", bytes.NewReader(body))
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
