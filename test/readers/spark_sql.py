"""Runs the statements in a file, a JSON list, with Spark without a catalog, and prints the rows of each as JSON: every value a text, or null."""
import json
import os
import sys

from pyspark.sql import SparkSession


def text(v):
    if v is None:
        return None
    return str(v).lower() if isinstance(v, bool) else str(v)


def main():
    os.environ["SPARK_CONF_DIR"] = os.path.join(os.path.dirname(sys.executable), "..", "lib", "spark-conf")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["TZ"] = "UTC"  # collected timestamps are shown in the local zone
    builder = SparkSession.builder.master("local[2]").appName("spark_sql")
    for key, value in {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.memory": "1g",
                       "spark.sql.shuffle.partitions": "2", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
                       "spark.sql.session.timeZone": "UTC", "spark.log.level": "ERROR"}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    with open(sys.argv[1]) as f:
        results = [[[text(v) for v in row] for row in spark.sql(sql).collect()] for sql in json.load(f)]
    spark.stop()
    print(json.dumps(results))


main()
