//go:build stack && engines

package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the application's driver

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// An application changes a table of a real PostgreSQL at random, while Debezium, which tells of it in JSON, and the loader, which keeps the
// present rows, are killed again and again. In the end the lake has the database's rows.
func TestEnginesChangeData(t *testing.T) {
	t.Parallel()
	pg, name := stacktest.StartLogicalPostgres(t), strings.ReplaceAll(stacktest.Name("cdc"), "-", "")
	app := newApplication(t, "pgx", pg.URL())
	app.upsert = `INSERT INTO items VALUES (%[1]d, '%[2]s', %[3]s, DATE '2026-01-01' + %[1]d, TIMESTAMP '2026-01-01 00:00:00.000001' + %[1]d * INTERVAL '1 hour 1 microsecond',
		TIMESTAMPTZ '2026-01-01 00:00:00Z' - %[1]d * INTERVAL '1 minute', %[4]v)
		ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, amount = EXCLUDED.amount, at = EXCLUDED.at, ok = NULL`
	app.present = `SELECT concat_ws('|', id, coalesce(name, '~'), coalesce(amount::text, '~'), coalesce(born::text, '~'), coalesce((extract(epoch FROM at) * 1000000)::bigint::text, '~'),
		coalesce((extract(epoch FROM seen) * 1000000)::bigint::text, '~'), coalesce(ok::text, '~')) FROM items ORDER BY id`
	app.do(`CREATE TABLE items (id bigint PRIMARY KEY, name text, amount numeric(10,2), born date, at timestamp, seen timestamptz, ok boolean)`)
	app.crashes("io.debezium.connector.postgresql.PostgresConnector", pg.URL(), name+".public.items", map[string]string{"name": name, "database.dbname": "lakeloader",
		"plugin.name": "pgoutput", "slot.name": name, "publication.name": name, "topic.prefix": name, "table.include.list": "public.items"},
		`value: {format: json, columns: [{name: id, type: long}, {name: name, type: string}, {name: amount, type: "decimal(10,2)"}, {name: born, type: date},
      {name: at, type: timestamp}, {name: seen, type: timestamptz}, {name: ok, type: boolean}]}
    key: {format: json, columns: [{name: id, type: long}]}`)
}

// The same with a MariaDB, in Avro with the registry.
func TestEnginesChangeDataMariaDB(t *testing.T) {
	t.Parallel()
	db, name := stacktest.StartBinlogMariaDB(t), strings.ReplaceAll(stacktest.Name("cdc"), "-", "")
	app := newApplication(t, "mysql", "lakeloader:lakeloader-secret@tcp("+db.Addr()+")/lakeloader?time_zone=%27%2B00%3A00%27")
	app.upsert = `INSERT INTO items VALUES (%[1]d, '%[2]s', %[3]s, DATE '2026-01-01' + INTERVAL %[1]d DAY, TIMESTAMP '2026-01-01 00:00:00.000001' + INTERVAL %[1]d HOUR + INTERVAL %[1]d MICROSECOND,
		TIMESTAMP '2026-01-01 00:00:00' - INTERVAL %[1]d MINUTE, %[4]v)
		ON DUPLICATE KEY UPDATE name = VALUES(name), amount = VALUES(amount), at = VALUES(at), ok = NULL`
	app.present = `SELECT concat_ws('|', id, coalesce(name, '~'), coalesce(amount, '~'), coalesce(born, '~'), coalesce(timestampdiff(MICROSECOND, '1970-01-01', at), '~'),
		coalesce(timestampdiff(MICROSECOND, '1970-01-01', seen), '~'), CASE WHEN ok IS NULL THEN '~' WHEN ok THEN 'true' ELSE 'false' END) FROM items ORDER BY id`
	app.do(`CREATE TABLE items (id bigint PRIMARY KEY, name text, amount numeric(10,2), born date, at datetime(6), seen timestamp(6) NULL, ok boolean)`)
	connector := map[string]string{"name": name, "database.server.id": "4243", "database.include.list": "lakeloader", "topic.prefix": name, "table.include.list": "lakeloader.items",
		"include.schema.changes": "false", "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory", "schema.history.internal.file.filename": t.TempDir() + "/history"}
	avroConverters(t, connector)
	app.crashes("io.debezium.connector.mariadb.MariaDbConnector", db.URL(), name+".lakeloader.items", connector, "value: {format: avro}\n    key: {format: avro}")
}

// avroConverters has a connector write Avro with the registry.
func avroConverters(t *testing.T, connector map[string]string) {
	t.Helper()
	registry, ok := strings.CutSuffix(stacktest.Registry(t), "/apis/ccompat/v7")
	if !ok {
		t.Fatalf("%s is no Apicurio registry", stacktest.Registry(t))
	}
	for _, side := range []string{"key", "value"} {
		connector[side+".converter"] = "io.apicurio.registry.utils.converter.AvroConverter"
		for k, v := range map[string]string{"url": registry + "/apis/registry/v2", "auto-register": "true", "headers.enabled": "false", "as-confluent": "true", "use-id": "contentId"} {
			connector[side+".converter.apicurio.registry."+k] = v
		}
	}
}

// connectorOf is what a connector needs to know of a database.
func connectorOf(t *testing.T, class, at string, more map[string]string) map[string]string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	connector := map[string]string{"connector.class": class, "database.hostname": u.Hostname(), "database.port": u.Port(), "database.user": u.User.Username(), "database.password": secret}
	for k, v := range more {
		connector[k] = v
	}
	return connector
}

func firstLine(have, want []string) string {
	for i := range max(len(have), len(want)) {
		if i >= len(have) || i >= len(want) || have[i] != want[i] {
			return fmt.Sprintf("%q, want %q", have[min(i, len(have)):min(i+1, len(have))], want[min(i, len(want)):min(i+1, len(want))])
		}
	}
	return "none"
}

// registered tells whether the registry has a subject.
func registered(t *testing.T, subject string) (bool, any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, stacktest.Registry(t)+"/subjects/"+subject+"/versions/latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	return res.StatusCode == http.StatusOK, errors.Join(errors.New(res.Status), res.Body.Close())
}

// application changes a table.
type application struct {
	t       *testing.T
	db      *sql.DB
	rnd     *rand.Rand
	changes int
	// upsert takes id, name, amount and ok; present gives the rows as lines.
	upsert, present string
}

func newApplication(t *testing.T, driver, dsn string) *application {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &application{t: t, db: db, rnd: rand.New(rand.NewPCG(7, 7))}
}

// crashes lets the application go on while everything else is killed, and compares the present rows with the application's.
func (a *application) crashes(class, at, topic string, connector map[string]string, decode string) {
	t := a.t
	t.Helper()
	l := folderLake(t)
	a.some(300) // which the connector reads as a snapshot
	stacktest.CreateTopic(t, stacktest.Kafka(t), topic, 2, nil)
	connector["skipped.operations"] = "none"
	connect := stacktest.StartConnect(t, connectorOf(t, class, at, connector))
	l.yaml += "jobs: {current: {schedule: \"@every 1s\"}}\n"
	config := configure(t, l, fmt.Sprintf(`- name: items
  source: {topics: [%s]}
  decode:
    %s
    changes: {form: debezium}
  table: {name: items_log, current: {table: items, key: [id]}}
  commit: {interval: 1s}
`, topic, decode))
	if !strings.Contains(decode, "json") {
		until(t, "the connector has registered its schemas", func() (bool, any) { return registered(t, topic+"-value") })
	}
	loader := stacktest.StartDaemon(t, config)
	// A connector that is killed before it has noted that its snapshot is done takes another one, which tells nothing of rows deleted meanwhile.
	a.some(20)
	until(t, "the connector has noted where it is behind its snapshot", func() (bool, any) {
		noted, err := os.ReadFile(filepath.Join(connect.Dir(), "offsets"))
		return err == nil && behindSnapshot(noted), fmt.Sprintf("%q, %v", noted, err)
	})
	for range setting(t, "CHANGE_ROUNDS", 6) {
		a.some(a.rnd.IntN(setting(t, "CHANGES", 600)))
		loader.Kill()
		loader = stacktest.StartDaemon(t, config)
		a.some(a.rnd.IntN(setting(t, "CHANGES", 600)))
		connect.Kill()
		connect.Start()
	}
	a.do(`TRUNCATE TABLE items`)
	a.some(500)
	a.do(`INSERT INTO items (id, name) VALUES (-1, 'the last')`)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for last := ""; last != "true"; {
		if ctx.Err() != nil {
			t.Fatal("the last change did not come")
		}
		last = ""
		if out, _, code := stacktest.Lakeloader(t, "query", "-c", config, "SELECT count(*) > 0 AS there FROM items WHERE id = -1"); code == 0 && strings.Contains(out, "true") {
			last = "true"
		}
	}
	stopped(t, loader)
	told, _, _ := stacktest.Lakeloader(t, "query", "-c", config, "SELECT count(*) AS n, count(DISTINCT _position) AS changes FROM items_log")
	t.Logf("%d statements; the log has (rows, different changes) %s; %s", a.changes, told, job(t, config, "current"))
	verified(t, config)
	want := a.rows()
	got := stacktest.DuckDB(t, l.named("items"), stacktest.Read{SQL: []string{`SELECT concat_ws('|', id, coalesce(name, '~'), coalesce(CAST(amount AS VARCHAR), '~'), coalesce(CAST(born AS VARCHAR), '~'),
		coalesce(CAST(epoch_us("at") AS VARCHAR), '~'), coalesce(CAST(epoch_us(seen) AS VARCHAR), '~'), coalesce(CAST(CAST(ok AS BOOLEAN) AS VARCHAR), '~')) FROM {source} ORDER BY id`}})
	var have []string
	for _, r := range got.Results[0] {
		have = append(have, fmt.Sprint(r[0]))
	}
	if strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("the lake has %d rows, the database %d; first difference: %s", len(have), len(want), firstLine(have, want))
	}
	if r := stacktest.PyIceberg(t, l.named("items"), stacktest.Read{}); r.Rows != int64(len(want)) {
		t.Errorf("PyIceberg finds %d rows, of %d", r.Rows, len(want))
	}
}

// behindSnapshot reads what a connector has noted: a position of PostgreSQL or MariaDB, which is not one within the snapshot.
func behindSnapshot(noted []byte) bool {
	has := func(text string) bool { return bytes.Contains(noted, []byte(text)) }
	return has(`"snapshot_completed":true`) || (has(`"lsn"`) || has(`"pos"`)) && !has(`"snapshot"`)
}

func (a *application) do(statements ...string) {
	a.t.Helper()
	tx, err := a.db.BeginTx(a.t.Context(), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, statement := range statements {
		a.changes++
		if _, err := tx.ExecContext(a.t.Context(), statement); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		a.t.Fatal(err)
	}
}

// some makes n changes, several of them in one transaction now and then, also of the same row.
func (a *application) some(n int) {
	a.t.Helper()
	for range n {
		id := a.rnd.IntN(400)
		switch a.rnd.IntN(5) {
		case 0:
			a.do(fmt.Sprintf(`DELETE FROM items WHERE id = %d`, id))
		case 1:
			a.do(fmt.Sprintf(`UPDATE items SET amount = amount + 1 WHERE id %% 7 = %d`, id%7), fmt.Sprintf(`UPDATE items SET name = concat(name, '+') WHERE id = %d`, id))
		default:
			a.do(fmt.Sprintf(a.upsert, id, fmt.Sprintf("n%d", a.changes), fmt.Sprintf("%d.%02d", a.rnd.IntN(2000)-1000, a.rnd.IntN(100)), a.rnd.IntN(2) == 0))
		}
	}
}

// rows are the table's, as lines.
func (a *application) rows() (lines []string) {
	a.t.Helper()
	rows, err := a.db.QueryContext(a.t.Context(), a.present)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }() // its error is that of Err
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			a.t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		a.t.Fatal(err)
	}
	return lines
}
