package schemas

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/riferrei/srclient"
)

// ErrIncompatible means that the registry does not take a schema beside those that its subject has.
var ErrIncompatible = errors.New("the schema registry refuses the schema")

// Register registers a schema under a subject, which may have it already, and gives its id. kind is AVRO, PROTOBUF or JSON.
func (c *RegistryClient) Register(ctx context.Context, subject, kind, text string) (int, error) {
	q := c.ask(ctx)
	s, err := q.client.CreateSchema(subject, text, srclient.SchemaType(kind))
	if err == nil {
		return s.ID(), nil
	}
	if q.status == http.StatusConflict || q.status == http.StatusUnprocessableEntity {
		return 0, fmt.Errorf("%w: subject %s at %s: %s; choose another subject, or change its compatibility", ErrIncompatible, subject, c.name(), shorten(err.Error(), 300))
	}
	return 0, q.classify("registering a schema for subject "+subject, err)
}
