#!/usr/bin/env bash
# Apache Iceberg's reference REST catalog on 127.0.0.1 (the code of its test image), over a SQLite file.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: rest-catalog.sh fetch
       rest-catalog.sh start DIR [S3_ENDPOINT WAREHOUSE]   e.g. http://127.0.0.1:9000 s3://warehouse/rest
       rest-catalog.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
Without S3 the warehouse is the folder DIR/warehouse. Clients need the URL http://127.0.0.1:PORT and bring S3 settings of
their own. DIR/ports holds the port.
env:   REST_HEAP (128m)
U
  exit 2
}
VERSION=1.11.0
LIBS=$CACHE/rest-catalog-$VERSION

fetch() {
  need javac "install a Java 17 JDK"
  mvn_jars "$LIBS" "org.apache.iceberg:iceberg-core:$VERSION" "org.apache.iceberg:iceberg-core:$VERSION:jar:tests" \
    "org.apache.iceberg:iceberg-aws:$VERSION" "org.apache.iceberg:iceberg-aws-bundle:$VERSION" \
    org.eclipse.jetty:jetty-server:12.1.14 org.eclipse.jetty.ee10:jetty-ee10-servlet:12.1.14 \
    org.xerial:sqlite-jdbc:3.50.3.0 org.apache.hadoop:hadoop-client-api:3.4.2 \
    org.apache.hadoop:hadoop-client-runtime:3.4.2 org.slf4j:slf4j-simple:2.0.17
  with_lock rest-catalog-class compile
}
compile() {
  [[ $LIBS/RestCatalogMain.class -nt $HERE/RestCatalogMain.java ]] || javac -cp "$LIBS/*" -d "$LIBS" "$HERE/RestCatalogMain.java"
}

launch() {
  local settings=(warehouse="file://$DIR/warehouse" io-impl=org.apache.iceberg.hadoop.HadoopFileIO)
  if (($# == 2)); then
    settings=(warehouse="$2" io-impl=org.apache.iceberg.aws.s3.S3FileIO s3.endpoint="$1" s3.path-style-access=true
      client.region=us-east-1 s3.access-key-id=lakeloader s3.secret-access-key=lakeloader-secret)
  fi
  # SQLite takes one writer: clients=1 makes the catalog queue its requests instead of failing them
  spawn "$JAVA" "-Xmx${REST_HEAP:-128m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$LIBS:$LIBS/*" RestCatalogMain "${PORT[0]}" \
    catalog-impl=org.apache.iceberg.jdbc.JdbcCatalog uri="jdbc:sqlite:$DIR/catalog.db" jdbc.schema-version=V1 clients=1 \
    "${settings[@]}"
  wait_ready 60 "${PORT[0]}" curl -fsS "http://127.0.0.1:${PORT[0]}/v1/config"
}

service rest 1 "$@"
