"""compact_peers.py duckdb|pyarrow COLUMN,... OUT FILE...: puts the rows of Parquet files into one, in their order or sorted, as zstd."""
import sys

engine, order, out, files = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
if engine == "duckdb":
    import duckdb

    c = duckdb.connect()
    c.execute("SET threads = 2")
    by = " ORDER BY " + order if order else ""
    c.execute(f"COPY (SELECT * FROM read_parquet(?){by}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)", [files])
    rows = c.execute(f"SELECT count(*) FROM read_parquet('{out}')").fetchone()[0]
else:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.ParquetFile(f).read() for f in files])
    if order:
        table = table.sort_by([(name, "ascending") for name in order.split(",")])
    pq.write_table(table, out, compression="zstd")
    rows = pq.ParquetFile(out).metadata.num_rows
print(rows)
