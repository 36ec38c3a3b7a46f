//go:build stack && engines

package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the application's driver

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// An application changes a table of a real PostgreSQL at random, while Debezium, which tells of it, and the loader, which keeps the present
// rows, are killed again and again. In the end the lake has the database's rows.
func TestEnginesChangeData(t *testing.T) {
	t.Parallel()
	const topicPrefix = "public.items"
	pg, l, name := stacktest.StartLogicalPostgres(t), folderLake(t), strings.ReplaceAll(stacktest.Name("cdc"), "-", "")
	db, err := sql.Open("pgx", pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	app := &application{t: t, db: db, rnd: rand.New(rand.NewPCG(7, 7))}
	app.do(`CREATE TABLE items (id bigint PRIMARY KEY, name text, amount numeric(10,2), born date, at timestamp, seen timestamptz, ok boolean)`)
	app.some(300) // which the connector reads as a snapshot
	topic := name + "." + topicPrefix
	stacktest.CreateTopic(t, stacktest.Kafka(t), topic, 2, nil)
	u, err := url.Parse(pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	connector := stacktest.StartConnect(t, map[string]string{"name": name, "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
		"database.hostname": u.Hostname(), "database.port": u.Port(), "database.user": u.User.Username(), "database.password": secret, "database.dbname": strings.Trim(u.Path, "/"),
		"plugin.name": "pgoutput", "slot.name": name, "publication.name": name, "topic.prefix": name, "table.include.list": topicPrefix, "skipped.operations": "none"})
	l.yaml += "jobs: {current: {schedule: \"@every 1s\"}}\n"
	config := configure(t, l, fmt.Sprintf(`- name: items
  source: {topics: [%s]}
  decode:
    value: {format: json, columns: [{name: id, type: long}, {name: name, type: string}, {name: amount, type: "decimal(10,2)"}, {name: born, type: date},
      {name: at, type: timestamp}, {name: seen, type: timestamptz}, {name: ok, type: boolean}]}
    key: {format: json, columns: [{name: id, type: long}]}
    changes: {form: debezium}
  table: {name: items_log, current: {table: items, key: [id]}}
  commit: {interval: 1s}
`, topic))
	loader := stacktest.StartDaemon(t, config)
	for range setting(t, "CHANGE_ROUNDS", 6) {
		app.some(app.rnd.IntN(setting(t, "CHANGES", 600)))
		loader.Kill()
		loader = stacktest.StartDaemon(t, config)
		app.some(app.rnd.IntN(setting(t, "CHANGES", 600)))
		connector.Kill()
		connector.Start()
	}
	app.do(`TRUNCATE items`)
	app.some(500)
	app.do(`INSERT INTO items (id, name) VALUES (-1, 'the last')`)
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
	t.Logf("%d statements; the log has (rows, different changes) %s; %s", app.changes, told, job(t, config, "current"))
	verified(t, config)
	want := app.rows()
	got := stacktest.DuckDB(t, l.named("items"), stacktest.Read{SQL: []string{`SELECT concat_ws('|', id, coalesce(name, '~'), coalesce(CAST(amount AS VARCHAR), '~'), coalesce(CAST(born AS VARCHAR), '~'),
		coalesce(CAST(epoch_us("at") AS VARCHAR), '~'), coalesce(CAST(epoch_us(seen) AS VARCHAR), '~'), coalesce(CAST(ok AS VARCHAR), '~')) FROM {source} ORDER BY id`}})
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

func firstLine(have, want []string) string {
	for i := range max(len(have), len(want)) {
		if i >= len(have) || i >= len(want) || have[i] != want[i] {
			return fmt.Sprintf("%q, want %q", have[min(i, len(have)):min(i+1, len(have))], want[min(i, len(want)):min(i+1, len(want))])
		}
	}
	return "none"
}

// application changes a table.
type application struct {
	t       *testing.T
	db      *sql.DB
	rnd     *rand.Rand
	changes int
}

func (a *application) do(statement string, args ...any) {
	a.t.Helper()
	a.changes++
	if _, err := a.db.ExecContext(a.t.Context(), statement, args...); err != nil {
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
			a.do(`DELETE FROM items WHERE id = $1`, id)
		case 1:
			a.do(fmt.Sprintf(`BEGIN; UPDATE items SET amount = amount + 1 WHERE id %% 7 = %d; UPDATE items SET name = name || '+' WHERE id = %d; COMMIT`, id%7, id))
		default:
			a.do(`INSERT INTO items VALUES ($1, $2, $3::numeric, DATE '2026-01-01' + $4::int, TIMESTAMP '2026-01-01 00:00:00.000001' + $4::int * INTERVAL '1 hour 1 microsecond',
				TIMESTAMPTZ '2026-01-01 00:00:00Z' - $4::int * INTERVAL '1 minute', $5)
				ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, amount = EXCLUDED.amount, at = EXCLUDED.at, ok = NULL`,
				id, fmt.Sprintf("n%d", a.changes), fmt.Sprintf("%d.%02d", a.rnd.IntN(2000)-1000, a.rnd.IntN(100)), id, a.rnd.IntN(2) == 0)
		}
	}
}

// rows are the table's, as lines.
func (a *application) rows() (lines []string) {
	a.t.Helper()
	rows, err := a.db.QueryContext(a.t.Context(), `SELECT concat_ws('|', id, coalesce(name, '~'), coalesce(amount::text, '~'), coalesce(born::text, '~'),
		coalesce((extract(epoch FROM at) * 1000000)::bigint::text, '~'), coalesce((extract(epoch FROM seen) * 1000000)::bigint::text, '~'), coalesce(ok::text, '~')) FROM items ORDER BY id`)
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
