"""aggregate_peers.py FILE...: lets DuckDB (two threads) make the daily aggregate of the clicks in Parquet files, and prints its rows."""
import sys

import duckdb

c = duckdb.connect()
c.execute("SET threads = 2")
print(len(c.execute("""SELECT CAST(ts AS DATE), campaignId, pubId, country, platform, count(*), approx_count_distinct(ip), min(ts), max(ts)
                       FROM read_parquet(?, hive_partitioning = false) GROUP BY 1, 2, 3, 4, 5""", [sys.argv[1:]]).fetchall()))
