package query

import (
	"errors"
	"io"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// sample has one row of values that are hard to write, one of nulls.
func sample() *Result {
	day := time.Date(2026, 2, 28, 12, 30, 0, 5000, time.UTC)
	var m duckdb.OrderedMap
	m.Set(int64(2), day)
	m.Set(int64(1), nil)
	r := &Result{Columns: []string{"id", "text", "money", "real", "tags", "at", "at", "all", "bytes"},
		Types: []string{"BIGINT", "VARCHAR", "DECIMAL(12,2)", "DOUBLE", "MAP(BIGINT, DATE)", "TIMESTAMPTZ", "DATE", `STRUCT("z" UUID[], "a,b ""c" TIME)`, "BLOB"},
		Rows: [][]any{{int64(-7), "a \"quoted\", text\n\x1b[31mred <b>é", duckdb.Decimal{Width: 12, Scale: 2, Value: big.NewInt(-5)}, math.NaN(), m, day, day,
			map[string]any{"z": []any{make([]byte, 16), nil}, `a,b "c`: day}, []byte{0, 255}}, make([]any, 9)}}
	return r
}

func TestRenderJSON(t *testing.T) {
	const want = `{"id":-7,"text":"a \"quoted\", text\n\u001b[31mred <b>é","money":"-0.05","real":"NaN","tags":{"2":"2026-02-28","1":null},"at":"2026-02-28T12:30:00.000005Z","at_2":"2026-02-28","all":{"z":["00000000-0000-0000-0000-000000000000",null],"a,b \"c":"12:30:00.000005"},"bytes":"AP8="}
{"id":null,"text":null,"money":null,"real":null,"tags":null,"at":null,"at_2":null,"all":null,"bytes":null}
`
	golden(t, want, (*Result).WriteJSON)
}

func TestRenderCSV(t *testing.T) {
	const want = "id,text,money,real,tags,at,at,all,bytes\n" +
		"-7,\"a \"\"quoted\"\", text\n\x1b[31mred <b>é\",-0.05,NaN,\"{\"\"2\"\":\"\"2026-02-28\"\",\"\"1\"\":null}\",2026-02-28T12:30:00.000005Z,2026-02-28,\"{\"\"z\"\":[\"\"00000000-0000-0000-0000-000000000000\"\",null],\"\"a,b \\\"\"c\"\":\"\"12:30:00.000005\"\"}\",AP8=\n" +
		",,,,,,,,\n"
	golden(t, want, (*Result).WriteCSV)
}

func TestRenderTable(t *testing.T) {
	const want = `  id  text                                money  real  tags                         at                           at          all                                                                              bytes
----  ----------------------------------  -----  ----  ---------------------------  ---------------------------  ----------  -------------------------------------------------------------------------------  -----
  -7  a "quoted", text\n\x1b[31mred <b>é  -0.05   NaN  {"2":"2026-02-28","1":null}  2026-02-28T12:30:00.000005Z  2026-02-28  {"z":["00000000-0000-0000-0000-000000000000",null],"a,b \"c":"12:30:00.000005"}  AP8=
NULL  NULL                                 NULL  NULL  NULL                         NULL                         NULL        NULL                                                                             NULL
(2 rows)
`
	golden(t, want, (*Result).WriteTable)
	empty := &Result{Columns: []string{"n"}, Types: []string{"BIGINT"}}
	var b strings.Builder
	if err := empty.WriteTable(&b); err != nil || b.String() != "n\n-\n(0 rows)\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func golden(t *testing.T, want string, write func(*Result, io.Writer) error) {
	t.Helper()
	var b strings.Builder
	if err := write(sample(), &b); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("\n%s\nwant\n%s", b.String(), want)
	}
	if err := write(sample(), full{}); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestShapes(t *testing.T) {
	for typ, want := range map[string]string{
		"BIGINT":               "BIGINT",
		"DECIMAL(38,10)[]":     "LIST(DECIMAL(38,10))",
		"INTEGER[2][]":         "LIST(LIST(INTEGER))",
		"MAP(VARCHAR, DATE[])": "MAP(VARCHAR LIST(DATE))",
		`STRUCT("a" DATE, "b c" STRUCT(x MAP(UUID, TIME))[])`: "STRUCT(DATE LIST(STRUCT(MAP(UUID TIME))))",
		`STRUCT("a""b, c" DATE)`:                              "STRUCT(DATE)",
		`UNION("num" INTEGER)`:                                `UNION("num" INTEGER)`,
		"STRUCT(":                                             "STRUCT(",
		"MAP(VARCHAR":                                         "MAP(VARCHAR",
		`STRUCT("a DATE)`:                                     `STRUCT("a DATE)`,
		"":                                                    "",
		"ENUM('a', 'b')":                                      "ENUM('a', 'b')",
		"TIMESTAMP WITH TIME ZONE":                            "TIMESTAMP WITH TIME ZONE",
	} {
		if got := describe(shapeOf(typ)); got != want {
			t.Errorf("%s: %s, want %s", typ, got, want)
		}
	}
	if s := shapeOf(`STRUCT("a""b, c" DATE, d TIME)`); s.names[0] != `a"b, c` || s.names[1] != "d" {
		t.Errorf("%q", s.names)
	}
}

func describe(s shape) string {
	if len(s.fields) == 0 {
		return s.base
	}
	var fields []string
	for _, f := range s.fields {
		fields = append(fields, describe(f))
	}
	return s.base + "(" + strings.Join(fields, " ") + ")"
}

func FuzzShape(f *testing.F) {
	for _, s := range []string{"STRUCT(\"a\" DATE[])", "MAP(A, B)[3]", "DECIMAL(3,1)", "STRUCT(\"\"\"", "[]", "A[", "STRUCT( )"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typ string) {
		s := shapeOf(typ)
		plain(map[string]any{"a": []any{1}}, s)
		plain([]any{time.Time{}}, s)
	})
}

func TestNames(t *testing.T) {
	for text, want := range map[string]name{
		"t":                  {"", "t"},
		"lake.t":             {"lake", "t"},
		"db.lake.t":          {"lake", "t"},
		`"a.b"`:              {"", "a.b"},
		`lake."q.r" AS z`:    {"lake", "q.r"},
		`"we""ird" AS "x.y"`: {"", `we"ird`},
		`"with AS in" AS c`:  {"", "with AS in"},
		"":                   {"", ""},
	} {
		if got := parseName(text); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}
