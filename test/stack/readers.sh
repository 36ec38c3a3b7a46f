#!/usr/bin/env bash
# The Python environments of the programs in test/readers.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: readers.sh python   prints a Python with PyIceberg, PyArrow and DuckDB with its iceberg extension
       readers.sh topics   prints a Python with Confluent's Kafka client and its Avro and Protobuf deserializers
       readers.sh spark    prints a Python with PySpark, which finds Iceberg's jars by itself (about 700 MB)
U
  exit 2
}
SPARK=4.0.1 ICEBERG=1.11.0
JARS=$CACHE/spark-iceberg-$SPARK-$ICEBERG

case ${1:-} in
  python)
    dir=$(venv readers --no-deps -r "$HERE/../readers/requirements.txt") # in an echo its failure would be lost
    echo "$dir/bin/python"
    ;;
  topics)
    dir=$(venv topics "confluent-kafka[avro,protobuf,schemaregistry]==2.13.2" grpcio-tools==1.76.0)
    echo "$dir/bin/python"
    ;;
  spark)
    need "$JAVA" "install Java 17"
    python=$(venv spark "pyspark==$SPARK" pyarrow==21.0.0)/bin/python
    mvn_jars "$JARS" "org.apache.iceberg:iceberg-spark-runtime-${SPARK%.*}_2.13:$ICEBERG" \
      "org.apache.iceberg:iceberg-aws-bundle:$ICEBERG" org.xerial:sqlite-jdbc:3.50.3.0 org.postgresql:postgresql:42.7.8 \
      '!org.slf4j:slf4j-api' '!org.apache.hadoop:hadoop-client-api' '!org.apache.hadoop:hadoop-client-runtime' \
      '!org.scala-lang:scala-library'
    conf=$(dirname "$python")/../lib/spark-conf # SPARK_CONF_DIR of spark_read.py
    mkdir -p "$conf"
    echo "spark.jars $(printf '%s,' "$JARS"/*.jar | sed 's/,$//')" >"$conf/spark-defaults.conf"
    echo "$python"
    ;;
  *) usage ;;
esac
