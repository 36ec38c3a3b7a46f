package configs

import (
	"net/url"
	"slices"
	"strings"
)

// engines checks what each needs, and that it has nothing that only others understand.
func (v *validator) engines(c *Config) {
	names := map[string]string{}
	for i := range c.Engines {
		e, path := &c.Engines[i], item("engines", i)
		if v.once(names, e.Name, path+".name", "the engine name", "jobs name an engine by it"); e.Name == Embedded {
			v.bad(path+".name", "choose another one", "embedded is the engine that is always there")
		}
		v.engineURL(e, path)
		switch {
		case e.Catalog == "" && e.Type != "":
			v.missing(path+".catalog", "give the name under which the engine has the lake's catalog", "an engine of type %s needs catalog", e.Type)
		case c.Catalog.Type == "sqlite" && e.Type != "spark" && e.Type != "":
			v.bad(path+".type", "set catalog.type to rest, postgres or glue", "%s cannot read a sqlite catalog", e.Type)
		}
		if e.AWS != nil {
			v.role(path+".aws", e.AWS.RoleARN, e.AWS.ExternalID, e.AWS.SessionName)
		}
		if e.OutputLocation != "" && !strings.HasPrefix(e.OutputLocation, "s3://") {
			v.bad(path+".output_location", "write s3://bucket/prefix/", "output_location is no place in S3")
		}
		for _, x := range []struct {
			name  string
			is    bool
			types []string
		}{
			{"user", e.User != "", []string{"trino", "spark"}}, {"password", e.Password != "", []string{"trino", "spark"}},
			{"token", e.Token != "", []string{"trino"}}, {"tls", e.TLS != (TLS{}), []string{"trino", "spark"}},
			{"auth", e.Auth != "", []string{"spark"}}, {"session", len(e.Session) > 0, []string{"trino", "spark"}},
			{"aws", e.AWS != nil, []string{"athena"}}, {"workgroup", e.Workgroup != "", []string{"athena"}},
			{"output_location", e.OutputLocation != "", []string{"athena"}},
		} {
			if x.is && e.Type != "" && !slices.Contains(x.types, e.Type) {
				v.bad(path+"."+x.name, "leave it out", "%s is for the type %s, not %s", x.name, strings.Join(x.types, " or "), e.Type)
			}
		}
	}
	if name := c.Jobs.Compact.Engine; name != "" && name != Embedded && c.Engine(name) == nil {
		v.bad("jobs.compact.engine", "add it to engines, or leave it out", "there is no engine %s", v.pos.Quote("jobs.compact.engine", name))
	}
}

func (v *validator) engineURL(e *Engine, path string) {
	schemes := map[string][]string{"trino": {"https", "http"}, "athena": {"https", "http"}, "spark": {"thrift", "thrifts"}}[e.Type]
	if e.URL == "" {
		if e.Type == "trino" || e.Type == "spark" {
			v.missing(path+".url", "write "+schemes[0]+"://host:port", "an engine of type %s needs url", e.Type)
		}
		return
	}
	if schemes == nil {
		return
	}
	v.url(path+".url", e.URL, schemes...)
	u, err := url.Parse(e.URL)
	if err != nil {
		return
	}
	secure := u.Scheme == "https" || u.Scheme == "thrifts"
	_, hasPassword := u.User.Password()
	switch {
	case hasPassword || u.User.Username() != "":
		v.bad(path+".url", "write user and password", "url holds a login")
	case e.Token != "" && e.Password != "":
		v.bad(path+".token", "leave out one of them", "there is a token as well as a password")
	case !secure && e.Type == "trino" && (e.Token != "" || e.Password != ""):
		v.bad(path+".url", "write https://", "passwords and tokens are sent over https only")
	case !secure && e.TLS != (TLS{}):
		v.bad(path+".tls", "write "+map[string]string{"trino": "https", "spark": "thrifts"}[e.Type]+":// in "+path+".url", "tls has no effect with a %s:// URL", u.Scheme)
	default:
		v.tls(path+".tls", &e.TLS)
	}
}
