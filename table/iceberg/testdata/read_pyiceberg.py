"""Reads a table through a sqlite catalog with PyIceberg and prints what it sees as JSON."""
import json, sys
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import GreaterThanOrEqual

catalog_file, warehouse, table = sys.argv[1:4]
catalog = SqlCatalog("lakeloader", uri="sqlite:///" + catalog_file, warehouse=warehouse)
t = catalog.load_table(table)
rows = t.scan().to_arrow().to_pylist()
pruned = list(t.scan(row_filter=GreaterThanOrEqual("day", "2026-11-21")).plan_files())
print(json.dumps({
    "rows": [[r["id"], r["name"], str(r["day"]), r.get("added")] for r in sorted(rows, key=lambda r: r["id"])],
    "snapshots": len(t.metadata.snapshots),
    "schema": [[f.field_id, f.name, str(f.field_type), f.required] for f in t.schema().fields],
    "partitions": [[f.name, str(f.transform)] for f in t.spec().fields],
    "property": t.properties.get("lakeloader.move"),
    "current": t.current_snapshot().snapshot_id,
    "pruned_files": len(pruned),
    "operation": t.current_snapshot().summary.operation.value,
    "records_by_summary": t.current_snapshot().summary["total-records"],
}))
