#!/usr/bin/env bash
# One node of OpenSearch on 127.0.0.1, without security, put together from its artifacts in Maven Central.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: opensearch.sh fetch
       opensearch.sh start DIR | stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
Clients need the URL http://127.0.0.1:PORT. DIR/ports holds the port.
env:   OPENSEARCH_HEAP (256m)
U
  exit 2
}
VERSION=2.19.1
LIBS=$CACHE/opensearch-$VERSION

fetch() {
  need javac "install a Java 17 JDK"
  mvn_jars "$LIBS" "org.opensearch:opensearch:$VERSION" "org.opensearch.plugin:transport-netty4-client:$VERSION" \
    org.apache.logging.log4j:log4j-core:2.21.0
  with_lock opensearch-class compile
}
compile() {
  [[ $LIBS/OpenSearchMain.class -nt $HERE/OpenSearchMain.java ]] || javac -cp "$LIBS/*" -d "$LIBS" "$HERE/OpenSearchMain.java"
}

launch() {
  mkdir -p "$DIR/home/config"
  spawn "$JAVA" "-Xmx${OPENSEARCH_HEAP:-256m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$LIBS:$LIBS/*" OpenSearchMain "${PORT[0]}" "$DIR/home"
  wait_ready 120 "${PORT[0]}" curl -fsS "http://127.0.0.1:${PORT[0]}/_cluster/health?wait_for_status=yellow"
}

service opensearch 1 "$@"
