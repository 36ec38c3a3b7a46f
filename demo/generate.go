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
	// Topic that the records belong to.
	Topic() string
	// Next appends the value of the next record to buf. key is nil for records without one.
	Next(buf []byte) (key, value []byte)
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

// Topic implements Generator.
func (c *Clicks) Topic() string { return "clicks" }

// Next implements Generator: JSON, no key.
func (c *Clicks) Next(b []byte) (key, value []byte) {
	campaign, publisher := c.pair/publishers+1, c.pair%publishers+1
	p, f := pick(c.r, places), pick(c.r, platforms)
	b = append(b, `{"uuid":"`...)
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
	return nil, append(b, `"}`...)
}

// RatingsSchema is the Avro schema of Ratings.
const RatingsSchema = `{"type":"record","name":"ratings","namespace":"ksql","fields":[
 {"name":"rating_id","type":"long"},{"name":"user_id","type":"int"},{"name":"stars","type":"int"},{"name":"route_id","type":"int"},
 {"name":"rating_time","type":"long"},{"name":"channel","type":"string"},{"name":"message","type":"string"}]}`

var (
	channels = []string{"web", "iOS", "ios", "iOS-test", "android"}
	messages = []string{"worst. flight. ever. #neveragain", "Surprisingly good, maybe you are getting your mojo back at long last!",
		"Exceeded all my expectations. Thank you !", "meh", "(expletive deleted)", "is this as good as it gets? really ?",
		"airport refurb looks great, will fly outta here more!", "why is it so difficult to keep the bathrooms clean ?",
		"thank you for the most friendly, helpful experience today at your new lounge", "more peanuts please", "your team here rocks!"}
)

// Ratings is the stream of flight ratings, Avro in the registry's wire format.
type Ratings struct {
	r        random
	schemaID int32
	n        int64
	at       time.Time
}

// NewRatings starts at a time; a rating comes every 12 milliseconds.
func NewRatings(seed uint64, at time.Time, schemaID int32) *Ratings {
	return &Ratings{r: newRandom(seed), at: at, schemaID: schemaID}
}

// Topic implements Generator.
func (g *Ratings) Topic() string { return "ratings" }

// Next implements Generator: keyed by the rating's id as text.
func (g *Ratings) Next(b []byte) (key, value []byte) {
	g.n++
	b = binary.BigEndian.AppendUint32(append(b, 0), uint32(g.schemaID))
	b = binary.AppendVarint(b, g.n)
	b = binary.AppendVarint(b, int64(g.r.IntN(22)-1)) // -1: no user
	b = binary.AppendVarint(b, int64(1+g.r.IntN(5)))
	b = binary.AppendVarint(b, int64(1+g.r.IntN(9999)))
	b = binary.AppendVarint(b, g.at.UnixMilli())
	for _, s := range [...]string{pick(g.r, channels), pick(g.r, messages)} {
		b = append(binary.AppendVarint(b, int64(len(s))), s...)
	}
	g.at = g.at.Add(12 * time.Millisecond)
	return strconv.AppendInt(nil, g.n, 10), b
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

// Topic implements Generator.
func (g *Purchases) Topic() string { return "purchases" }

// Next implements Generator: JSON, keyed by the visitor.
func (g *Purchases) Next(b []byte) (key, value []byte) {
	n := g.r.IntN(10000)
	visitor := [...]string{fmt.Sprintf("visitor%d@example.org", n), fmt.Sprintf("ACC-%06d", n), fmt.Sprintf("user%d", n)}[n%3]
	b = fmt.Appendf(b, `{"sku":"%s-%d","value":%d.%02d,"quantity":%d,"visitor":"%s","timestamp":"%s"}`,
		pick(g.r, skus), g.r.IntN(100), g.r.IntN(200), g.r.IntN(100), 1+g.r.IntN(5), visitor, g.at.UTC().Format("2006-01-02T15:04:05.000Z"))
	g.at = g.at.Add(100 * time.Millisecond)
	return []byte(visitor), b
}
