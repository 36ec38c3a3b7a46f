"""compact_peers.py duckdb|pyarrow OUT FILE...: puts the rows of Parquet files into one, in their order, as zstd."""
import sys

engine, out, files = sys.argv[1], sys.argv[2], sys.argv[3:]
if engine == "duckdb":
    import duckdb

    c = duckdb.connect()
    c.execute("SET threads = 2")
    c.execute(f"COPY (SELECT * FROM read_parquet(?)) TO '{out}' (FORMAT parquet, COMPRESSION zstd)", [files])
    rows = c.execute(f"SELECT count(*) FROM read_parquet('{out}')").fetchone()[0]
else:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.ParquetFile(f).read() for f in files])
    pq.write_table(table, out, compression="zstd")
    rows = pq.ParquetFile(out).metadata.num_rows
print(rows)
