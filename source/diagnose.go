package source

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/configs"
)

// diagnoseTimeout bounds the search for what is wrong with a certificate.
const diagnoseTimeout = 3 * time.Second

// diagnose finds out why a TLS connection failed, which librdkafka does not tell: expired, of another host or of an unknown
// authority. e is completed in place.
func diagnose(ctx context.Context, k configs.Kafka, e *Error) {
	if e.Kind != TLS || certificateRefused(e.Err.Error()) {
		return
	}
	for name := range k.Properties {
		if strings.HasPrefix(name, "ssl.") { // settings that are not known here
			return
		}
	}
	secure, err := access.TLS("kafka.tls", k.TLS)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	d := tls.Dialer{Config: secure}
	for _, broker := range k.Brokers {
		conn, err := d.DialContext(ctx, "tcp", broker)
		if err == nil {
			_ = conn.Close()
			continue
		}
		if advice := access.Advice("kafka.tls", err); advice != "" {
			e.Hint = "broker " + broker + ": " + advice
			return
		}
	}
}
