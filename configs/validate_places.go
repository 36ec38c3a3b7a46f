package configs

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Properties that lakeloader sets itself, with the reason that is given.
var refusedKafka = map[string]string{
	"enable.auto.commit":            "offsets are committed with the table's data",
	"auto.commit.enable":            "offsets are committed with the table's data",
	"enable.auto.offset.store":      "offsets are committed with the table's data",
	"offset.store.method":           "offsets are committed with the table's data",
	"auto.commit.interval.ms":       "offsets are committed with the table's data",
	"auto.offset.reset":             "use source.start and source.on_reset of the pipeline",
	"isolation.level":               "only committed records are ever read",
	"partition.assignment.strategy": "the group always uses cooperative-sticky",
	"group.protocol":                "the group always uses the classic protocol",
	"group.remote.assignor":         "the group always uses the classic protocol",
	"group.id":                      "use source.group of the pipeline",
	"enable.partition.eof":          "lakeloader needs it",
	"bootstrap.servers":             "use kafka.brokers",
	"metadata.broker.list":          "use kafka.brokers",
	"security.protocol":             "use kafka.security",
	"sasl.username":                 "use kafka.sasl.username",
	"sasl.password":                 "use kafka.sasl.password",
	"sasl.oauthbearer.method":       "use kafka.sasl.oauth",
	"ssl.ca.location":               "use kafka.tls.ca_file",
	"ssl.certificate.location":      "use kafka.tls.cert_file",
	"ssl.key.location":              "use kafka.tls.key_file",
	"queued.max.messages.kbytes":    "it follows from memory.limit",
	"fetch.max.bytes":               "it follows from memory.limit",
	"default.topic.config":          "set the properties themselves",
	"plugin.library.paths":          "plugins are not supported",
}

var refusedTable = map[string]string{
	"format-version":           "tables are written in version 2",
	"write.format.default":     "files are Parquet",
	"commit.retry.num-retries": "a commit is only ever repeated by lakeloader itself",
}

var refusedCatalog = map[string]string{
	"type": "use catalog.type", "uri": "use catalog.uri", "warehouse": "use catalog.warehouse",
	"credential": "use catalog.credential", "token": "use catalog.token",
}

func (v *validator) refused(path string, properties, refused map[string]string) {
	for name := range properties {
		if why, ok := refused[name]; ok {
			v.bad(join(path, name), why, "the property %s cannot be set", name)
		}
	}
}

func (v *validator) kafka(k *Kafka) {
	for i, b := range k.Brokers {
		v.address(item("kafka.brokers", i), b, false)
	}
	v.refused("kafka.properties", k.Properties, refusedKafka)
	for name := range k.Properties {
		if strings.HasPrefix(name, "go.") {
			v.bad(join("kafka.properties", name), "it is not a property of librdkafka", "the property %s cannot be set", name)
		}
	}
	v.sasl(k)
	if k.Security == "ssl" || k.Security == "sasl_ssl" {
		v.tls("kafka.tls", &k.TLS)
	} else if k.TLS != (TLS{}) {
		v.bad("kafka.tls", "set kafka.security to ssl or sasl_ssl", "tls has no effect with security %s", k.Security)
	}
}

// tls checks that a certificate and its key come together.
func (v *validator) tls(path string, t *TLS) {
	switch {
	case t.Cert != "" && t.Key == "":
		v.missing(path+".key_file", "", "cert_file needs key_file")
	case t.Key != "" && t.Cert == "":
		v.missing(path+".cert_file", "", "key_file needs cert_file")
	}
}

// tlsFor checks the TLS settings beside a URL.
func (v *validator) tlsFor(path, urlPath, url string, t *TLS) {
	if *t == (TLS{}) {
		return
	}
	if strings.HasPrefix(url, "http://") {
		v.bad(path, "write https:// in "+urlPath, "tls has no effect with an http:// URL")
		return
	}
	v.tls(path, t)
}

func (v *validator) registry(r *Registry) {
	if r.URL == "" {
		if r.Username != "" || r.Password != "" || r.Token != "" || r.TLS != (TLS{}) {
			v.missing("registry.url", "write registry.url, e.g. http://registry:8081", "registry needs url")
		}
		return
	}
	v.url("registry.url", r.URL, "http", "https")
	if (r.Username == "") != (r.Password == "") {
		v.missing("registry", "", "registry needs both username and password, or neither")
	}
	if r.Username != "" && r.Token != "" {
		v.bad("registry.token", "leave out one of them", "there is a token as well as a username")
	}
	v.tlsFor("registry.tls", "registry.url", r.URL, &r.TLS)
}

func (v *validator) warehouse(w *Warehouse) {
	const path = "warehouse.location"
	scheme, rest, has := strings.Cut(w.Location, "://")
	bucket, _, _ := strings.Cut(rest, "/")
	switch {
	case !has || scheme == "file":
	case scheme == "s3a" || scheme == "s3n":
		v.bad(path, "write s3://"+rest, "location has the scheme %s", scheme)
	case scheme != "s3":
		v.bad(path, "", "location has the scheme %s; it must be a folder or s3://bucket/prefix", scheme)
	case bucket == "":
		v.bad(path, "write s3://bucket/prefix", "location names no bucket")
	case !bucketName.MatchString(bucket):
		v.bad(path, "3 to 63 of a-z, 0-9, - and .", "%q is not the name of a bucket", bucket)
	}
	v.s3(&w.S3)
}

func (v *validator) s3(s *S3) {
	if s.Endpoint != "" {
		v.url("warehouse.s3.endpoint", s.Endpoint, "http", "https")
	}
	if s.STSEndpoint != "" {
		v.url("warehouse.s3.sts_endpoint", s.STSEndpoint, "http", "https")
	}
	if (s.AccessKey == "") != (s.SecretKey == "") {
		v.missing("warehouse.s3", "leave out both to use the usual AWS chain", "s3 needs both access_key and secret_key, or neither")
	}
	if s.SessionToken != "" && s.AccessKey == "" {
		v.bad("warehouse.s3.session_token", "write access_key and secret_key too", "session_token belongs to keys")
	}
	v.role("warehouse.s3", s.RoleARN, s.ExternalID, s.SessionName)
	if s.KMSKey != "" && s.Encryption != "sse-kms" {
		v.bad("warehouse.s3.kms_key", "set warehouse.s3.encryption to sse-kms", "kms_key has no effect with encryption %s", s.Encryption)
	}
}

// role checks a role to assume.
func (v *validator) role(path, arn, externalID, session string) {
	switch {
	case arn == "" && (externalID != "" || session != ""):
		v.missing(path+".role_arn", "", "external_id and session_name belong to a role_arn")
	case arn != "" && !strings.HasPrefix(arn, "arn:"):
		v.bad(path+".role_arn", "write arn:aws:iam::ACCOUNT:role/NAME", "%s is not the ARN of a role", v.pos.Quote(path+".role_arn", arn))
	case arn != "" && !roleSession.MatchString(session):
		v.bad(path+".session_name", "2 to 64 letters, digits and =,.@_-", "%s is not the name of a session", v.pos.Quote(path+".session_name", session))
	}
}

var (
	bucketName  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	roleSession = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)
	identifier  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (v *validator) catalog(c *Config) {
	k := &c.Catalog
	_, local := localPath(c.Warehouse.Location)
	v.refused("catalog.properties", k.Properties, refusedCatalog)
	if !identifier.MatchString(k.Namespace) {
		v.bad("catalog.namespace", "use letters, digits and _", "%s is not the name of a namespace", v.pos.Quote("catalog.namespace", k.Namespace))
	}
	switch k.Type {
	case "sqlite":
		if k.URI == "" {
			v.missing("catalog.uri", "name a local file, or choose another catalog.type", "a sqlite catalog needs uri when the warehouse is not a local folder")
		}
	case "postgres":
		v.needsURL(k, "postgres", "postgresql")
	case "rest":
		v.needsURL(k, "http", "https")
	case "glue":
		if local {
			v.bad("warehouse.location", "write s3://bucket/prefix", "a glue catalog needs a warehouse in S3")
		}
		if k.URI != "" {
			v.bad("catalog.uri", "leave it out", "a glue catalog has no uri")
		}
	}
	if k.Type != "rest" && (k.Credential != "" || k.Token != "") {
		v.bad("catalog", "set catalog.type to rest", "credential and token are for a rest catalog, not %s", k.Type)
	}
	if k.Type == "rest" {
		v.tlsFor("catalog.tls", "catalog.uri", k.URI, &k.TLS)
	} else if k.TLS != (TLS{}) {
		v.bad("catalog.tls", "for postgres write sslrootcert=FILE in the URI", "tls is for a rest catalog, not %s", k.Type)
	}
	if k.Credential != "" && k.Token != "" {
		v.bad("catalog.token", "leave out one of them", "there is a credential as well as a token")
	}
}

func (v *validator) needsURL(k *Catalog, schemes ...string) {
	if k.URI == "" {
		v.missing("catalog.uri", "write "+schemes[0]+"://...", "a %s catalog needs uri", k.Type)
		return
	}
	v.url("catalog.uri", k.URI, schemes...)
}

// url checks a URL's form. The parser's own error is not shown: it repeats the URL, which may hold a password.
func (v *validator) url(path, text string, schemes ...string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		v.bad(path, "", "%s is not a URL", last(path))
	case !slices.Contains(schemes, u.Scheme) || u.Opaque != "":
		v.bad(path, "", "%s must begin with %s://", last(path), strings.Join(schemes, ":// or "))
	case u.Hostname() == "" && u.Scheme != "postgres" && u.Scheme != "postgresql":
		v.bad(path, "", "%s names no host", last(path))
	case u.Port() != "" && !validPort(u.Port(), false):
		v.bad(path, "ports are 1 to 65535", "%s has the port %s", last(path), u.Port())
	}
}

// address checks host:port; one to listen on may leave out the host, and have port 0.
func (v *validator) address(path, text string, listen bool) {
	hint := "write host:port"
	if listen {
		hint = `write host:port, :port or "off"`
	}
	if _, rest, has := strings.Cut(text, "://"); has {
		v.bad(path, "write "+strings.TrimRight(rest, "/"), "%s is a URL; it must be host:port", v.pos.Quote(path, text))
		return
	}
	host, port, err := net.SplitHostPort(text)
	switch {
	case err != nil && !strings.Contains(text, ":"):
		v.bad(path, hint, "%s has no port", v.pos.Quote(path, text))
	case err != nil || strings.ContainsAny(host, " /@") || host == "" && !listen:
		v.bad(path, hint, "%s is not host:port", v.pos.Quote(path, text))
	case !validPort(port, listen):
		v.bad(path, "ports are 1 to 65535", "%s has no valid port", v.pos.Quote(path, text))
	}
}

func validPort(port string, zero bool) bool {
	n, err := strconv.Atoi(port)
	return err == nil && (n > 0 || zero && n == 0) && n <= 65535
}
