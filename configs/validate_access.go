package configs

import (
	"net"
	"strings"
)

// sasl checks that a login has what its mechanism needs, and nothing of another one.
func (v *validator) sasl(k *Kafka) {
	s := &k.SASL
	own := k.Properties["sasl.mechanism"] + k.Properties["sasl.mechanisms"]
	switch {
	case !strings.HasPrefix(k.Security, "sasl_"):
		if *s != (SASL{}) {
			v.bad("kafka.sasl", "set kafka.security to sasl_ssl or sasl_plaintext", "sasl has no effect with security %s", k.Security)
		}
		return
	case own != "" && s.Mechanism != "":
		v.bad("kafka.sasl.mechanism", "leave out one of them", "the mechanism is set here and in kafka.properties")
	case own == "" && s.Mechanism == "":
		v.missing("kafka.sasl.mechanism", "", "security %s needs sasl.mechanism", k.Security)
	}
	if s.OAuth != nil && s.Mechanism != "OAUTHBEARER" {
		v.bad("kafka.sasl.oauth", "leave it out", "oauth is for the mechanism OAUTHBEARER, not %s", s.Mechanism)
	}
	if s.AWS != nil && s.Mechanism != "AWS_MSK_IAM" {
		v.bad("kafka.sasl.aws", "leave it out", "aws is for the mechanism AWS_MSK_IAM, not %s", s.Mechanism)
	}
	switch s.Mechanism {
	case "OAUTHBEARER", "AWS_MSK_IAM":
		if s.Username != "" || s.Password != "" {
			v.bad("kafka.sasl", "leave them out", "username and password have no effect with the mechanism %s", s.Mechanism)
		}
		if s.Mechanism == "OAUTHBEARER" {
			v.oauth(s.OAuth)
		} else if s.AWS != nil {
			v.role("kafka.sasl.aws", s.AWS.RoleARN, s.AWS.ExternalID, s.AWS.SessionName)
		}
	case "":
	default:
		if s.Username == "" {
			v.missing("kafka.sasl.username", "", "the mechanism %s needs sasl.username", s.Mechanism)
		} else if s.Password == "" {
			v.missing("kafka.sasl.password", "write ${env:NAME}", "the mechanism %s needs sasl.password", s.Mechanism)
		}
	}
}

func (v *validator) oauth(o *OAuth) {
	const path = "kafka.sasl.oauth"
	switch {
	case o == nil || o.TokenURL == "" && o.TokenFile == "":
		v.missing(path, "write token_url with client_id and client_secret, or token_file", "the mechanism OAUTHBEARER needs a source of tokens")
	case o.TokenFile != "" && (o.TokenURL != "" || o.ClientID != "" || o.ClientSecret != "" || o.Scope != "" || len(o.Parameters) > 0 || o.CA != ""):
		v.bad(path+".token_file", "leave out the others", "token_file has no use for token_url and what belongs to it")
	case o.TokenURL != "":
		v.url(path+".token_url", o.TokenURL, "http", "https")
		if o.ClientID == "" || o.ClientSecret == "" {
			v.missing(path, "", "token_url needs client_id and client_secret")
		}
	}
}

// http checks the endpoint of the daemon: other machines need a token, unless they are let in on purpose.
func (v *validator) http(h *HTTP) {
	const token = "http.token"
	if h.Token != "" && len(h.Token) < leastToken {
		v.bad(token, "openssl rand -hex 32", "token is shorter than %d characters", leastToken)
	}
	if strings.ContainsFunc(h.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		v.bad(token, "openssl rand -hex 32", "token has characters that cannot stand in a header")
	}
	switch {
	case h.TLS.Cert != "" && h.TLS.Key == "":
		v.missing("http.tls.key_file", "", "cert_file needs key_file")
	case h.TLS.Key != "" && h.TLS.Cert == "":
		v.missing("http.tls.cert_file", "", "key_file needs cert_file")
	case h.TLS.CA != "" && h.TLS.Cert == "":
		v.bad("http.tls.ca_file", "write cert_file and key_file too", "ca_file has no effect without a certificate")
	}
	if h.Address == "off" {
		return
	}
	v.address("http.address", h.Address, true)
	if h.Token != "" && h.AllowUnauthenticated {
		v.bad("http.allow_unauthenticated", "leave out one of them", "there is a token as well")
	}
	if host, _, err := net.SplitHostPort(h.Address); err == nil && !loopback(host) && h.Token == "" && !h.AllowUnauthenticated {
		v.bad("http.address", "set http.token (${env:NAME}), or http.allow_unauthenticated: true if that is meant",
			"%s can be reached from other machines, which needs http.token", v.pos.Quote("http.address", h.Address))
	}
}

// leastToken keeps tokens from being guessed.
const leastToken = 16

// loopback says whether only this machine can reach an address. A name is not asked for: where it leads may change.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
