package demo

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Generator makes the records of one published system, the same ones for the same seed and start.
type Generator interface {
	// Topics that the records belong to.
	Topics() []Topic
	// Next makes the next record. It fails where the generator has made what its own schema does not allow.
	Next() (Record, error)
}

// Topic of a system.
type Topic struct {
	Name string
	// Table: the topic is a table, the latest record of a key counts, and a new reader needs all of them.
	Table bool
}

// Record is a record of one of the topics.
type Record struct {
	Topic string
	Key   []byte // nil: none
	Value []byte // nil: a tombstone
	// Change is what the record tells of the system's database; nil: nothing.
	Change *Change
}

// random makes UUIDs and choices from a seed.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 0x6c616b65))} }

func (r random) uuid() (u uuid.UUID) {
	binary.LittleEndian.PutUint64(u[:8], r.Uint64())
	binary.LittleEndian.PutUint64(u[8:], r.Uint64())
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}

func pick[T any](r random, list []T) T { return list[r.IntN(len(list))] }

// place: the country is a function of the city.
type place struct{ city, country string }

var places = []place{{"Berlin", "Germany"}, {"Hamburg", "Germany"}, {"Paris", "France"}, {"Lyon", "France"}, {"London", "United Kingdom"},
	{"Leeds", "United Kingdom"}, {"Madrid", "Spain"}, {"Rome", "Italy"}, {"New York", "United States"}, {"Chicago", "United States"},
	{"Tel Aviv", "Israel"}, {"Tokyo", "Japan"}, {"Sao Paulo", "Brazil"}, {"Mumbai", "India"}, {"Sydney", "Australia"}, {"Toronto", "Canada"}}

// The spellings differ in case and spacing, as in the published stream.
var (
	browsers  = []string{"Chrome", "chrome", "Firefox", " Firefox", "Safari", "SAFARI", "Edge", "Opera "}
	platforms = []struct {
		name     string
		versions []string
	}{{"Android", []string{"9", "10", "11"}}, {"android", []string{"12"}}, {"iOS", []string{"12.1", "13.4"}}, {"ios ", []string{"14"}},
		{"macOS", []string{"10.14", "10.15"}}, {"Mac OS", []string{"11"}}, {"Windows", []string{"7", "10"}}, {"Linux", []string{"4.19", "5.4"}}}
)

// Clicks is the ad-click stream: at every tick one click for each campaign and publisher.
type Clicks struct {
	r      random
	at     time.Time
	pair   int
	visits []string // ip addresses that come back
}

// Campaigns and publishers of a tick.
const (
	campaigns  = 10
	publishers = 5
	perTick    = campaigns * publishers
)

// NewClicks starts at a time; ticks are a millisecond apart.
func NewClicks(seed uint64, at time.Time) *Clicks {
	c := &Clicks{r: newRandom(seed), at: at}
	for i := range 5000 {
		if i%10 == 0 {
			c.visits = append(c.visits, fmt.Sprintf("2001:db8:%x:%x::%x", c.r.IntN(1<<16), c.r.IntN(1<<16), c.r.IntN(1<<16)))
		} else {
			c.visits = append(c.visits, fmt.Sprintf("%d.%d.%d.%d", 1+c.r.IntN(223), c.r.IntN(256), c.r.IntN(256), 1+c.r.IntN(254)))
		}
	}
	return c
}

// Topics implements Generator.
func (c *Clicks) Topics() []Topic { return []Topic{{Name: "clicks"}} }

// Next implements Generator: JSON, no key.
func (c *Clicks) Next() (Record, error) {
	campaign, publisher := c.pair/publishers+1, c.pair%publishers+1
	p, f := pick(c.r, places), pick(c.r, platforms)
	b := append(make([]byte, 0, 320), `{"uuid":"`...)
	u := c.r.uuid()
	var text [36]byte
	if t, err := u.MarshalText(); err == nil {
		copy(text[:], t)
	}
	b = append(b, text[:]...)
	b = append(b, `","campaignId":`...)
	b = strconv.AppendInt(b, int64(campaign), 10)
	b = append(b, `,"pubId":`...)
	b = strconv.AppendInt(b, int64(publisher), 10)
	b = append(b, `,"timestamp":"`...)
	b = c.at.AppendFormat(b, "2006-01-02T15:04:05.000")
	for _, s := range [...][2]string{{`","ip":"`, pick(c.r, c.visits)}, {`","city":"`, p.city}, {`","country":"`, p.country},
		{`","browser":"`, pick(c.r, browsers)}, {`","platform":"`, f.name}, {`","platformVersion":"`, pick(c.r, f.versions)}} {
		b = append(append(b, s[0]...), s[1]...)
	}
	if c.pair++; c.pair == perTick {
		c.pair, c.at = 0, c.at.Add(time.Millisecond)
	}
	return Record{Topic: "clicks", Value: append(b, `"}`...)}, nil
}

var skus = []string{"boots", "shirt", "knife", "saucepan", "table", "chair", "clock", "frame", "guitar", "thermometer", "scarf", "doormat"}

// Purchases is the stream of purchases: exact money, visitors that come back.
type Purchases struct {
	r  random
	at time.Time
}

// NewPurchases starts at a time; a purchase comes every 100 milliseconds.
func NewPurchases(seed uint64, at time.Time) *Purchases {
	return &Purchases{r: newRandom(seed), at: at}
}

// Topics implements Generator.
func (g *Purchases) Topics() []Topic { return []Topic{{Name: "purchases"}} }

// Next implements Generator: JSON, keyed by the visitor.
func (g *Purchases) Next() (Record, error) {
	n := g.r.IntN(10000)
	visitor := [...]string{fmt.Sprintf("visitor%d@example.org", n), fmt.Sprintf("ACC-%06d", n), fmt.Sprintf("user%d", n)}[n%3]
	b := fmt.Appendf(nil, `{"sku":"%s-%d","value":%d.%02d,"quantity":%d,"visitor":"%s","timestamp":"%s"}`,
		pick(g.r, skus), g.r.IntN(100), g.r.IntN(200), g.r.IntN(100), 1+g.r.IntN(5), visitor, g.at.UTC().Format("2006-01-02T15:04:05.000Z"))
	g.at = g.at.Add(100 * time.Millisecond)
	return Record{Topic: "purchases", Key: []byte(visitor), Value: b}, nil
}
