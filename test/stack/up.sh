#!/usr/bin/env bash
# usage: up.sh DIR
# Starts Kafka, the schema registry, S3, the REST catalog and PostgreSQL in DIR on free ports of 127.0.0.1, waits until
# all are ready and prints what tests need to reach them, for eval. down.sh DIR stops them. With LAKELOADER_STACK_ENGINES=1
# also Trino, and a Python with Spark.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# == 1 ]] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1"
DIR=$(cd "$1" && pwd)
port() { cut -d' ' -f"${2:-1}" "$DIR/$1/ports"; }

jobs=()
background() { "$@" >&2 & jobs+=($!); }
catalogs() { # these two need the address of S3
  "$HERE/s3.sh" start "$DIR/s3" warehouse
  "$HERE/rest-catalog.sh" start "$DIR/rest" "http://127.0.0.1:$(port s3)" s3://warehouse/rest
  [[ -z ${LAKELOADER_STACK_ENGINES:-} ]] \
    || "$HERE/trino.sh" start "$DIR/trino" "http://127.0.0.1:$(port rest)" "http://127.0.0.1:$(port s3)"
}
KAFKA_SASL=1 background "$HERE/kafka.sh" start "$DIR/kafka"
background "$HERE/registry.sh" start "$DIR/registry"
background catalogs
background "$HERE/postgres.sh" start "$DIR/postgres"
python=$("$HERE/readers.sh" python) || { echo "up.sh: the Python readers could not be installed" >&2; failed=1; }
if [[ -n ${LAKELOADER_STACK_ENGINES:-} ]]; then
  spark=$("$HERE/readers.sh" spark) || { echo "up.sh: the Python with Spark could not be installed" >&2; failed=1; }
fi
for job in "${jobs[@]}"; do wait "$job" || failed=1; done
[[ -z ${failed:-} ]] || { echo "up.sh: not all servers started" >&2; exit 1; }

env() { printf 'export LAKELOADER_TEST_%s=%q\n' "$1" "$2"; }
env STACK_DIR "$DIR"
env KAFKA "127.0.0.1:$(port kafka)"
env KAFKA_SASL "127.0.0.1:$(port kafka 3)"
env KAFKA_CA "$DIR/kafka/tls/ca.pem"
env REGISTRY "http://127.0.0.1:$(port registry)/apis/ccompat/v7"
env S3 "http://127.0.0.1:$(port s3)"
env S3_ACCESS_KEY lakeloader
env S3_SECRET_KEY lakeloader-secret
env REST "http://127.0.0.1:$(port rest)"
env POSTGRES "postgres://lakeloader:lakeloader-secret@127.0.0.1:$(port postgres)/lakeloader"
env PYTHON "$python"
if [[ -n ${LAKELOADER_STACK_ENGINES:-} ]]; then
  env TRINO "http://127.0.0.1:$(port trino)"
  env SPARK_PYTHON "$spark"
fi
