#!/usr/bin/env bash
# Trino from Maven, one node on 127.0.0.1, with the Iceberg connector on a REST catalog: the open engine that Amazon
# Athena is built on, with the same SQL dialect.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: trino.sh fetch
       trino.sh start DIR REST_URL [S3_ENDPOINT]   catalog "lake" on the REST catalog; tables in S3 or in local files
       trino.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
DIR/ports holds the port; any user name, no password.
env:   TRINO_HEAP (1g)
U
  exit 2
}
VERSION=476
APP=$CACHE/trino-server-$VERSION

fetch() {
  JAVA=$(java25) # it is built for Java 24 and newer
  with_lock trino download
}
download() {
  local tmp
  [[ -d $APP/plugin/iceberg ]] && return 0
  tmp=$(mktemp -d "$CACHE/.trino.XXXXXX")
  log "downloading Trino $VERSION (about 820 MB)"
  mvn_file "$tmp" "io.trino:trino-server:$VERSION:tar.gz" || { rm -rf "$tmp"; die "download failed"; }
  tar xzf "$tmp"/*.tar.gz -C "$tmp"
  find "$tmp/trino-server-$VERSION/plugin" -mindepth 1 -maxdepth 1 ! -name iceberg -exec rm -rf {} +
  rm -rf "$APP"; mv "$tmp/trino-server-$VERSION" "$APP"; rm -rf "$tmp"
}

configure() { # REST_URL [S3_ENDPOINT]
  mkdir -p "$DIR/etc/catalog"
  cat >"$DIR/etc/config.properties" <<P
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port=${PORT[0]}
discovery.uri=http://127.0.0.1:${PORT[0]}
node.internal-address=127.0.0.1
node.bind-ip=127.0.0.1
catalog.config-dir=$DIR/etc/catalog
plugin.dir=$APP/plugin
P
  # its vectorized decoder needs an incubator module that this Java runtime lacks
  cat >"$DIR/etc/catalog/lake.properties" <<P
connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri=$1
parquet.experimental.vectorized-decoding.enabled=false
P
  if (($# == 1)); then
    echo fs.hadoop.enabled=true
  else
    cat <<P
fs.native-s3.enabled=true
s3.endpoint=$2
s3.region=us-east-1
s3.path-style-access=true
s3.aws-access-key=lakeloader
s3.aws-secret-key=lakeloader-secret
P
  fi >>"$DIR/etc/catalog/lake.properties"
}

launch() {
  (($# > 0)) || usage
  configure "$@"
  cd "$DIR"
  spawn "$JAVA" "-Xmx${TRINO_HEAP:-1g}" -XX:+UseG1GC -XX:+UseCompactObjectHeaders -Djdk.attach.allowAttachSelf=true \
    --sun-misc-unsafe-memory-access=allow --enable-native-access=ALL-UNNAMED -Dnode.environment=test -Dnode.id=test \
    -Dnode.data-dir="$DIR/data" -Dconfig="$DIR/etc/config.properties" -cp "$APP/lib/*" io.trino.server.TrinoServer
  wait_ready 180 "${PORT[0]}" started
}
started() { curl -fsS "http://127.0.0.1:${PORT[0]}/v1/info" | grep -q '"starting":false'; }

service trino 1 "$@"
