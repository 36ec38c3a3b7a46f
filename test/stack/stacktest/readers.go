//go:build stack

package stacktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
)

// Table says where a reader finds an Iceberg table.
type Table struct {
	Catalog   string // sqlite, postgres or rest
	URI       string // the SQLite file, or the catalog's URL
	Name      string // the catalog's name in a SQL catalog; left out: lakeloader
	Warehouse string // Spark asks for it with a SQL catalog
	Table     string // namespace.table
	S3        string // URL of the S3 server with the files; left out: the shared one
}

// Read says what of a table is wanted.
type Read struct {
	Sums     []string // columns whose sum is reported
	Where    string   // a SQL condition that rows must meet
	Snapshot int64    // as of this snapshot; 0: the current one
	Rows     bool     // the rows themselves
	SQL      []string // statements over {source}, for DuckDB, Spark and Trino
	Metadata bool     // nothing but what the metadata says, from PyIceberg
}

// Report is what a reader found; every engine prints the same form (see test/readers/lake.py).
type Report struct {
	Rows       int64             `json:"rows"`
	Partitions []Partition       `json:"partitions"`
	Columns    map[string]Column `json:"columns"`
	Data       []map[string]any  `json:"data"`    // numbers are json.Number
	Results    [][][]any         `json:"results"` // of each statement, its rows

	// Only from PyIceberg:
	Metadata   string            `json:"metadata"` // path of the metadata file
	UUID       string            `json:"uuid"`
	Schema     []Field           `json:"schema"`
	Spec       []SpecField       `json:"spec"`
	Properties map[string]string `json:"properties"`
	Snapshots  []Snapshot        `json:"snapshots"`
	Files      []File            `json:"files"`
	// Manifests are the lengths of those of the current snapshot, MetadataBytes is the length of the metadata file.
	Manifests     []int64 `json:"manifests"`
	MetadataBytes int64   `json:"metadata_bytes"`
}

// Partition is what a table holds of one partition of a topic.
type Partition struct {
	Topic      string     `json:"topic"`
	Partition  int32      `json:"partition"`
	Epoch      int64      `json:"epoch"` // 0 for a table without the column
	Rows       int64      `json:"rows"`
	Ranges     [][2]int64 `json:"ranges"`     // the offsets, as ranges [first, next)
	Duplicates int64      `json:"duplicates"` // rows beyond the first with the same offset
}

// Column is the sum of a column.
type Column struct {
	Sum   string `json:"sum"` // exact for integers and decimals; "" when there is no value
	Count int64  `json:"count"`
	Float bool   `json:"float"` // floating-point numbers: the sum depends on the order of adding
}

// Field is a column of the table's schema.
type Field struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Type     string `json:"type"` // in Iceberg's words
	Required bool   `json:"required"`
}

// SpecField is a field of the table's partition spec.
type SpecField struct {
	Name      string `json:"name"`
	Source    string `json:"source"`
	Transform string `json:"transform"`
}

// Snapshot is one snapshot in the table's metadata.
type Snapshot struct {
	ID        int64             `json:"id"`
	Operation string            `json:"operation"`
	Summary   map[string]string `json:"summary"`
}

// File is one data file of the snapshot that was read.
type File struct {
	Path      string `json:"path"`
	Rows      int64  `json:"rows"`
	Bytes     int64  `json:"bytes"`
	Partition []any  `json:"partition"`
}

// PyIceberg reads the table with PyIceberg.
func PyIceberg(t testing.TB, table Table, read Read) Report {
	t.Helper()
	return report(t, Python(t, "read_table.py", append(table.args(), read.args()...)...))
}

// DuckDB reads the table with DuckDB.
func DuckDB(t testing.TB, table Table, read Read) Report {
	t.Helper()
	return report(t, Python(t, "duckdb_read.py", append(table.args(), read.args()...)...))
}

// DuckDBParquet reads all Parquet files below a folder or an s3:// prefix with DuckDB, as if there were no Iceberg.
func DuckDBParquet(t testing.TB, folder string, read Read) Report {
	t.Helper()
	return report(t, Python(t, "duckdb_read.py", append([]string{"--folder", folder}, read.args()...)...))
}

// SparkPath is a Python that finds PySpark. It needs the heavy engines: see make test-engines.
func SparkPath(t testing.TB) string { return env(t, "SPARK_PYTHON") }

// Spark reads the table with Spark. It needs the heavy engines: see make test-engines.
func Spark(t testing.TB, table Table, read Read) Report {
	t.Helper()
	return report(t, script(t, SparkPath(t), "spark_read.py", append(table.args(), read.args()...)...))
}

// SparkSQL runs the statements in a file with Spark, without a catalog, and returns the rows of each as JSON (see
// test/readers/spark_sql.py). It needs the heavy engines: see make test-engines.
func SparkSQL(t testing.TB, file string) []byte {
	t.Helper()
	return script(t, env(t, "SPARK_PYTHON"), "spark_sql.py", file)
}

// Trino reads a table of the shared REST catalog with Trino, which gives no rows. It needs the heavy engines: see make
// test-engines.
func Trino(t testing.TB, table Table, read Read) Report {
	t.Helper()
	return report(t, Python(t, "trino_read.py", append([]string{"--trino", env(t, "TRINO")}, append(table.args(), read.args()...)...)...))
}

// TrinoURL is the URL of Trino, whose catalog "lake" is the shared REST catalog. It needs the heavy engines: see make test-engines.
func TrinoURL(t testing.TB) string { return env(t, "TRINO") }

// StartSpark starts Spark's Thrift server, whose catalog "lake" is the shared REST catalog, and returns its thrift:// URL. It needs
// the heavy engines: see make test-engines.
func StartSpark(t testing.TB) string {
	t.Helper()
	return "thrift://" + start(t, "spark-thrift", nil, REST(t), S3(t)).Addr()
}

// Python runs a program of test/readers, or of any folder by an absolute path, and returns what it printed; it finds
// PyIceberg, PyArrow and DuckDB. A program that fails fails the test.
func Python(t testing.TB, program string, args ...string) []byte {
	t.Helper()
	return script(t, env(t, "PYTHON"), program, args...)
}

// PythonPath is the interpreter that finds PyIceberg, PyArrow and DuckDB.
func PythonPath(t testing.TB) string {
	t.Helper()
	return env(t, "PYTHON")
}

// Damage runs a program that damages the table in one of its ways (--kind), and returns what it printed.
func Damage(t testing.TB, program string, table Table, kind string, draw int) []byte {
	t.Helper()
	return Python(t, program, append(table.args(), "--kind", kind, "--draw", strconv.Itoa(draw))...)
}

func script(t testing.TB, python, program string, args ...string) []byte {
	t.Helper()
	if !filepath.IsAbs(program) {
		program = filepath.Join(Root(t), "test", "readers", program)
	}
	out, err := run(t.Context(), nil, python, append([]string{program}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func report(t testing.TB, out []byte) Report {
	t.Helper()
	var r Report
	d := json.NewDecoder(bytes.NewReader(out))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("a reader printed no report: %v\n%s", err, out)
	}
	return r
}

func (table Table) args() []string {
	args := []string{"--catalog", table.Catalog, "--uri", table.URI, "--table", table.Table}
	for flag, value := range map[string]string{"--name": table.Name, "--warehouse": table.Warehouse, "--s3": table.S3} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	return args
}

func (read Read) args() []string {
	var args []string
	for _, c := range read.Sums {
		args = append(args, "--sum", c)
	}
	if read.Where != "" {
		args = append(args, "--where", read.Where)
	}
	if read.Snapshot != 0 {
		args = append(args, "--snapshot", strconv.FormatInt(read.Snapshot, 10))
	}
	for _, sql := range read.SQL {
		args = append(args, "--sql", sql)
	}
	if read.Metadata {
		args = append(args, "--only-metadata")
	}
	if read.Rows {
		args = append(args, "--rows")
	}
	return args
}

// Differences says in what two readers disagree about the same table: rows, offsets, sums, and the rows themselves
// where both have them. Sums of floating-point numbers may differ by the order in which they were added.
func (r Report) Differences(other Report) []string {
	var out []string
	if r.Rows != other.Rows {
		out = append(out, fmt.Sprintf("rows: %d and %d", r.Rows, other.Rows))
	}
	if !reflect.DeepEqual(r.Partitions, other.Partitions) {
		out = append(out, fmt.Sprintf("offsets: %v and %v", r.Partitions, other.Partitions))
	}
	for name, c := range r.Columns {
		if o := other.Columns[name]; !c.same(o) {
			out = append(out, fmt.Sprintf("sum of %s: %v and %v", name, c, o))
		}
	}
	if r.Data == nil || other.Data == nil || len(r.Data) != len(other.Data) {
		return out
	}
	for i := range r.Data {
		if !reflect.DeepEqual(r.Data[i], other.Data[i]) {
			return append(out, fmt.Sprintf("row %d: %v and %v", i, r.Data[i], other.Data[i]))
		}
	}
	return out
}

func (c Column) same(o Column) bool {
	if !c.Float || !o.Float || c.Count != o.Count {
		return c == o
	}
	x, errX := strconv.ParseFloat(c.Sum, 64)
	y, errY := strconv.ParseFloat(o.Sum, 64)
	return errX == nil && errY == nil && math.Abs(x-y) <= 1e-9*math.Max(math.Abs(x), math.Abs(y))
}
