#!/usr/bin/env bash
# usage: system.sh NAME [FLAG...]
# Runs a published system (lakeloader demo NAME) on the real servers of run.sh: Kafka, the schema registry, PostgreSQL as the catalog, S3.
# ratings also has a MariaDB with a Debezium connector, and OpenSearch; retail a PostgreSQL with a Debezium connector. Then verifies the
# lake, and compares what came of the database's changes with the database, row by row. The topics have the published names, so the servers
# are for one run.
set -euo pipefail
[[ $# -ge 1 && -n ${LAKELOADER_TEST_KAFKA:-} ]] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAME=$1
shift
DIR=$(mktemp -d "${TMPDIR:-/tmp}/lakeloader-$NAME.XXXXXX")
SERVERS=$LAKELOADER_TEST_STACK_DIR # run.sh stops what is started there
export LAKELOADER_BROKERS=$LAKELOADER_TEST_KAFKA LAKELOADER_REGISTRY=$LAKELOADER_TEST_REGISTRY
export LAKELOADER_CATALOG=postgres LAKELOADER_CATALOG_URI=$LAKELOADER_TEST_POSTGRES
export LAKELOADER_WAREHOUSE=s3://warehouse/system-$NAME LAKELOADER_S3_ENDPOINT=$LAKELOADER_TEST_S3
export LAKELOADER_S3_ACCESS_KEY=$LAKELOADER_TEST_S3_ACCESS_KEY LAKELOADER_S3_SECRET_KEY=$LAKELOADER_TEST_S3_SECRET_KEY
export LAKELOADER_SQL_URL=$LAKELOADER_TEST_POSTGRES
BIN=$HERE/../../bin/lakeloader
port() { cut -d' ' -f1 "$SERVERS/$1/ports"; }

# connector FILE: a Debezium connector, as soon as the demo has made its table and waits for one.
connector() {
  until grep -qs 'waiting for a connector' "$DIR/output"; do sleep 0.1; done
  "$HERE/connect.sh" start "$SERVERS/system-connect" "$LAKELOADER_BROKERS" "$1"
}

# demo_with URL FILE FLAG...: the demo with a database, whose changes a connector tells.
demo_with() {
  local url=$1 starting; shift
  connector "$1" & starting=$!
  shift
  "$BIN" demo "$NAME" --servers --database "$url" --dir "$DIR/demo" "$@" | tee "$DIR/output" || { kill "$starting" 2>/dev/null || true; return 1; }
  wait "$starting"
}

# avro SIDE: the properties by which keys or values are written in Avro, as Confluent's converter does.
avro() {
  cat <<P
$1.converter=io.apicurio.registry.utils.converter.AvroConverter
$1.converter.apicurio.registry.url=${LAKELOADER_REGISTRY%/apis/*}/apis/registry/v2
$1.converter.apicurio.registry.auto-register=true
$1.converter.apicurio.registry.headers.enabled=false
$1.converter.apicurio.registry.as-confluent=true
$1.converter.apicurio.registry.use-id=contentId
P
}

# same TABLE SQL FLAG...: a table of the lake, as PyIceberg and DuckDB find it, must have the rows that the flags of same_rows.py say.
same() {
  local table=$1 sql=$2; shift 2
  "$LAKELOADER_TEST_PYTHON" "$HERE/../readers/same_rows.py" --catalog postgres --uri "$LAKELOADER_CATALOG_URI" --warehouse "$LAKELOADER_WAREHOUSE" \
    --s3 "$LAKELOADER_S3_ENDPOINT" --table "lake.$table" --sql "$sql" "$@"
}

# answer SQL: the only value of a query of the lake.
answer() { "$BIN" query -c "$DIR/demo/lakeloader.yaml" -o csv "$1" | tail -1; }

ratings() {
  local mariadb want got index
  MARIADB_BINLOG=1 "$HERE/mariadb.sh" start "$SERVERS/system-mariadb"
  "$HERE/opensearch.sh" start "$SERVERS/system-opensearch"
  mariadb=$(port system-mariadb)
  LAKELOADER_SEARCH=http://127.0.0.1:$(port system-opensearch)
  export LAKELOADER_SEARCH LAKELOADER_ALERTS=immediate
  cat >"$DIR/connector.properties" <<P
name=asgard
connector.class=io.debezium.connector.mariadb.MariaDbConnector
database.hostname=127.0.0.1
database.port=$mariadb
database.user=lakeloader
database.password=lakeloader-secret
database.server.id=4242
topic.prefix=asgard
database.include.list=demo
table.include.list=demo.CUSTOMERS
include.schema.changes=false
schema.history.internal=io.debezium.storage.file.history.FileSchemaHistory
schema.history.internal.file.filename=$DIR/history
poll.interval.ms=100
transforms=topic,source
transforms.topic.type=org.apache.kafka.connect.transforms.InsertField\$Value
transforms.topic.topic.field=messagetopic
transforms.source.type=org.apache.kafka.connect.transforms.InsertField\$Value
transforms.source.static.field=messagesource
transforms.source.static.value=Debezium CDC from MariaDB on asgard
$(avro key)
$(avro value)
P
  demo_with "mysql://lakeloader:lakeloader-secret@127.0.0.1:$mariadb/demo" "$DIR/connector.properties" "$@"
  "$BIN" verify -c "$DIR/demo/lakeloader.yaml"
  "$HERE/mariadb.sh" client "$SERVERS/system-mariadb" "SET time_zone = '+00:00'; SELECT CONCAT_WS('|', id, first_name, last_name, email, gender, club_status, comments,
    UNIX_TIMESTAMP(create_ts), UNIX_TIMESTAMP(update_ts)) FROM demo.CUSTOMERS" >"$DIR/customers"
  same customers "SELECT concat_ws('|', id, first_name, last_name, email, gender, club_status, comments, CAST(epoch(create_ts) AS BIGINT), CAST(epoch(update_ts) AS BIGINT))
    FROM {source}" --lines "$DIR/customers"
  want=$(answer "SELECT count(*) FROM ratings WHERE stars < 3 AND club_status = 'platinum'")
  grep -q "The webhook got $want messages, and none twice" "$DIR/output" || { echo "the webhook did not get the $want alerts of the lake" >&2; return 1; }
  for index in alerts 'ratings-*'; do
    [[ $index == alerts ]] || want=$(answer "SELECT count(*) FROM ratings")
    curl -fsS -X POST "$LAKELOADER_SEARCH/$index/_refresh" >/dev/null
    got=$(curl -fsS "$LAKELOADER_SEARCH/$index/_count" | sed 's/.*"count":\([0-9]*\).*/\1/')
    [[ $got == "$want" ]] || { echo "OpenSearch has $got documents in $index, the lake $want rows" >&2; return 1; }
    echo "OpenSearch has $got documents in $index, as many as the lake has rows"
  done
}

retail() {
  local postgres url job
  POSTGRES_WAL=logical "$HERE/postgres.sh" start "$SERVERS/system-postgres"
  postgres=$(port system-postgres)
  url=postgres://lakeloader:lakeloader-secret@127.0.0.1:$postgres/lakeloader
  cat >"$DIR/connector.properties" <<P
name=shop
connector.class=io.debezium.connector.postgresql.PostgresConnector
database.hostname=127.0.0.1
database.port=$postgres
database.user=lakeloader
database.password=lakeloader-secret
database.dbname=lakeloader
plugin.name=pgoutput
topic.prefix=shop
table.include.list=public.orders
decimal.handling.mode=string
poll.interval.ms=100
transforms=route
transforms.route.type=org.apache.kafka.connect.transforms.RegexRouter
transforms.route.regex=shop\\\\.public\\\\.(.*)
transforms.route.replacement=\$1
P
  demo_with "$url" "$DIR/connector.properties" "$@"
  "$BIN" verify -c "$DIR/demo/lakeloader.yaml"
  same orders "SELECT concat_ws('|', order_id, customer_id, session_id, sku, quantity, unit_price, status, epoch_us(created_at), epoch_us(updated_at)) FROM {source}" \
    --database "$url" --query "SELECT concat_ws('|', order_id, customer_id, session_id, sku, quantity, unit_price, status, (extract(epoch FROM created_at) * 1000000)::bigint,
      (extract(epoch FROM updated_at) * 1000000)::bigint) FROM orders"
  for job in daily_sales daily_products daily_conversion; do "$BIN" job run "$job" -c "$DIR/demo/lakeloader.yaml"; done
  same daily_sales "SELECT concat_ws('|', day, orders, sales, abs(average_order_value - CAST(sales AS DOUBLE) / orders) < 0.000001) FROM {source}" --database "$url" \
    --query "SELECT concat_ws('|', (created_at AT TIME ZONE 'UTC')::date, count(*), sum(quantity * unit_price), 'true') FROM orders WHERE status <> 'cancelled' GROUP BY (created_at AT TIME ZONE 'UTC')::date"
  same daily_products "SELECT concat_ws('|', day, sku, orders, pieces, sales) FROM {source}" --database "$url" \
    --query "SELECT concat_ws('|', (created_at AT TIME ZONE 'UTC')::date, sku, count(*), sum(quantity), sum(quantity * unit_price)) FROM orders WHERE status <> 'cancelled'
      GROUP BY (created_at AT TIME ZONE 'UTC')::date, sku"
  same daily_conversion "SELECT concat_ws('|', day, visits, visits_with_order) FROM {source}" --other lake.clickstream \
    --query "SELECT concat_ws('|', day, count(*), count(*) FILTER (ordered)) FROM (SELECT CAST(make_timestamp(epoch_us(\"at\")) AS DATE) AS day, session_id, bool_or(event = 'order') AS ordered FROM {source} GROUP BY ALL) GROUP BY day"
  echo "payments without their order: $(answer "SELECT count(*) FROM payments WHERE NOT order_known") of $(answer "SELECT count(*) FROM payments")"
}

case $NAME in
  ratings | retail) "$NAME" "$@" ;;
  *)
    "$BIN" demo "$NAME" --servers --dir "$DIR/demo" "$@"
    "$BIN" verify -c "$DIR/demo/lakeloader.yaml"
    ;;
esac
