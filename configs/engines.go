package configs

// Engine is a system beside lakeloader that answers SQL over the same lake. It must see the tables through the same catalog.
type Engine struct {
	// Name by which jobs and aggregates call the engine; embedded is taken.
	Name string `yaml:"name" rule:"required"`
	// Type is trino, athena or spark (a Thrift server, which speaks HiveServer2's protocol).
	Type string `yaml:"type" rule:"required;enum=trino|athena|spark"`
	// URL of the server: https://trino:8443, or thrift://spark:10000 (thrifts:// with TLS). For Athena left out: AWS's in the region.
	URL string `yaml:"url" rule:"url"`
	// Catalog is the engine's name for the lake's catalog. Default for Athena: AwsDataCatalog.
	Catalog string `yaml:"catalog"`
	// User to log in as. Default lakeloader, but for Athena.
	User string `yaml:"user"`
	// Password of the user, for Trino over https, or for a Thrift server with the login LDAP or CUSTOM; left out: none.
	Password string `yaml:"password" rule:"secret"`
	// Token is a bearer token (JWT) for Trino over https, instead of a password; left out: none.
	Token string `yaml:"token" rule:"secret"`
	// Auth of a Thrift server is plain (default: as hive.server2.authentication NONE, LDAP or CUSTOM want it), or nosasl.
	Auth string `yaml:"auth" rule:"enum=plain|nosasl"`
	// TLS names PEM files, for https:// and thrifts:// URLs.
	TLS TLS `yaml:"tls"`
	// Session are properties that the engine's sessions are given, such as query_max_run_time for Trino. Left out: none.
	Session map[string]string `yaml:"session"`
	// AWS says for Athena in which region, and who asks; left out: the identity of the usual AWS chain, in its region.
	AWS *Identity `yaml:"aws"`
	// Workgroup of Athena. Default primary.
	Workgroup string `yaml:"workgroup"`
	// OutputLocation is where Athena puts results, s3://bucket/prefix/; left out: where the workgroup says.
	OutputLocation string `yaml:"output_location"`
}

// Engine gives an engine by its name; nil: there is none.
func (c *Config) Engine(name string) *Engine {
	for i := range c.Engines {
		if c.Engines[i].Name == name {
			return &c.Engines[i]
		}
	}
	return nil
}

func defaultEngine(e *Engine) {
	switch e.Type {
	case "athena":
		def(&e.Catalog, "AwsDataCatalog")
		def(&e.Workgroup, "primary")
	case "trino", "spark":
		def(&e.User, "lakeloader")
	}
	if e.Type == "spark" {
		def(&e.Auth, "plain")
	}
	if e.AWS != nil && e.AWS.RoleARN != "" {
		def(&e.AWS.SessionName, sessionName)
	}
}
