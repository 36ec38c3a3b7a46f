//go:build stack && engines

package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// airline is the system ratings, with customers in a MariaDB, and what its reviews must come to.
type airline struct {
	*system
	rnd       *rand.Rand
	schema    avro.Schema
	id        uint32
	customers map[int]map[string]any
	n         int
	alerts    map[string]string // those that must be sent: the webhook's text, by the review's message
}

const (
	steady   = 30 // customers that stay as they are
	changing = 10 // customers that the database changes while reviews come
)

// customer is a row of the database.
func customer(id int, club string, version int) map[string]any {
	return map[string]any{"id": id, "first_name": fmt.Sprintf("First%d", id), "last_name": "Last", "email": fmt.Sprintf("c%d.v%d@example.org", id, version),
		"gender": "Female", "club_status": club, "comments": "since 2026", "create_ts": "2026-01-02T03:04:05Z", "update_ts": fmt.Sprintf("2026-01-02T03:%02d:05Z", version)}
}

// put changes a customer in the database, or makes one.
func (a *airline) put(op byte, id int, club string, version int) {
	a.t.Helper()
	a.customers[id] = customer(id, club, version)
	a.apply(op, a.customers[id])
}

// review is a rating as the topic has it. If its author is in the platinum club now, and it is a bad one, an alert is due.
func (a *airline) review(user, stars int, channel string) *kgo.Record {
	a.t.Helper()
	a.n++
	text := fmt.Sprintf("review %d", a.n)
	value, err := avro.Marshal(a.schema, map[string]any{"rating_id": int64(a.n), "user_id": user, "stars": stars, "route_id": 7,
		"rating_time": time.Now().UnixMilli(), "channel": channel, "message": text})
	if err != nil {
		a.t.Fatal(err)
	}
	if c := a.customers[user]; c != nil && c["club_status"] == "platinum" && stars < 3 && !strings.HasSuffix(channel, "-test") {
		a.alerts[text] = fmt.Sprintf("%s %s (%s) of the platinum club left %d stars: \"%s\" Someone should contact them now.", c["first_name"], c["last_name"], c["email"], stars, text)
	}
	return &kgo.Record{Topic: "ratings", Key: strconv.AppendInt(nil, int64(a.n), 10), Value: append(binary.BigEndian.AppendUint32([]byte{0}, a.id), value...)}
}

// some are reviews by those whom the database leaves alone, and by nobody that it knows.
func (a *airline) some(n int) {
	a.t.Helper()
	var rs []*kgo.Record
	for range n {
		user := a.rnd.IntN(steady+2) - 1
		if user == 0 {
			user = 999
		}
		rs = append(rs, a.review(user, 1+a.rnd.IntN(5), []string{"web", "iOS", "ios", "iOS-test", "android"}[a.rnd.IntN(5)]))
	}
	a.produce(rs...)
}

// seen waits until the loader has read every change of the customers.
func (a *airline) seen(d *stacktest.Daemon) {
	a.t.Helper()
	within(a.t, systemPatience, "the loader knows the changes of the customers", func() (bool, any) {
		req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "http://"+d.HTTP()+"/api/status", nil)
		if err != nil {
			a.t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		var st struct{ Lookups []struct{ Version string } }
		if err := json.NewDecoder(res.Body).Decode(&st); err != nil || len(st.Lookups) != 1 {
			return false, fmt.Sprint(st, err)
		}
		read := int64(0)
		for _, p := range strings.Split(st.Lookups[0].Version, ",") {
			_, at, _ := strings.Cut(p, ":")
			n, _ := strconv.ParseInt(at, 10, 64) // before the first version there is none
			read += n
		}
		return read >= a.database.Told(), fmt.Sprintf("%s, of %d", st.Lookups[0].Version, a.database.Told())
	})
}

// arrived waits for the alert of the last review.
func (a *airline) arrived(r *demo.Receiver) {
	a.t.Helper()
	want := a.alerts[fmt.Sprintf("review %d", a.n)]
	if want == "" {
		a.t.Fatal("no alert is due")
	}
	within(a.t, systemPatience, "the webhook has "+want, func() (bool, any) {
		got := r.Received().Messages
		return slices.Contains(got, want), got[max(0, len(got)-1):]
	})
}

// The customers are in a MariaDB, and Debezium tells of them in Avro. Every unhappy review of someone who is in the platinum club by then,
// also of one who got there a second before, reaches the topic and the webhook once, while the loader is killed again and again.
func TestEnginesRatings(t *testing.T) {
	t.Parallel()
	db := stacktest.StartBinlogMariaDB(t)
	a := &airline{system: startSystem(t, "ratings", db.URL(), "ratings", "asgard.demo.CUSTOMERS", "ratings-with-customer-data", "UNHAPPY_PLATINUM_CUSTOMERS"),
		rnd: rand.New(rand.NewPCG(3, 3)), schema: avro.MustParse(demo.RatingsSchema), id: stacktest.Register(t, "ratings-value", "AVRO", demo.RatingsSchema),
		customers: map[int]map[string]any{}, alerts: map[string]string{}}
	for i := 1; i <= steady+changing; i++ {
		club := "silver"
		if i <= steady {
			club = []string{"bronze", "silver", "gold", "platinum"}[i%4]
		}
		a.put('r', i, club, 0)
	}
	connector := map[string]string{"database.server.id": "4242", "topic.prefix": "asgard", "database.include.list": "demo", "include.schema.changes": "false",
		"schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory", "schema.history.internal.file.filename": t.TempDir() + "/history"}
	avroConverters(t, connector)
	a.connect("io.debezium.connector.mariadb.MariaDbConnector", db.URL(), connector)
	a.told()
	receiver, err := demo.StartReceiver()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := receiver.Close(); err != nil {
			t.Error(err)
		}
	}()
	env := map[string]string{"LAKELOADER_WEBHOOK": receiver.WebhookURL(), "LAKELOADER_SEARCH": receiver.SearchURL()}
	config := a.configure(env)
	d := stacktest.StartDaemon(t, config)
	a.some(300)
	for i := range changing {
		id := steady + 1 + i
		began := time.Now()
		a.put('u', id, "platinum", 1)
		a.seen(d)
		known := since(began)
		a.produce(a.review(id, 1, "web"))
		a.arrived(receiver)
		t.Logf("customer %d is known to be platinum after %v; the alert of the review that follows has arrived after %v", id, known, since(began))
		a.some(100)
		switch i % 3 {
		case 0:
			d.Kill()
			d = stacktest.StartDaemon(t, config)
		case 1: // and leaves again
			a.put('u', id, "bronze", 2)
			a.seen(d)
			a.produce(a.review(id, 1, "web"))
		}
	}
	a.apply('d', a.customers[1])
	delete(a.customers, 1)
	a.seen(d)
	a.produce(a.review(1, 1, "web"))
	a.loaded(d, "ratings", "ratings")
	a.loaded(d, "customers", "asgard.demo.CUSTOMERS")
	stopped(t, d)

	// before the commit, which would come after a minute
	env["LAKELOADER_ALERTS"], env["LAKELOADER_COMMIT_INTERVAL"] = "immediate", "1m"
	d = stacktest.StartDaemon(t, a.configure(env))
	began := time.Now()
	a.put('u', steady+2, "platinum", 3)
	a.seen(d)
	known := time.Now()
	a.produce(a.review(steady+2, 2, "android"))
	a.arrived(receiver)
	t.Logf("the alert that does not wait for the commit came %v after the review, %v after the change of the customer", since(known), since(began))
	if took := time.Since(known); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	stopped(t, d)
	job(t, config, "current")
	verified(t, config)
	a.judge(receiver)
}

// judge compares all that has arrived with what had to.
func (a *airline) judge(receiver *demo.Receiver) {
	t := a.t
	t.Helper()
	got := receiver.Received()
	var want, unhappy []string
	for text, message := range a.alerts {
		want, unhappy = append(want, message), append(unhappy, text)
	}
	slices.Sort(want)
	slices.Sort(unhappy)
	slices.Sort(got.Messages)
	if !slices.Equal(got.Messages, want) {
		t.Errorf("the webhook got %d alerts, of %d; the first that differs: %s", len(got.Messages), len(want), firstLine(got.Messages, want))
	}
	if got.Indexed["alerts"] != len(want) {
		t.Errorf("the search index has %d alerts, of %d", got.Indexed["alerts"], len(want))
	}
	var in []string
	client := stacktest.Producer(t, kgo.SeedBrokers(a.kafka), kgo.ConsumeTopics("UNHAPPY_PLATINUM_CUSTOMERS"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	within(t, systemPatience, "the topic has the alerts", func() (bool, any) {
		client.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			var m struct {
				Status  string `json:"club_status"`
				Message string
			}
			if err := json.Unmarshal(r.Value, &m); err != nil || m.Status != "platinum" {
				t.Fatalf("%s: %v", r.Value, err)
			}
			in = append(in, m.Message)
		})
		return len(in) >= len(unhappy), len(in)
	})
	slices.Sort(in)
	if !slices.Equal(in, unhappy) {
		t.Errorf("the topic has %d alerts, of %d; the first that differs: %s", len(in), len(unhappy), firstLine(in, unhappy))
	}
	t.Logf("%d reviews, %d alerts once each; %d calls of the webhook were repeated with the key of an earlier one", a.n, len(want), got.Repeated)
	a.has("customers", `SELECT concat_ws('|', id, first_name, last_name, email, gender, club_status, comments, CAST(epoch(create_ts) AS BIGINT), CAST(epoch(update_ts) AS BIGINT)) FROM {source}`,
		a.lines(`SELECT CONCAT_WS('|', id, first_name, last_name, email, gender, club_status, comments, UNIX_TIMESTAMP(create_ts), UNIX_TIMESTAMP(update_ts)) FROM demo.CUSTOMERS`))
}
