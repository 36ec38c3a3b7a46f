"""Reads a table through a sqlite catalog with PyIceberg, and its files with DuckDB: read.py CATALOG_FILE WAREHOUSE TABLE.

Prints a JSON object: by reader the rows as text, and the totals of the current snapshot.
"""
import json, sys
import duckdb
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import GreaterThanOrEqual

catalog_file, warehouse, name = sys.argv[1:4]
table = SqlCatalog("lakeloader", uri="sqlite:///" + catalog_file, warehouse=warehouse).load_table(name)
COLUMNS = ["kind", "_kafka_topic", "_kafka_partition", "_kafka_offset", "replayed_round"]


def text(rows):
    return sorted("%s %s-%d %d %s" % (k, t, p, o, "-" if r is None else r) for k, t, p, o, r in rows)


arrow = table.scan().to_arrow()
files = [f.file.file_path.removeprefix("file://") for f in table.scan().plan_files()]
late = table.scan(row_filter=GreaterThanOrEqual("_kafka_offset", 3)).to_arrow()
duck = duckdb.sql(f"SELECT {', '.join(COLUMNS)} FROM read_parquet({files}, union_by_name = true)").fetchall()
summary = table.current_snapshot().summary
print(json.dumps({
    "pyiceberg": text(zip(*(arrow[c].to_pylist() for c in COLUMNS))),
    "duckdb": text(duck),
    "offsets from 3": sorted(late["_kafka_offset"].to_pylist()),
    "tags": sum(len(t) for t in arrow["tags"].to_pylist()),
    "operation": summary.operation.value,
    "totals": [summary["total-records"], summary["total-data-files"], summary["deleted-data-files"]],
}))
