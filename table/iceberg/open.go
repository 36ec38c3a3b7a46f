package iceberg

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	icebergo "github.com/apache/iceberg-go"
	icesql "github.com/apache/iceberg-go/catalog/sql"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// busyTimeout is how long a commit waits for another program's to leave a sqlite catalog.
const busyTimeout = 30 * time.Second

// openAttempts bounds the races of several programs that set up the same SQL catalog for the first time.
const openAttempts = 10

// Open connects to a catalog and checks that it can be used. Its errors name the catalog and what is wrong: unreachable
// (table.ErrRetry), wrong credentials, unknown type, a folder that cannot be written.
func Open(ctx context.Context, cfg configs.Catalog, wh configs.Warehouse) (table.Catalog, error) {
	root, err := objects.Root(wh)
	if err != nil {
		return nil, err
	}
	l := &lake{close: func() error { return nil }}
	props := icebergo.Properties{"warehouse": root}
	if strings.HasPrefix(root, "s3://") || cfg.Type == "glue" {
		ac, err := objects.AWSConfig(ctx, wh.S3)
		if err != nil {
			return nil, err
		}
		if wh.S3.Endpoint != "" {
			ac.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			ac.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
		l.aws = &ac
		maps.Copy(props, s3Properties(wh.S3, ac.Region))
	}
	maps.Copy(props, cfg.Properties)
	cfg.Name = cmp.Or(cfg.Name, "lakeloader")
	switch cfg.Type {
	case "", "sqlite":
		err = l.openSQLite(ctx, cfg, root, props)
	case "postgres":
		err = l.openPostgres(ctx, cfg, props)
	case "rest":
		err = l.openREST(ctx, cfg, root, props)
	case "glue":
		err = l.openGlue(ctx, cfg, wh, props)
	default:
		return nil, fmt.Errorf("catalog.type %q is unknown: it is sqlite, postgres, rest or glue", cfg.Type)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// s3Properties are iceberg-go's names of the warehouse's S3 settings.
func s3Properties(cfg configs.S3, region string) icebergo.Properties {
	// Keys are not among them: the library is given the configuration itself, and with a role they are another's.
	p := icebergo.Properties{icebergio.S3Region: region, icebergio.S3ForceVirtualAddressing: strconv.FormatBool(!objects.PathStyle(cfg))}
	if cfg.Endpoint != "" {
		p[icebergio.S3EndpointURL] = cfg.Endpoint
	}
	return p
}

func (l *lake) openSQLite(ctx context.Context, cfg configs.Catalog, root string, props icebergo.Properties) error {
	path, err := sqlitePath(cfg.URI, root)
	if err != nil {
		return err
	}
	return l.openSQLiteFile(ctx, cfg.Name, path, busyTimeout, props)
}

// openSQLiteFile opens or makes the catalog's file. Whoever finds it locked waits for up to busy.
func (l *lake) openSQLiteFile(ctx context.Context, name, path string, busy time.Duration, props icebergo.Properties) error {
	l.kind, l.where = sqlite, "catalog sqlite "+path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("%s: its folder cannot be made: %w", l.where, err)
	}
	// WAL lets readers and a writer work at once; synchronous=FULL keeps commits over a power cut; a transaction that will
	// write takes the lock at its start, where waiting for it is still possible.
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: fmt.Sprintf(
		"_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate", busy.Milliseconds())}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return fmt.Errorf("%s: %w", l.where, err)
	}
	l.close = db.Close
	return l.openSQL(ctx, name, db, icesql.SQLite, props)
}

// sqlitePath understands a path, file:// and SQLAlchemy's sqlite:/// (three slashes: relative, four: absolute).
func sqlitePath(uri, root string) (string, error) {
	if uri == "" {
		if !strings.HasPrefix(root, "file://") {
			return "", fmt.Errorf("catalog.uri is missing: with the warehouse %s, name the file of the sqlite catalog or use another catalog.type", root)
		}
		return strings.TrimPrefix(root, "file://") + "/catalog.db", nil
	}
	path := strings.TrimPrefix(strings.TrimPrefix(uri, "sqlite:///"), "file://")
	if strings.Contains(path, "://") {
		return "", errors.New("catalog.uri is no file: catalog.type sqlite wants a path") // it is not shown, since it may hold a password
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("catalog.uri %q: %w", uri, err)
	}
	return abs, nil
}

func (l *lake) openPostgres(ctx context.Context, cfg configs.Catalog, props icebergo.Properties) error {
	pc, err := pgx.ParseConfig(cfg.URI)
	if err != nil {
		return fmt.Errorf("catalog.uri is no postgres:// URL: %w", err)
	}
	l.kind, l.where = postgres, fmt.Sprintf("catalog postgres %s:%d/%s", pc.Host, pc.Port, pc.Database)
	if pc.ConnectTimeout == 0 {
		pc.ConnectTimeout = 10 * time.Second
	}
	pc.Tracer = commitTracer{}
	db := stdlib.OpenDB(*pc)
	l.close = db.Close
	db.SetConnMaxIdleTime(5 * time.Minute)
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("%s: %w", l.where, passing(err))
	}
	return l.openSQL(ctx, cfg.Name, db, icesql.Postgres, props)
}

// openSQL creates the catalog's tables if they are missing. Several programs may do so at once, and CREATE TABLE IF NOT
// EXISTS is no help: PostgreSQL reports the loser a violated key, SQLite may report a lock.
func (l *lake) openSQL(ctx context.Context, name string, db *sql.DB, dialect icesql.SupportedDialect, props icebergo.Properties) error {
	var err error
	for range openAttempts {
		var c *icesql.Catalog
		if c, err = icesql.NewCatalog(name, db, dialect, props); err == nil {
			l.backend = c
			l.close = func() error { return errors.Join(c.Close(), db.Close()) }
			return nil
		}
		if err = passing(err); !errors.Is(err, table.ErrRetry) || ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("%s: %w", l.where, err)
}

// commitTracer notes when the COMMIT of a change goes out; reading takes transactions too.
type commitTracer struct{}

func (commitTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if d := deliveryOf(ctx); d != nil {
		switch {
		case strings.HasPrefix(q.SQL, "UPDATE"):
			d.writing.Store(true)
		case strings.EqualFold(q.SQL, "commit") && d.writing.Load():
			d.sent.Store(true)
		}
	}
	return ctx
}

func (commitTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
