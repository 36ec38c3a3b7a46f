"""aggregate_peers.py sql|sketch FILE...: lets DuckDB (two threads) make the daily aggregate of the clicks in Parquet files, and prints its rows.

sketch counts distinct visitors too, by DuckDB's own estimate, which cannot be merged. The day is divided out of the time, as casting to a date in a
time zone takes DuckDB longer than all the rest.
"""
import sys

import duckdb

what, files = sys.argv[1], sys.argv[2:]
visitors = {"sql": "", "sketch": "approx_count_distinct(ip),"}[what]
c = duckdb.connect()
c.execute("SET threads = 2")
c.execute(f"""CREATE TABLE daily AS SELECT epoch_us(ts) // 86400000000 AS day, campaignId, pubId, country, platform, count(*), {visitors} min(ts), max(ts)
              FROM read_parquet(?, hive_partitioning = false) GROUP BY 1, 2, 3, 4, 5""", [files])
print(c.execute("SELECT count(*) FROM daily").fetchone()[0])
