#!/usr/bin/env bash
# usage: system.sh NAME [FLAG...]
# Runs a published system (lakeloader demo NAME) on the real servers of run.sh: Kafka, the schema registry, PostgreSQL as the catalog, S3.
# Then verifies the lake. The topics have the published names, so the servers are for one run.
set -euo pipefail
[[ $# -ge 1 && -n ${LAKELOADER_TEST_KAFKA:-} ]] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAME=$1
shift
DIR=$(mktemp -d "${TMPDIR:-/tmp}/lakeloader-$NAME.XXXXXX")
export LAKELOADER_BROKERS=$LAKELOADER_TEST_KAFKA LAKELOADER_REGISTRY=$LAKELOADER_TEST_REGISTRY
export LAKELOADER_CATALOG=postgres LAKELOADER_CATALOG_URI=$LAKELOADER_TEST_POSTGRES
export LAKELOADER_WAREHOUSE=s3://warehouse/system-$NAME LAKELOADER_S3_ENDPOINT=$LAKELOADER_TEST_S3
export LAKELOADER_S3_ACCESS_KEY=$LAKELOADER_TEST_S3_ACCESS_KEY LAKELOADER_S3_SECRET_KEY=$LAKELOADER_TEST_S3_SECRET_KEY
BIN=$HERE/../../bin/lakeloader
"$BIN" demo "$NAME" --servers --dir "$DIR" "$@"
"$BIN" verify -c "$DIR/lakeloader.yaml"
