"""Reads a table through its catalog with PyIceberg and prints the report described in lake.py, and beside it what
Iceberg's metadata says: schema, partition fields, properties, snapshots and data files."""
import lake


def main():
    p = lake.arguments(__doc__)
    p.add_argument("--only-metadata", action="store_true", help="do not read the rows")
    args = p.parse_args()
    t = lake.table(args)
    scan = t.scan(row_filter=args.where or "true", snapshot_id=args.snapshot)
    rows = None if args.only_metadata else scan.to_arrow()
    report = {} if args.only_metadata else lake.report_of_arrow(args, rows)
    report["metadata"] = t.metadata_location
    report["uuid"] = str(t.metadata.table_uuid)
    report["schema"] = [{"id": f.field_id, "name": f.name, "type": str(f.field_type), "required": f.required}
                        for f in t.schema().fields]
    report["spec"] = [{"name": f.name, "source": t.schema().find_column_name(f.source_id), "transform": str(f.transform)}
                      for f in t.spec().fields]
    report["properties"] = dict(t.properties)
    report["snapshots"] = [{"id": s.snapshot_id, "operation": s.summary.operation.value if s.summary else "",
                            "summary": dict(s.summary.additional_properties) if s.summary else {}} for s in t.snapshots()]
    report["files"] = [{"path": f.file.file_path, "rows": f.file.record_count, "bytes": f.file.file_size_in_bytes,
                        "partition": [lake.jsonable(v) for v in _tuple(f.file.partition)]} for f in scan.plan_files()]
    now = t.current_snapshot()
    report["manifests"] = [m.manifest_length for m in now.manifests(t.io)] if now else []
    with t.io.new_input(t.metadata_location).open() as f:
        report["metadata_bytes"] = len(f.read())
    if args.rows:
        report["data"] = lake.data(rows)
    lake.emit(report)


def _tuple(record):
    return [record[i] for i in range(len(record))]


main()
