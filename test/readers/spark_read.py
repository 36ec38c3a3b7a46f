"""Reads a table through its catalog with Spark and prints the report described in lake.py."""
import os
import sys

import lake
from pyspark.sql import SparkSession, types


def main():
    args = lake.arguments(__doc__).parse_args()
    spark = session(args)
    spark.sparkContext.setLogLevel("ERROR")
    source = f"`{args.name}`.{args.table}" + (f" VERSION AS OF {args.snapshot}" if args.snapshot else "")
    df = spark.sql(f"SELECT * FROM {source}" + (f" WHERE {args.where}" if args.where else ""))
    report = lake.report_of_sql(args, source, df.columns, lambda sql: [tuple(row) for row in spark.sql(sql).collect()])
    if args.rows:
        # toArrow fails on a null struct whose fields are not nullable
        report["data"] = lake.data(df.select([df[f"`{f.name}`"].cast(nullable(f.dataType)).alias(f.name) for f in df.schema]).toArrow())
    spark.stop()
    lake.emit(report)


def nullable(t):
    """The type with all its members nullable."""
    if isinstance(t, types.StructType):
        return types.StructType([types.StructField(f.name, nullable(f.dataType)) for f in t])
    if isinstance(t, types.ArrayType):
        return types.ArrayType(nullable(t.elementType))
    if isinstance(t, types.MapType):
        return types.MapType(nullable(t.keyType), nullable(t.valueType))
    return t


def session(args):
    catalog = {"": "org.apache.iceberg.spark.SparkCatalog"}
    if args.catalog == "rest":
        catalog |= {".type": "rest", ".uri": args.uri}
    else:
        catalog |= {".catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog", ".jdbc.schema-version": "V1",
                    ".warehouse": args.warehouse} | jdbc(args)
    if args.s3:
        key, secret = lake.s3_keys()
        catalog |= {".io-impl": "org.apache.iceberg.aws.s3.S3FileIO", ".s3.endpoint": args.s3, ".client.region": "us-east-1",
                    ".s3.path-style-access": "true", ".s3.access-key-id": key, ".s3.secret-access-key": secret}
    os.environ["SPARK_CONF_DIR"] = os.path.join(os.path.dirname(sys.executable), "..", "lib", "spark-conf")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = SparkSession.builder.master("local[2]").appName("spark_read")
    for key, value in {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "2",
                       "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
                       "spark.sql.session.timeZone": "UTC", "spark.log.level": "ERROR",
                       "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"}.items():
        builder = builder.config(key, value)
    for key, value in catalog.items():  # Spark's name for the catalog is the one that a SQL catalog files its rows under
        builder = builder.config(f"spark.sql.catalog.{args.name}{key}", value)
    return builder.getOrCreate()


def jdbc(args):
    if args.catalog == "sqlite":
        return {".uri": "jdbc:sqlite:" + os.path.abspath(args.uri)}
    login, rest = args.uri.split("://", 1)[1].rsplit("@", 1)
    user, password = login.split(":", 1)
    return {".uri": "jdbc:postgresql://" + rest, ".jdbc.user": user, ".jdbc.password": password}


main()
