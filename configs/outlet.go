package configs

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

// Outlet sends rows, besides the lake, to a topic, a webhook or a search index. Exactly one of these is set. See docs/routes.md.
type Outlet struct {
	// Name identifies the route: how far it has come is kept by pipeline and name. It must not change later.
	Name string `yaml:"name" rule:"required"`
	// When is a condition in CEL over the table's columns, as in cleanse: stars < 3 && club == "platinum". Null counts as false.
	// Left out: all rows.
	When string `yaml:"when"`
	// Columns are sent, in this order. Left out: all but those that begin with _kafka_.
	Columns []string `yaml:"columns"`
	// Mode is committed (default): what is in the lake is sent, after the commit; or immediate: within a second of reading it,
	// before the commit, at least once, also what is then dropped and read again.
	Mode string `yaml:"mode" rule:"enum=committed|immediate"`
	// Start is where a new route begins: now (default), or earliest, with all rows that the table has.
	Start string `yaml:"start" rule:"enum=now|earliest"`
	// Topic of kafka to send to; left out: a webhook or search.
	Topic *OutletTopic `yaml:"topic"`
	// Webhook to call; left out: a topic or search.
	Webhook *OutletWebhook `yaml:"webhook"`
	// Search is an index of Elasticsearch or OpenSearch; left out: a topic or a webhook.
	Search *OutletSearch `yaml:"search"`
}

// OutletTopic is a topic that rows are sent to, in transactions that also hold how far the route has come: exactly once for who reads it
// with isolation.level=read_committed.
type OutletTopic struct {
	// Name of the topic; it must exist.
	Name string `yaml:"name" rule:"required"`
	// Format of the values: json (default), or avro or protobuf, whose schema is registered from the columns.
	Format string `yaml:"format" rule:"enum=json|avro|protobuf"`
	// Key are the columns of the message's key: one as plain text, several as a JSON object. Left out: messages have no key.
	Key []string `yaml:"key"`
	// Subject that an avro or protobuf schema is registered under. Default <topic>-value.
	Subject string `yaml:"subject"`
}

// OutletWebhook is called once for every row.
type OutletWebhook struct {
	// URL that gets POST requests. Whoever knows one of Slack's may write there, so give it as ${env:NAME} or ${file:PATH}.
	URL string `yaml:"url" rule:"required;secret"`
	// Format is json (default): the columns as a JSON object, or what template makes; or slack: {"text": ...} with the text that
	// template makes.
	Format string `yaml:"format" rule:"enum=json|slack"`
	// Template is a Go text/template over the columns: "{{.email}} gave {{.stars}} stars". {{json .x}} writes a value as JSON.
	// Left out: with json the object of all columns.
	Template string `yaml:"template"`
	// Secret signs requests: the header X-Lakeloader-Signature is sha256= and the HMAC of the time in X-Lakeloader-Timestamp, a dot, and the
	// body, in hexadecimal. Left out: they are not signed.
	Secret string `yaml:"secret" rule:"secret"`
	// Headers are added to requests. Left out: none.
	Headers map[string]string `yaml:"headers"`
	// Rate is the most calls in a time, as 1/s, 30/m or 100/h. Left out: as fast as they are answered.
	Rate string `yaml:"rate"`
	// DedupeBy are columns: a row is not sent if one with the same values was, up to dedupe_window before it. Left out: all are sent.
	DedupeBy []string `yaml:"dedupe_by"`
	// DedupeWindow is measured by Kafka's timestamps. Default 10m, with dedupe_by.
	DedupeWindow Duration `yaml:"dedupe_window" rule:"range=1s:7d"`
	// Timeout of a call. Default 10s.
	Timeout Duration `yaml:"timeout" rule:"range=100ms:5m"`
	// OnRefused says what becomes of a row that the receiver refuses for good (an answer of 400 to 499, but 408, 425 and 429): stop (default: it
	// is tried again every minute, and nothing goes past it) or keep: it is kept in the warehouse with the answer, and the route goes on.
	OnRefused string `yaml:"on_refused" rule:"enum=stop|keep"`
	// CA is a PEM file of certificate authorities to trust; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
}

// OutletSearch is an index of Elasticsearch or OpenSearch. A row's document has the id topic-partition-offset, so that it is there once.
type OutletSearch struct {
	// URL of the service, e.g. https://search:9200.
	URL string `yaml:"url" rule:"required;url"`
	// Index to write to. %Y, %m, %d and %H stand for parts of the row's time, in UTC: ratings-%Y.%m.%d.
	Index string `yaml:"index" rule:"required"`
	// Time is the column that the index goes by: a timestamptz, timestamp or date. Default _kafka_timestamp.
	Time string `yaml:"time"`
	// Username for basic authentication; left out: none.
	Username string `yaml:"username"`
	// Password for basic authentication; left out: none.
	Password string `yaml:"password" rule:"secret"`
	// APIKey is sent as Authorization: ApiKey, instead of username and password; left out: none.
	APIKey string `yaml:"api_key" rule:"secret"`
	// CA is a PEM file of certificate authorities to trust; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
	// BatchSize is the bytes of one bulk request. Default 5MiB.
	BatchSize Bytes `yaml:"batch_size" rule:"range=1KiB:100MiB"`
	// Timeout of a request. Default 30s.
	Timeout Duration `yaml:"timeout" rule:"range=100ms:10m"`
	// OnRefused says what becomes of a row that the service refuses for good, such as one that does not fit the index's mapping: stop
	// (default: it is tried again every minute, and nothing goes past it) or keep: it is kept in the warehouse with the answer, and the route
	// goes on.
	OnRefused string `yaml:"on_refused" rule:"enum=stop|keep"`
}

// Kinds names the receivers that are set: one for a valid route.
func (o *Outlet) Kinds() (out []string) {
	if o.Topic != nil {
		out = append(out, "topic")
	}
	if o.Webhook != nil {
		out = append(out, "webhook")
	}
	if o.Search != nil {
		out = append(out, "search")
	}
	return out
}

// Target names the receiver for people, without secrets.
func (o *Outlet) Target() string {
	switch {
	case o.Topic != nil:
		return "topic " + o.Topic.Name
	case o.Webhook != nil:
		return "webhook " + hostOf(o.Webhook.URL)
	case o.Search != nil:
		return "search " + hostOf(o.Search.URL) + " " + o.Search.Index
	}
	return "nothing"
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "(its URL cannot be read)"
	}
	return u.Host
}

func defaultOutlet(o *Outlet) {
	def(&o.Mode, "committed")
	def(&o.Start, "now")
	if t := o.Topic; t != nil {
		def(&t.Format, "json")
		if t.Name != "" && t.Format != "json" {
			def(&t.Subject, t.Name+"-value")
		}
	}
	if w := o.Webhook; w != nil {
		def(&w.Format, "json")
		def(&w.Timeout, 10*second)
		def(&w.OnRefused, "stop")
		if len(w.DedupeBy) > 0 {
			def(&w.DedupeWindow, 10*minute)
		}
	}
	if s := o.Search; s != nil {
		def(&s.Time, "_kafka_timestamp")
		def(&s.BatchSize, 5*mib)
		def(&s.Timeout, 30*second)
		def(&s.OnRefused, "stop")
	}
}

// maxOutlets bounds the routes of a pipeline: each follows the table by itself.
const maxOutlets = 50

func (v *validator) outlets(c *Config, p *Pipeline, path string) {
	names := map[string]string{}
	if len(p.Outlets) > maxOutlets {
		v.bad(path, "", "there are %d routes; a pipeline can have %d", len(p.Outlets), maxOutlets)
	}
	for i := range p.Outlets {
		o, at := &p.Outlets[i], item(path, i)
		if o.Name != "" && !pipelineName.MatchString(o.Name) {
			v.bad(at+".name", "use at most 63 letters, digits, _ and -", "%s cannot be a route's name", v.pos.Quote(at+".name", o.Name))
		}
		v.once(names, o.Name, at+".name", "the route's name", "how far a route has come is kept by it")
		switch kinds := o.Kinds(); {
		case len(kinds) == 0:
			v.missing(at, "write topic: {name: ...}, webhook: {url: ...} or search: {url: ..., index: ...}", "the route %s needs a receiver", v.pos.Quote(at+".name", o.Name))
		case len(kinds) > 1:
			v.bad(at+"."+kinds[1], "make a route of each", "the route %s has several receivers: %s", v.pos.Quote(at+".name", o.Name), strings.Join(kinds, " and "))
		}
		v.distinct(at+".columns", o.Columns, func(string, string) {})
		if o.Topic != nil {
			v.outletTopic(c, p, o, at+".topic")
		}
		if o.Webhook != nil {
			v.outletWebhook(o.Webhook, at+".webhook")
		}
		if o.Search != nil {
			v.outletSearch(o.Search, at+".search")
		}
	}
}

func (v *validator) outletTopic(c *Config, p *Pipeline, o *Outlet, path string) {
	t := o.Topic
	if t.Name != "" && (!topicName.MatchString(t.Name) || t.Name == "." || t.Name == "..") {
		v.bad(path+".name", "", "%s is not a topic's name", v.pos.Quote(path+".name", t.Name))
	}
	pattern, err := regexp.Compile(p.Source.Pattern)
	if slices.Contains(p.Source.Topics, t.Name) || p.Source.Pattern != "" && err == nil && pattern.MatchString(t.Name) {
		v.bad(path+".name", "choose another topic", "the pipeline reads %s, so its rows would come back for ever", v.pos.Quote(path+".name", t.Name))
	}
	v.distinct(path+".key", t.Key, func(string, string) {})
	if o.Mode == "immediate" && t.Format == "protobuf" {
		v.bad(path+".format", "choose avro or json, or the mode committed", "protobuf takes its field numbers from the table, which rows that are sent before the commit do not come from")
	}
	if t.Format == "json" {
		if t.Subject != "" {
			v.bad(path+".subject", "leave it out, or choose avro or protobuf", "subject has no effect with json")
		}
	} else if c.Registry.URL == "" {
		v.missing("registry.url", "write registry.url, e.g. http://registry:8081", "the route %s has the format %s, which needs a registry", v.pos.Quote(parent(path)+".name", o.Name), t.Format)
	}
}

func (v *validator) outletWebhook(w *OutletWebhook, path string) {
	v.httpURL(path+".url", w.URL)
	if w.Format == "slack" && w.Template == "" {
		v.missing(path+".template", `write template: "{{.email}}: {{.message}}"`, "a webhook of the format slack needs a template for its text")
	}
	if w.Template != "" {
		if _, err := template.New("template").Funcs(TemplateFuncs()).Parse(w.Template); err != nil {
			v.bad(path+".template", "the syntax is that of Go's text/template", "the template cannot be read: %s", strings.TrimPrefix(err.Error(), "template: "))
		}
	}
	if w.Rate != "" {
		if _, err := ParseRate(w.Rate); err != nil {
			v.bad(path+".rate", "write 1/s, 30/m or 100/h", "%v", err)
		}
	}
	v.distinct(path+".dedupe_by", w.DedupeBy, func(string, string) {})
	if len(w.DedupeBy) == 0 && w.DedupeWindow > 0 {
		v.bad(path+".dedupe_window", "write dedupe_by, or leave it out", "dedupe_window has no effect without dedupe_by")
	}
}

func (v *validator) outletSearch(s *OutletSearch, path string) {
	v.httpURL(path+".url", s.URL)
	if s.APIKey != "" && s.Username != "" {
		v.bad(path+".api_key", "leave out one of them", "there is an api_key as well as a username")
	}
	if s.Index == "" {
		return
	}
	if plain, err := IndexName(s.Index, func(byte) string { return "0" }); err != nil {
		v.bad(path+".index", "write a name such as ratings-%Y.%m.%d", "%v", err)
	} else if !indexName.MatchString(plain) {
		v.bad(path+".index", "use lower-case letters, digits, -, _ and ., with a letter or digit first", "%s cannot be the name of an index", v.pos.Quote(path+".index", s.Index))
	}
}

var indexName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,200}$`)

// IndexName fills the parts of a time into the name of an index.
func IndexName(pattern string, part func(verb byte) string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			b.WriteByte(pattern[i])
			continue
		}
		if i++; i == len(pattern) || !strings.ContainsRune("YmdH", rune(pattern[i])) {
			return "", fmt.Errorf("%q: %% must be followed by Y, m, d or H", pattern)
		}
		b.WriteString(part(pattern[i]))
	}
	return b.String(), nil
}

func (v *validator) httpURL(path, text string) {
	if text == "" {
		return
	}
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		v.bad(path, "write https://host/path", "%s is no http:// or https:// URL", last(path)) // it is not shown, since it may be a secret
	}
}
