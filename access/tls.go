// Package access is who lakeloader is to servers, and which servers it trusts: TLS from PEM files, identities in AWS.
package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/lakeloader/lakeloader/configs"
)

// TLS returns a client's settings. path names the setting in errors, e.g. registry.tls. The host's name is verified unless
// skip_verify is set. The client's certificate is read anew for every connection, so that one that was renewed is taken
// up.
func TLS(path string, cfg configs.TLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: cfg.SkipVerify} //nolint:gosec // it is the user's choice
	if cfg.CA != "" {
		pool, err := pool(path+".ca_file", cfg.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if cfg.Cert == "" {
		return c, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("%s: the certificate %s with the key %s cannot be used: %w", path, cfg.Cert, cfg.Key, err)
		}
		return &pair, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	c.GetClientCertificate = load
	return c, nil
}

func pool(path, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", path, file)
	}
	return pool, nil
}

// Advice says what to do about an error of a TLS connection whose settings are at path; "" when it is not of TLS.
func Advice(path string, err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var roots x509.SystemRootsError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or is not good yet by this machine's clock"
	case errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &roots):
		return path + ".ca_file must hold the authority that signed the server's certificate"
	case errors.As(err, &host):
		return "the server's certificate is for another host: write the name that is in it"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS: write http://, or its other port"
	case refusesUs(err):
		return "the server wants another client certificate: check " + path + ".cert_file and key_file"
	}
	return ""
}

// Certificate reports whether err is of a certificate, ours or the server's: waiting does not cure it.
func Certificate(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification) || refusesUs(err)
}

// refusesUs recognizes a server's alert about the client's certificate. crypto/tls has no type for it.
func refusesUs(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	text := op.Err.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "handshake failure")
}
