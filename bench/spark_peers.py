"""spark_peers.py rewrite FOLDER COLUMN,... FILE... | aggregate FOLDER sql|sketch FILE...: lets Spark (two threads) do what lakeloader's jobs do, on the same files.

rewrite    makes an Iceberg table in FOLDER of the files as they are, and has rewrite_data_files put them into few ones, sorted if columns are given.
aggregate  the daily aggregate of the clicks, straight from the files; sketch counts distinct visitors too.

Prints the rows of the table, or of the aggregate, then the CPU seconds, the seconds and the peak of resident memory in MiB of this
process and its JVM for the work itself: what starting Spark takes is left out.
"""
import os
import subprocess
import sys
import time

from pyspark.sql import SparkSession

AGGREGATE = """SELECT to_date(ts), campaignId, pubId, country, platform, count(*), {visitors} min(ts), max(ts)
               FROM clicks GROUP BY 1, 2, 3, 4, 5"""


def session(folder):
    os.environ["SPARK_CONF_DIR"] = os.path.join(os.path.dirname(sys.executable), "..", "lib", "spark-conf")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = SparkSession.builder.master("local[2]").appName("spark_peers")
    for key, value in {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.memory": "3g",
                       "spark.sql.shuffle.partitions": "2", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
                       "spark.sql.session.timeZone": "UTC", "spark.log.level": "ERROR", "spark.local.dir": folder,
                       "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
                       "spark.sql.catalog.h": "org.apache.iceberg.spark.SparkCatalog", "spark.sql.catalog.h.type": "hadoop",
                       "spark.sql.catalog.h.warehouse": folder}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def processes():
    """This one and its children: the JVM."""
    mine = os.getpid()
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(mine)], capture_output=True, text=True, check=True).stdout.split()
    return [str(mine)] + [p for p in children if os.path.exists(f"/proc/{p}/stat")]


def used():
    """CPU seconds, and the sum of the peaks of memory in MiB."""
    cpu, peak = 0.0, 0
    for pid in processes():
        try:
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            cpu += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            peak += next(int(line.split()[1]) // 1024 for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            pass  # ps itself is gone
    return cpu, peak


def rewrite(spark, folder, args):
    order, files = args[0], args[1:]
    flat = os.path.join(folder, "files")
    os.makedirs(flat)
    for i, f in enumerate(files):  # in one folder, without the partition's name
        os.link(f, os.path.join(flat, f"{i:05d}.parquet"))
    have = spark.read.parquet(files[0]).dtypes
    columns = ", ".join(f"`{n}` {t}" for n, t in have)
    spark.sql(f"CREATE TABLE h.b.clicks ({columns}) USING iceberg TBLPROPERTIES ('write.parquet.compression-codec' = 'zstd')")
    spark.sql(f"CALL h.system.add_files(table => 'b.clicks', source_table => '`parquet`.`{flat}`')")
    begin = time.monotonic(), used()[0]
    strategy = f"strategy => 'sort', sort_order => '{order}'" if order else "strategy => 'binpack'"
    spark.sql(f"CALL h.system.rewrite_data_files(table => 'b.clicks', {strategy}, options => map("
              "'rewrite-all', 'true', 'target-file-size-bytes', '536870912'))").collect()
    return spark.sql("SELECT sum(record_count) FROM h.b.clicks.files").collect()[0][0], begin


def aggregate(spark, _, args):
    visitors = {"sql": "", "sketch": "approx_count_distinct(ip),"}[args[0]]
    begin = time.monotonic(), used()[0]
    spark.read.parquet(*args[1:]).createOrReplaceTempView("clicks")
    return len(spark.sql(AGGREGATE.format(visitors=visitors)).collect()), begin


def main():
    what, folder, args = sys.argv[1], sys.argv[2], sys.argv[3:]
    spark = session(folder)
    spark.sparkContext.setLogLevel("ERROR")
    rows, (clock, before) = {"rewrite": rewrite, "aggregate": aggregate}[what](spark, folder, args)
    elapsed = time.monotonic() - clock
    cpu, peak = used()
    spark.stop()
    print(rows, round(cpu - before, 2), round(elapsed, 2), peak)


main()
