package configs

import (
	"fmt"
	"reflect"
	"time"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// Sizes and times that more than one default or rule needs.
const (
	kib = Bytes(1) << 10
	mib = kib << 10
	gib = mib << 10

	second = Duration(time.Second)
	minute = Duration(time.Minute)

	defaultLocation   = "./lake"
	defaultState      = "./lakeloader-state/"
	groupPrefix       = "lakeloader-"
	deadLettersSuffix = "_dead_letters"
	sessionName       = "lakeloader"
	// memoryPerPipeline is the default limit without a container around the process.
	memoryPerPipeline = 512 * mib
)

// ApplyDefaults fills what a configuration leaves out. Every default of lakeloader is here, but for those that only a
// connection can tell: the subject of pipelines with several topics, credentials from the AWS chain.
// It is idempotent; Load and Parse have called it.
func ApplyDefaults(c *Config) {
	def(&c.Kafka.Security, "plaintext")
	def(&c.Registry.Timeout, 10*second)
	def(&c.Registry.UnknownIDAfter, 30*second)
	def(&c.Warehouse.Location, defaultLocation)
	def(&c.Warehouse.S3.Region, "us-east-1")
	def(&c.Warehouse.S3.PartSize, 8*mib)
	if c.Warehouse.S3.RoleARN != "" {
		def(&c.Warehouse.S3.SessionName, sessionName)
	}
	if a := c.Kafka.SASL.AWS; a != nil && a.RoleARN != "" {
		def(&a.SessionName, sessionName)
	}
	def(&c.Warehouse.S3.Encryption, "none")
	defTo(&c.Warehouse.S3.PathStyle, c.Warehouse.S3.Endpoint != "")
	defaultCatalog(c)
	def(&c.HTTP.Address, "127.0.0.1:8080")
	def(&c.Log.Level, "info")
	def(&c.Log.Format, "auto")
	def(&c.Shutdown, 30*second)
	defTo(&c.Jobs.InDaemon, true)
	def(&c.Jobs.TimeZone, "UTC")
	defTo(&c.Jobs.CatchUp, true)
	def(&c.Jobs.Deadline, 120*minute)
	def(&c.Jobs.Expire.Schedule, "@hourly")
	def(&c.Jobs.Expire.Age, 24*60*minute)
	def(&c.Jobs.Expire.KeepLast, 10)
	def(&c.Jobs.Compact.Schedule, "@hourly")
	def(&c.Jobs.Compact.MinFiles, 5)
	def(&c.Jobs.Compact.Quiet, 60*minute)
	def(&c.Jobs.Compact.MaxSize, 10*gib)
	def(&c.Jobs.Retention.Schedule, "@daily")
	def(&c.Jobs.Fold.Schedule, "@daily")
	def(&c.Jobs.Complete.Schedule, "@every 1m")
	def(&c.Jobs.Current.Schedule, "@every 10s")
	def(&c.Jobs.Orphans.Schedule, "off")
	def(&c.Jobs.Orphans.Age, 72*60*minute)
	def(&c.Jobs.History.Schedule, "@hourly")
	def(&c.Jobs.History.Table, "lakeloader_jobs")
	def(&c.Jobs.History.Retention, 365*24*60*minute)
	if _, local := localPath(c.Warehouse.Location); !local && c.Warehouse.S3.Endpoint == "" {
		def(&c.Jobs.Prices.Put, 5_000)
		def(&c.Jobs.Prices.Get, 400)
	}
	for i := range c.Engines {
		defaultEngine(&c.Engines[i])
	}
	for i := range c.Lookups {
		defaultLookup(&c.Lookups[i])
	}
	for i := range c.Windows {
		defaultWindow(&c.Windows[i])
	}
	if c.Memory.Limit == 0 {
		c.Memory.Limit = defaultMemory(len(c.Pipelines), c.lookupMemory()+c.windowMemory(), containerLimit())
	}
	for i := range c.Pipelines {
		defaultPipeline(&c.Pipelines[i])
	}
	for i := range c.Aggregates {
		defaultAggregate(&c.Aggregates[i])
	}
}

// def sets what is left out.
func def[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func defTo[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

func defaultCatalog(c *Config) {
	def(&c.Catalog.Type, "sqlite")
	def(&c.Catalog.Name, "lakeloader")
	def(&c.Catalog.Namespace, "lake")
	location, local := localPath(c.Warehouse.Location)
	switch {
	case c.Catalog.Type == "sqlite" && local:
		def(&c.Catalog.URI, location+"/catalog.db")
	case c.Catalog.Type == "rest":
		def(&c.Catalog.Warehouse, c.Warehouse.Location)
	}
}

func defaultMemory(pipelines int, others, container Bytes) Bytes {
	if container > 0 {
		return container
	}
	return memoryPerPipeline*Bytes(max(1, pipelines)) + others
}

func defaultPipeline(p *Pipeline) {
	if p.Name != "" {
		def(&p.Source.Group, groupPrefix+p.Name)
	}
	def(&p.Source.Start, "earliest")
	def(&p.Source.OnReset, "fail")
	def(&p.Source.Consume, "batch")
	defaultFormat(&p.Decode.Value, p.Source.Topics, "-value", "")
	if p.Decode.Key != nil {
		defaultFormat(p.Decode.Key, p.Source.Topics, "-key", "key_")
	}
	for i := range p.Views {
		defaultView(&p.Views[i])
	}
	for i := range p.Cleanse {
		defaultStep(&p.Cleanse[i], i)
	}
	defaultSQL(p)
	for i := range p.Enrich {
		defaultJoin(&p.Enrich[i], i)
	}
	if p.Table.PartitionBy == nil {
		p.Table.PartitionBy = []string{"day(_kafka_timestamp)"}
	}
	defTo(&p.Table.Evolve, true)
	if k := p.Table.Complete; k != nil {
		def(&k.Lateness, 60*minute)
		def(&k.Quiet, 10*minute)
	}
	if r := p.Table.Route; r != nil {
		def(&r.Otherwise, "primary")
		if r.Template != "" {
			def(&r.Limit, 50)
		}
	}
	defaultChanges(p)
	for i := range p.Outlets {
		defaultOutlet(&p.Outlets[i])
	}
	defaultFiles(&p.Files)
	def(&p.Commit.Interval, 60*second)
	def(&p.Commit.Size, gib)
	def(&p.Commit.IdleInterval, 10*minute)
	def(&p.Commit.AlarmAfter, 2*p.Commit.Interval+30*second)
	def(&p.Commit.StallTimeout, max(10*minute, 2*p.Commit.Interval))
	def(&p.DeadLetters.Window, 10*minute)
	if p.Table.Name != "" {
		def(&p.DeadLetters.Table, p.Table.Name+deadLettersSuffix)
	}
}

func defaultFiles(f *Files) {
	def(&f.TargetSize, 128*mib)
	def(&f.RowGroupSize, min(32*mib, f.TargetSize))
	def(&f.Compression, "zstd")
	if f.Compression == "zstd" {
		def(&f.Level, 1)
	}
	def(&f.MaxOpen, 10_000)
}

func defaultFormat(f *Format, topics []string, suffix, prefix string) {
	defTo(&f.Prefix, prefix)
	switch {
	case f.Format == "json":
		def(&f.Unknown, "ignore")
	case f.Format != "" && len(topics) == 1:
		def(&f.Subject, topics[0]+suffix)
	}
}

func defaultStep(s *Step, index int) {
	if kinds := s.Kinds(); len(kinds) == 1 {
		def(&s.Name, fmt.Sprintf("cleanse[%d] %s", index, kinds[0]))
	}
	if s.NormalizeUnicode != nil {
		def(&s.NormalizeUnicode.Form, "NFC")
	}
	if s.MapValues != nil {
		def(&s.MapValues.Otherwise, "keep")
	}
	if s.Cast != nil {
		def(&s.Cast.OnError, "dead_letter")
	}
	if t := s.ParseTimestamp; t != nil {
		if len(t.Formats) == 0 {
			t.Formats = []string{"iso8601"}
		}
		def(&t.Zone, "UTC")
		def(&t.To, "timestamptz")
		def(&t.OnError, "dead_letter")
	}
	if s.Derive != nil {
		def(&s.Derive.OnError, "dead_letter")
	}
	if s.Mask != nil {
		def(&s.Mask.Style, "all")
	}
	if s.Hash != nil {
		def(&s.Hash.Length, 64)
	}
	if d := s.Deduplicate; d != nil {
		def(&d.Window, 10*minute)
		def(&d.MaxEntries, 1_000_000)
	}
}

// Kinds names the kinds of step that are set, as in YAML: one for a valid step.
func (s *Step) Kinds() []string {
	var out []string
	v := reflect.ValueOf(s).Elem()
	for _, f := range setting.Of(v.Type()) {
		if f.Type.Kind() == reflect.Pointer && !v.Field(f.Index).IsNil() {
			out = append(out, f.Name)
		}
	}
	return out
}
