package configs

// Kafka is how to reach a cluster.
type Kafka struct {
	// Brokers are host:port pairs to start from.
	Brokers []string `yaml:"brokers" rule:"required;split"`
	// Security protocol: plaintext (default), ssl, sasl_plaintext or sasl_ssl.
	Security string `yaml:"security" rule:"enum=plaintext|ssl|sasl_plaintext|sasl_ssl"`
	// SASL is the login, with security sasl_ssl or sasl_plaintext.
	SASL SASL `yaml:"sasl"`
	// TLS names PEM files.
	TLS TLS `yaml:"tls"`
	// Properties are passed on to librdkafka; those that the exactly-once protocol rests on
	// are refused. Left out: none.
	Properties map[string]string `yaml:"properties"`
}

// SASL is a login to a Kafka cluster.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (with username and password), OAUTHBEARER (with oauth) or
	// AWS_MSK_IAM (with the usual AWS chain, or aws); left out: no login, or what kafka.properties say.
	Mechanism string `yaml:"mechanism" rule:"enum=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER|AWS_MSK_IAM"`
	// Username to log in with; left out: none.
	Username string `yaml:"username"`
	// Password to log in with; write ${env:NAME} or ${file:PATH} rather than the secret itself. Left out: none.
	Password string `yaml:"password" rule:"secret"`
	// OAuth is where the tokens of OAUTHBEARER come from: token_url, or token_file.
	OAuth *OAuth `yaml:"oauth"`
	// AWS says for AWS_MSK_IAM who logs in; left out: the identity of the usual AWS chain, in its region.
	AWS *Identity `yaml:"aws"`
}

// OAuth is a source of bearer tokens: an OAuth2 server that gives them for client credentials, or a file.
type OAuth struct {
	// TokenURL is the token endpoint of an OAuth2 server, asked with the grant client_credentials; left out: token_file.
	TokenURL string `yaml:"token_url" rule:"url"`
	// ClientID names the client to the OAuth2 server; left out: none, with token_file.
	ClientID string `yaml:"client_id"`
	// ClientSecret goes with client_id. Left out: none, with token_file.
	ClientSecret string `yaml:"client_secret" rule:"secret"`
	// Scope is what is asked for, several with spaces between; left out: none.
	Scope string `yaml:"scope"`
	// Parameters are added to what the OAuth2 server is asked, e.g. audience. Left out: none.
	Parameters map[string]string `yaml:"parameters"`
	// CA is a PEM file of certificate authorities that the OAuth2 server is trusted by; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
	// TokenFile holds a token, a JWT whose exp says how long it is good; it is read again before that. Left out: token_url.
	TokenFile string `yaml:"token_file" rule:"file"`
	// Extensions of the login, e.g. logicalCluster and identityPoolId of Confluent Cloud. Left out: none.
	Extensions map[string]string `yaml:"extensions"`
}

// Identity is who one is to AWS, on the base of the usual AWS chain.
type Identity struct {
	// Region of the service; left out: that of the usual AWS chain.
	Region string `yaml:"region"`
	// RoleARN is a role to assume; left out: none.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is what the role's owner asks for; left out: none.
	ExternalID string `yaml:"external_id"`
	// SessionName names the session of the role in AWS's logs. Default lakeloader.
	SessionName string `yaml:"session_name"`
}

// TLS names PEM files.
type TLS struct {
	// CA is a PEM file of certificate authorities to trust; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
	// Cert is the client's certificate, for mutual TLS; left out: none.
	Cert string `yaml:"cert_file" rule:"file"`
	// Key is the client's private key; left out: none.
	Key string `yaml:"key_file" rule:"file"`
	// SkipVerify accepts any server certificate, of any host: whoever sits between reads along. Default false.
	SkipVerify bool `yaml:"skip_verify"`
}

// Registry is a schema registry with the Confluent REST API.
type Registry struct {
	// URL, e.g. http://registry:8081 (for Apicurio with its path: http://registry:8080/apis/ccompat/v7); left out: there is none.
	URL string `yaml:"url" rule:"url"`
	// Username for basic authentication; left out: none.
	Username string `yaml:"username"`
	// Password for basic authentication; left out: none.
	Password string `yaml:"password" rule:"secret"`
	// Token is a bearer token, instead of username and password; left out: none.
	Token string `yaml:"token" rule:"secret"`
	// TLS names PEM files, for https URLs.
	TLS TLS `yaml:"tls"`
	// Timeout of one request. Default 10s.
	Timeout Duration `yaml:"timeout" rule:"range=100ms:10m"`
	// UnknownIDAfter is how long a schema id that the registry does not know is asked for again before its
	// records become dead letters. Default 30s.
	UnknownIDAfter Duration `yaml:"unknown_id_after" rule:"range=0s:24h"`
}

// Catalog is an Iceberg catalog.
type Catalog struct {
	// Type is sqlite (default), postgres, rest or glue.
	Type string `yaml:"type" rule:"enum=sqlite|postgres|rest|glue"`
	// Name of the catalog in the SQL catalogs' tables. Default lakeloader.
	Name string `yaml:"name"`
	// URI: the file of sqlite (default <warehouse>/catalog.db when that is local), a postgres:// URL, or the REST catalog's URL.
	URI string `yaml:"uri" rule:"secret;url"`
	// Warehouse is the name or location that a REST catalog is asked for; left out: the warehouse's location.
	Warehouse string `yaml:"warehouse"`
	// Credential is client_id:client_secret for OAuth2 of a REST catalog; left out: none.
	Credential string `yaml:"credential" rule:"secret"`
	// Token is a bearer token for a REST catalog; left out: none.
	Token string `yaml:"token" rule:"secret"`
	// TLS names PEM files, for the https URL of a REST catalog and of its OAuth2 server.
	TLS TLS `yaml:"tls"`
	// Namespace is the database of the tables. Default lake.
	Namespace string `yaml:"namespace"`
	// Properties are passed on to the catalog client. Left out: none.
	Properties map[string]string `yaml:"properties"`
}

// Warehouse is where data files go.
type Warehouse struct {
	// Location is a local folder (default ./lake) or s3://bucket/prefix.
	Location string `yaml:"location"`
	// S3 settings, for s3:// locations. Credentials left out come from the usual AWS chain.
	S3 S3 `yaml:"s3"`
}

// S3 is how to reach an S3 service.
type S3 struct {
	// Endpoint is the URL of an S3 compatible service; left out: AWS.
	Endpoint string `yaml:"endpoint" rule:"url"`
	// Region, default us-east-1.
	Region string `yaml:"region"`
	// AccessKey is the access key id; left out: from the usual AWS chain.
	AccessKey string `yaml:"access_key"`
	// SecretKey is the secret access key; left out: from the usual AWS chain.
	SecretKey string `yaml:"secret_key" rule:"secret"`
	// SessionToken goes with temporary keys; left out: none.
	SessionToken string `yaml:"session_token" rule:"secret"`
	// RoleARN is a role to assume with the keys, or with what the usual AWS chain gives; left out: none.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is what the role's owner asks for; left out: none.
	ExternalID string `yaml:"external_id"`
	// SessionName names the session of the role in AWS's logs. Default lakeloader, when there is a role.
	SessionName string `yaml:"session_name"`
	// STSEndpoint is the URL of a service that gives role credentials, beside a service other than AWS; left out: AWS's in the region.
	STSEndpoint string `yaml:"sts_endpoint" rule:"url"`
	// Encryption of what is written: none (default: as the bucket is set up), sse-s3 or sse-kms.
	Encryption string `yaml:"encryption" rule:"enum=none|sse-s3|sse-kms"`
	// KMSKey is the id or ARN of the key for sse-kms; left out: AWS's own for S3.
	KMSKey string `yaml:"kms_key"`
	// CA is a PEM file of certificate authorities to trust; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
	// PathStyle puts the bucket into the path. Default: true with an endpoint, else false.
	PathStyle *bool `yaml:"path_style"`
	// PartSize is the size of the parts of an upload. Default 8MiB.
	PartSize Bytes `yaml:"part_size" rule:"range=5MiB:5GiB"`
}
