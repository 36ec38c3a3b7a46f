package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"

	icecat "github.com/apache/iceberg-go/catalog"
	icerest "github.com/apache/iceberg-go/catalog/rest"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"
	"github.com/aws/smithy-go"
	"github.com/jackc/pgx/v5/pgconn"
	moderncsqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// delivery follows the one request that decides a commit below iceberg-go, which hides it: was it sent, and was there an
// answer? It travels in the context; the PostgreSQL tracer and the HTTP clients fill it in.
type delivery struct {
	writing atomic.Bool // PostgreSQL: the transaction has changed something, so its COMMIT is the one
	sent    atomic.Bool
	status  atomic.Int32 // of the HTTP answer; 0: none
}

type deliveryKey struct{}

func deliveryOf(ctx context.Context) *delivery {
	d, _ := ctx.Value(deliveryKey{}).(*delivery)
	return d
}

// commit sends updates to the catalog, once. Its error is classified; a conflict certainly did not land.
func (l *lake) commit(ctx context.Context, tbl *icetable.Table, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, error) {
	d := &delivery{}
	meta, _, err := l.backend.CommitTable(context.WithValue(l.context(ctx), deliveryKey{}, d), tbl.Identifier(), reqs, updates)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.where, l.commitError(err, d))
	}
	return meta, nil
}

func (l *lake) commitError(err error, d *delivery) error {
	if errors.Is(err, table.ErrUnknown) {
		return err
	}
	if l.kind == rest {
		return restCommitError(err, d)
	}
	if conflict(err) {
		return fmt.Errorf("%w: %w", table.ErrConflict, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Other commits have pushed the metadata file out of the log while the catalog was on its way to it.
		return fmt.Errorf("%w: %w", table.ErrRetry, err)
	}
	switch l.kind {
	case glue:
		if d.sent.Load() {
			return glueCommitError(err, d)
		}
	case postgres:
		if d.sent.Load() {
			return postgresCommitError(err)
		}
	case sqlite:
		// A failed COMMIT is rolled back by the driver, so only an I/O error leaves open what reached the disk.
		if code := sqliteCode(err); code == sqlite3.SQLITE_IOERR {
			return fmt.Errorf("%w: %w", table.ErrUnknown, err)
		}
	}
	return passing(err)
}

// conflict recognizes a stale base. iceberg-go's requirements fail with a plain text.
func conflict(err error) bool {
	return errors.Is(err, table.ErrConflict) || errors.Is(err, icetable.ErrCommitFailed) ||
		strings.HasPrefix(strings.ToLower(err.Error()), "requirement failed")
}

func restCommitError(err error, d *delivery) error {
	switch status := int(d.status.Load()); {
	case status == 0 && !d.sent.Load():
		return passing(err)
	case status == http.StatusConflict:
		return fmt.Errorf("%w: %w", table.ErrConflict, err)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", table.ErrNoTable, err)
	case status == http.StatusTooManyRequests, status == 419: // throttled; token expired
		return fmt.Errorf("%w: %w", table.ErrRetry, err)
	case status >= 400 && status < 500:
		return passing(err)
	}
	return fmt.Errorf("%w: %w", table.ErrUnknown, err)
}

func glueCommitError(err error, d *delivery) error {
	var gone *types.EntityNotFoundException
	switch status := int(d.status.Load()); {
	case errors.As(err, &gone):
		return fmt.Errorf("%w: %w", table.ErrNoTable, err)
	case status >= 400 && status < 500:
		return passing(err)
	}
	return fmt.Errorf("%w: %w", table.ErrUnknown, err)
}

// postgresCommitError is for errors after COMMIT was sent. An error that the server itself answered means a rollback,
// except when it was shutting down and may have answered after the deed.
func postgresCommitError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && !hasClass(pg.Code, "08", "57", "58", "XX") {
		return passing(err)
	}
	return fmt.Errorf("%w: %w", table.ErrUnknown, err)
}

func hasClass(code string, classes ...string) bool {
	for _, c := range classes {
		if strings.HasPrefix(code, c) {
			return true
		}
	}
	return false
}

// passing marks the errors that another attempt may cure with table.ErrRetry, and explains some others. Nothing of the
// change landed.
func passing(err error) error {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, table.ErrRetry), errors.Is(err, table.ErrConflict), errors.Is(err, table.ErrNoTable):
		return err
	case errors.Is(err, icecat.ErrNoSuchTable), errors.Is(err, icecat.ErrNoSuchNamespace):
		return fmt.Errorf("%w: %w", table.ErrNoTable, err)
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &pg):
		switch {
		case hasClass(pg.Code, "28"):
			return fmt.Errorf("the user or password is wrong: %w", err)
		case hasClass(pg.Code, "3D"):
			return fmt.Errorf("the database does not exist: create it or correct catalog.uri: %w", err)
		case hasClass(pg.Code, "08", "40", "53", "55", "57", "23"):
			return fmt.Errorf("%w: %w", table.ErrRetry, err)
		}
		return err
	case errors.As(err, &connect):
		return fmt.Errorf("%w: the server is unreachable: %w", table.ErrRetry, err)
	}
	if code := sqliteCode(err); code != 0 {
		return sqliteError(code, err)
	}
	return passingHTTP(err)
}

func passingHTTP(err error) error {
	var api smithy.APIError
	switch {
	case errors.Is(err, icerest.ErrUnauthorized), errors.Is(err, icerest.ErrForbidden), errors.Is(err, icerest.ErrOAuthError):
		return fmt.Errorf("the credentials are wrong or lack a permission: check catalog.credential or catalog.token: %w", err)
	case errors.Is(err, icerest.ErrServiceUnavailable), errors.Is(err, icerest.ErrServerError), errors.Is(err, icerest.ErrAuthorizationExpired):
		return fmt.Errorf("%w: %w", table.ErrRetry, err)
	case errors.As(err, &api) && credentialCode(api.ErrorCode()):
		return fmt.Errorf("the AWS credentials are wrong or lack a permission: %w", err)
	case objects.Temporary(err), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: %w", table.ErrRetry, err)
	}
	return err
}

func credentialCode(code string) bool {
	switch code {
	case "UnrecognizedClientException", "InvalidClientTokenId", "AccessDeniedException", "AccessDenied", "InvalidSignatureException",
		"ExpiredTokenException", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden":
		return true
	}
	return false
}

// sqliteCode returns the primary result code, or 0.
func sqliteCode(err error) int {
	var e *moderncsqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

func sqliteError(code int, err error) error {
	switch code {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w: %w", table.ErrRetry, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk is full: %w", err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("the catalog file or its folder cannot be written: check the path and its permissions: %w", err)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("the catalog file is no SQLite database or is damaged: %w", err)
	}
	return err
}

// readError classifies an error of anything but the deciding request: nothing landed.
func (l *lake) readError(what string, err error) error {
	return fmt.Errorf("%s: %s: %w", what, l.where, passing(err))
}
