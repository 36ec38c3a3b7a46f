#!/usr/bin/env bash
# Kafka Connect from Maven, one standalone worker on 127.0.0.1, with Debezium's connectors for PostgreSQL and MariaDB, and Apicurio's
# converter for Avro: Confluent's is not published to Maven Central. It writes the same wire format.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: connect.sh fetch
       connect.sh start DIR BOOTSTRAP PROPERTIES...   a worker on the broker, with the connectors that the files describe
       connect.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
DIR/ports holds the port of its REST API; a worker that is started again goes on where it stored its offsets, every second.
env:   CONNECT_HEAP (384m)
       CONNECT_PROPS    further lines of the worker's properties
U
  exit 2
}
VERSION=4.3.1
DEBEZIUM=3.7.0.Final
LIBS=$CACHE/connect-$VERSION
MARIADB=3.5.0.Final # the latest that is published
APICURIO=2.6.13.Final
LIBS=$CACHE/connect-$VERSION
PLUGINS=$CACHE/connect-plugins-$DEBEZIUM-$MARIADB-$APICURIO

fetch() {
  need "$JAVA" "install Java 17 or newer"
  mvn_jars "$LIBS" "org.apache.kafka:connect-runtime:$VERSION" "org.apache.kafka:connect-json:$VERSION" "org.apache.kafka:connect-transforms:$VERSION" \
    org.apache.logging.log4j:log4j-core:2.25.1 org.apache.logging.log4j:log4j-slf4j-impl:2.25.1
  with_lock debezium download
  mvn_jars "$PLUGINS/avro" "io.apicurio:apicurio-registry-utils-converter:$APICURIO" "io.apicurio:apicurio-registry-serdes-avro-serde:$APICURIO" \
    '!org.slf4j:slf4j-api' '!org.apache.kafka:connect-api' '!org.apache.kafka:kafka-clients' '!org.apache.kafka:connect-json'
  with_lock avro-services services
}
# services adds what the converter lacks: the list by which Connect finds it. Else it would look into every class, for tens of seconds.
services() {
  [[ -f $PLUGINS/avro/services.jar ]] && return 0
  python3 - "$PLUGINS/avro/services.jar" <<'P'
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1] + ".new", "w") as jar:
    jar.writestr("META-INF/services/org.apache.kafka.connect.storage.Converter", "io.apicurio.registry.utils.converter.AvroConverter\n")
os.rename(sys.argv[1] + ".new", sys.argv[1])
P
}
download() {
  local tmp name
  [[ -d $PLUGINS ]] && return 0
  tmp=$(mktemp -d "$CACHE/.debezium.XXXXXX")
  mkdir "$tmp/plugins"
  log "downloading Debezium $DEBEZIUM"
  for name in "postgres:$DEBEZIUM" "mariadb:$MARIADB"; do
    mvn_file "$tmp" "io.debezium:debezium-connector-$name:tar.gz:plugin" || { rm -rf "$tmp"; die "download failed"; }
  done
  for name in "$tmp"/*.tar.gz; do tar xzf "$name" -C "$tmp/plugins"; done
  mv "$tmp/plugins" "$PLUGINS"; rm -rf "$tmp"
}

launch() {
  (($# > 1)) || usage
  local bootstrap=$1; shift
  cat >"$DIR/worker.properties" <<P
bootstrap.servers=$bootstrap
listeners=http://127.0.0.1:${PORT[0]}
rest.advertised.host.name=127.0.0.1
plugin.path=$PLUGINS
plugin.discovery=service_load
offset.storage.file.filename=$DIR/offsets
offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
${CONNECT_PROPS:-}
P
  cat >"$DIR/log4j2.properties" <<L
status = error
appender.c.type = Console
appender.c.name = C
appender.c.target = SYSTEM_ERR
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.c.ref = C
L
  spawn "$JAVA" "-Xmx${CONNECT_HEAP:-384m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$DIR/log4j2.properties" \
    -cp "$LIBS/*" org.apache.kafka.connect.cli.ConnectStandalone "$DIR/worker.properties" "$@"
  wait_ready 120 "${PORT[0]}" curl -fsS "http://127.0.0.1:${PORT[0]}/connectors"
}

service connect 1 "$@"
