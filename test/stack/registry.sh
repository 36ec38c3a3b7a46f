#!/usr/bin/env bash
# Apicurio Registry from Maven: a schema registry with the Confluent REST API, on 127.0.0.1.
# Confluent-compatible base URL: http://127.0.0.1:PORT/apis/ccompat/v7
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: registry.sh fetch
       registry.sh start DIR   start (or keep) it; schemas stay in DIR
       registry.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
DIR/ports holds the port.
env:   REGISTRY_HEAP (160m)
U
  exit 2
}
VERSION=3.3.3
APP=$CACHE/apicurio-registry-$VERSION

fetch() {
  JAVA=$(java25) # it is built for Java 21 and newer
  with_lock apicurio download
}
download() {
  local tmp
  compgen -G "$APP/*run*.jar" >/dev/null && return 0
  tmp=$(mktemp -d "$CACHE/.apicurio.XXXXXX")
  mkdir "$tmp/app"
  log "downloading Apicurio Registry $VERSION (about 150 MB)"
  mvn_file "$tmp" "io.apicurio:apicurio-registry-app:$VERSION:tar.gz:all" || { rm -rf "$tmp"; die "download failed"; }
  tar xzf "$tmp"/*.tar.gz -C "$tmp/app"
  rm -rf "$APP"; mv "$tmp/app" "$APP"; rm -rf "$tmp"
}

launch() {
  local jar; jar=$(compgen -G "$APP/*run*.jar")
  spawn "$JAVA" "-Xmx${REGISTRY_HEAP:-160m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+UseCompactObjectHeaders \
    -Djava.util.logging.manager=org.jboss.logmanager.LogManager \
    -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="${PORT[0]}" -Dquarkus.http.access-log.enabled=false \
    -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port=0 -Dquarkus.otel.sdk.disabled=true \
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 \
    "-Dapicurio.datasource.url=jdbc:h2:file:$DIR/registry;DB_CLOSE_ON_EXIT=FALSE" \
    -Dapicurio.datasource.jdbc.initial-size=2 -Dapicurio.datasource.jdbc.min-size=2 \
    -Dapicurio.datasource.jdbc.max-size=10 -Dapicurio.storage.snapshot.location="$DIR" \
    -Dapicurio.rest.deletion.artifact.enabled=true -Dapicurio.rest.deletion.artifact-version.enabled=true \
    -Dapicurio.rest.deletion.group.enabled=true -jar "$jar"
  wait_ready 120 "${PORT[0]}" curl -fsS "http://127.0.0.1:${PORT[0]}/apis/ccompat/v7/subjects"
}

service registry 1 "$@"
