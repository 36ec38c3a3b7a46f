package measures

import (
	"database/sql"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the expected files anew")

// tree is what DuckDB's parser makes of a statement.
func (l *lake) tree(text string) []byte {
	l.t.Helper()
	marked, err := Mark(text)
	if err != nil {
		l.t.Fatal(err)
	}
	var tree string
	if err := l.db.QueryRow("SELECT CAST(json_serialize_sql(" + DuckDB.quote(marked) + ") AS VARCHAR)").Scan(&tree); err != nil {
		l.t.Fatal(err)
	}
	return []byte(tree)
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestSQLRefuses(t *testing.T) {
	l := open(t)
	for _, line := range lines(t, "testdata/refused.txt") {
		text, want, ok := strings.Cut(line, " => ")
		if !ok {
			continue
		}
		_, err := Mark(text)
		if err == nil {
			_, err = ParseSQL(l.tree(text), rowType)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  says %v\n  and not %s", text, err, want)
		}
	}
}

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./measures -rewrite writes it anew):\n%s", file, got)
	}
}

// TestSQLRenders: what is accepted, in each dialect; DuckDB answers the text as it was written and the rendered one alike.
func TestSQLRenders(t *testing.T) {
	l := open(t)
	l.fill(3000, 1)
	var b strings.Builder
	for _, text := range lines(t, "testdata/accepted.sql") {
		s, err := ParseSQL(l.tree(text), rowType)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		day, err := DayCondition(DuckDB, rowType.Fields[rowType.Index("ts")].Type, []string{"ts"}, nil, date(2026, 11, 1))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(text + "\n")
		for _, d := range []Dialect{DuckDB, Trino, Spark} {
			out, err := s.Render(d, "DAY")
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString("  " + string(d) + ": " + out + "\n")
		}
		out, err := s.Render(DuckDB, day)
		if err != nil {
			t.Fatal(err)
		}
		first := strings.ReplaceAll(text, "{{day}}", day)
		if n := l.count("(" + first + ") EXCEPT ALL (" + out + ")"); n != 0 {
			t.Errorf("%d rows of %s are not in %s", n, first, out)
		}
		if n, m := l.count(first), l.count(out); n != m || n == 0 {
			t.Errorf("%d and %d rows of %s", n, m, text)
		}
	}
	golden(t, "testdata/accepted.txt", b.String())
}

func (l *lake) count(text string) (n int) {
	l.t.Helper()
	if err := l.db.QueryRow("SELECT count(*) FROM (" + text + ")").Scan(&n); err != nil && err != sql.ErrNoRows {
		l.t.Fatalf("%s: %v", text, err)
	}
	return n
}

// fill makes a source of n rows around the first of November 2026: nulls, ties of time, texts of other scripts.
func (l *lake) fill(n, seed int) {
	l.t.Helper()
	r := func(k string) string { return "(hash(i * 64 + " + k + " + " + strconv.Itoa(seed) + ") >> 8)::BIGINT" }
	l.exec("CREATE OR REPLACE TABLE source (" + rowColumns + ")")
	l.exec(`INSERT INTO source SELECT i, (` + r("1") + ` % 7)::INT, CASE ` + r("2") + ` % 5 WHEN 0 THEN 'de' WHEN 1 THEN 'DE' WHEN 2 THEN ' ü ' WHEN 3 THEN 'it''s' END,
	 CASE WHEN ` + r("3") + ` % 11 > 0 THEN ((` + r("4") + ` % 2000001) - 1000000) / 100 END, CASE WHEN ` + r("5") + ` % 13 > 0 THEN ((` + r("6") + ` % 200001) - 50000) / 7 END,
	 (` + r("7") + ` % 1000) / 8, CASE WHEN ` + r("8") + ` % 17 > 0 THEN (` + r("9") + ` % 1500)::VARCHAR END, ` + r("10") + ` % 2 = 0, DATE '2026-01-01' + (` + r("11") + ` % 99)::INT,
	 TIMESTAMP '2026-11-01 00:00:00' + to_seconds(` + r("12") + ` % 200000), md5((` + r("13") + ` % 50)::VARCHAR)::UUID, encode(i::VARCHAR),
	 CASE WHEN ` + r("14") + ` % 9 > 0 THEN {'city': 'c' || (` + r("15") + ` % 20), 'zip': (` + r("16") + ` % 100)::INT} END, ['a'],
	 TIMESTAMPTZ '2026-10-31 20:00:00+00' + to_seconds(` + r("17") + ` % 180000), (i % 4)::INT, i // 4 FROM range(` + strconv.Itoa(n) + `) t(i)`)
}
