"""Reads with DuckDB and prints the report described in lake.py. What it reads is one of:

  --catalog ... --table T   an Iceberg table (PyIceberg asks the catalog for its metadata file, DuckDB reads it)
  --metadata FILE           an Iceberg table by its metadata file
  --folder FOLDER           every Parquet file below a folder or s3:// prefix, as if there were no Iceberg
"""
import os

import duckdb
import lake


def main():
    p = lake.arguments(__doc__)
    p.add_argument("--metadata", default="", help="a table's metadata.json")
    p.add_argument("--folder", default="", help="a folder of Parquet files")
    args = p.parse_args()
    con = connect(args)
    if args.folder:
        # the folders' names are left out: partition columns must be in the files
        source = f"read_parquet('{args.folder.rstrip('/')}/**/*.parquet', hive_partitioning=false, union_by_name=true)"
    else:
        metadata = (args.metadata or lake.table(args).metadata_location).removeprefix("file://")
        at = f", snapshot_from_id={args.snapshot}" if args.snapshot else ""
        source = f"iceberg_scan('{metadata}'{at})"
    columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    report = lake.report_of_sql(args, source, columns, lambda sql: con.execute(sql).fetchall())
    if args.rows:
        where = f" WHERE {args.where}" if args.where else ""
        report["data"] = lake.data(con.execute(f"SELECT * FROM {source}{where}").to_arrow_table())
    lake.emit(report)


def connect(args):
    con = duckdb.connect()  # without its icu extension it knows no zone but UTC
    for name in ("httpfs", "avro", "iceberg"):  # as Python packages: nothing is downloaded at run time
        folder = os.path.dirname(__import__("duckdb_extension_" + name).__file__)
        con.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    if args.s3:
        key, secret = lake.s3_keys()
        scheme, endpoint = args.s3.split("://", 1)
        con.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION 'us-east-1', "
                    f"ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL {'true' if scheme == 'https' else 'false'})")
    return con


if __name__ == "__main__":
    main()
