#!/usr/bin/env bash
# Spark's Thrift server on 127.0.0.1, with Iceberg's REST catalog as "lake": HiveServer2's protocol, any user name, no password.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: spark-thrift.sh fetch
       spark-thrift.sh start DIR REST_URL S3_ENDPOINT   catalog "lake" on the REST catalog, whose tables are in S3
       spark-thrift.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
DIR/ports holds the port.
env:   SPARK_HEAP (1g)
U
  exit 2
}

fetch() { PYTHON=$("$HERE/readers.sh" spark); }

launch() { # REST_URL S3_ENDPOINT
  (($# == 2)) || usage
  local packages lake=spark.sql.catalog.lake
  packages=$(echo "$(dirname "$PYTHON")"/../lib/python3*/site-packages)
  cd "$DIR"
  export SPARK_HOME=$packages/pyspark SPARK_LOCAL_IP=127.0.0.1
  SPARK_CONF_DIR=$(dirname "$PYTHON")/../lib/spark-conf
  export SPARK_CONF_DIR
  spawn "$SPARK_HOME/bin/spark-submit" --master 'local[2]' --driver-memory "${SPARK_HEAP:-1g}" \
    --class org.apache.spark.sql.hive.thriftserver.HiveThriftServer2 \
    --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=2 --conf spark.driver.bindAddress=127.0.0.1 \
    --conf spark.driver.host=127.0.0.1 --conf spark.sql.catalogImplementation=in-memory \
    --conf spark.sql.extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions \
    --conf $lake=org.apache.iceberg.spark.SparkCatalog --conf $lake.type=rest --conf "$lake.uri=$1" \
    --conf $lake.io-impl=org.apache.iceberg.aws.s3.S3FileIO --conf "$lake.s3.endpoint=$2" --conf $lake.client.region=us-east-1 \
    --conf $lake.s3.path-style-access=true --conf $lake.s3.access-key-id=lakeloader --conf $lake.s3.secret-access-key=lakeloader-secret \
    spark-internal --hiveconf "hive.server2.thrift.port=${PORT[0]}" --hiveconf hive.server2.thrift.bind.host=127.0.0.1
  wait_ready 180 "${PORT[0]}" true
}

service spark-thrift 1 "$@"
