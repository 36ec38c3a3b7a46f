#!/usr/bin/env bash
# Apache Kafka from Maven: one KRaft node, broker and controller, on 127.0.0.1.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: kafka.sh fetch               download the jars only
       kafka.sh start DIR           start (or keep) a broker; its data stays in DIR
       kafka.sh stop DIR            clean stop
       kafka.sh kill DIR            SIGKILL, as in a crash; start recovers
       kafka.sh remove DIR          kill, and delete DIR
       kafka.sh status DIR
       kafka.sh tool CLASS ARG...   e.g. tool org.apache.kafka.tools.TopicCommand --bootstrap-server HOST:PORT --list
DIR/ports holds the ports: plain text, controller, SASL, TLS, expired.
env:   KAFKA_HEAP (256m)
       KAFKA_PROPS    further lines of server.properties, read at every start
       KAFKA_SASL=1   at the first start of DIR: a SASL_SSL listener (SCRAM-SHA-512), user app, password app-secret;
                      DIR/tls/ca.pem is the certificate that clients must trust
       KAFKA_TLS      at the first start of DIR: a folder with broker.pem (key and certificate), expired.pem (the same),
                      ca.pem (who signs clients) and jwks.json (who signs tokens). Then there are three listeners more:
                      SASL_SSL (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512: user app, password app-secret; OAUTHBEARER for
                      the audience kafka), TLS that demands a client's certificate, and TLS with expired.pem
U
  exit 2
}
VERSION=4.3.1
LIBS=$CACHE/kafka-$VERSION

fetch() {
  need "$JAVA" "install Java 17 or newer"
  mvn_jars "$LIBS" "org.apache.kafka:kafka_2.13:$VERSION" "org.apache.kafka:kafka-tools:$VERSION" \
    org.apache.logging.log4j:log4j-core:2.25.1 org.apache.logging.log4j:log4j-slf4j-impl:2.25.1
}

log4j() { # LEVEL FILE: logs to standard error
  cat >"$2" <<L
status = error
appender.c.type = Console
appender.c.name = C
appender.c.target = SYSTEM_ERR
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = $1
rootLogger.appenderRef.c.ref = C
L
}

tool() {
  fetch
  [[ -f $LIBS/tool-log4j2.properties ]] || log4j warn "$LIBS/tool-log4j2.properties"
  exec "$JAVA" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dlog4j2.configurationFile="$LIBS/tool-log4j2.properties" -cp "$LIBS/*" "$@"
}

tls() { # a throw-away self-signed certificate, which is its own authority
  local dir=$DIR/tls
  mkdir -p "$dir"
  keytool -genkeypair -alias broker -keyalg EC -groupname secp256r1 -validity 3650 -dname CN=localhost \
    -ext SAN=dns:localhost,ip:127.0.0.1 -storetype PKCS12 -keystore "$dir/broker.p12" -storepass changeit 2>>"$LOGFILE"
  keytool -exportcert -rfc -alias broker -keystore "$dir/broker.p12" -storepass changeit >"$dir/ca.pem" 2>>"$LOGFILE"
}

# listeners beside the plain one; they set $listeners and $protocols, and print what else they need
sasl_listener() {
  listeners+=,SASL_SSL://127.0.0.1:${PORT[2]} protocols+=,SASL_SSL:SASL_SSL
  cat <<P
sasl.enabled.mechanisms=SCRAM-SHA-512
ssl.keystore.location=$DIR/tls/broker.p12
ssl.keystore.type=PKCS12
ssl.keystore.password=changeit
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
P
}
secure_listeners() {
  local security=org.apache.kafka.common.security l=listener.name.sasl_ssl
  listeners+=,SASL_SSL://127.0.0.1:${PORT[2]},MUTUAL://127.0.0.1:${PORT[3]},EXPIRED://127.0.0.1:${PORT[4]}
  protocols+=,SASL_SSL:SASL_SSL,MUTUAL:SSL,EXPIRED:SSL
  cat <<P
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
ssl.keystore.type=PEM
ssl.keystore.location=$KAFKA_TLS/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$KAFKA_TLS/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location=$KAFKA_TLS/expired.pem
$l.plain.sasl.jaas.config=$security.plain.PlainLoginModule required user_app="app-secret";
$l.scram-sha-256.sasl.jaas.config=$security.scram.ScramLoginModule required;
$l.scram-sha-512.sasl.jaas.config=$security.scram.ScramLoginModule required;
$l.oauthbearer.sasl.jaas.config=$security.oauthbearer.OAuthBearerLoginModule required;
$l.oauthbearer.sasl.server.callback.handler.class=$security.oauthbearer.OAuthBearerValidatorCallbackHandler
$l.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://$KAFKA_TLS/jwks.json
$l.oauthbearer.sasl.oauthbearer.expected.audience=kafka
P
}

properties() {
  local listeners=PLAINTEXT://127.0.0.1:${PORT[0]} protocols=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
  if [[ -d $DIR/tls ]]; then sasl_listener; fi
  if [[ -n ${KAFKA_TLS:-} ]]; then secure_listeners; fi
  cat <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${PORT[1]}
listeners=$listeners,CONTROLLER://127.0.0.1:${PORT[1]}
advertised.listeners=$listeners
listener.security.protocol.map=$protocols
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$DIR/data
num.network.threads=2
num.io.threads=4
# the default, 128 MiB, is half of the small heap
log.cleaner.dedupe.buffer.size=16777216
log.retention.hours=-1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# a broker that was killed may come back only when its old session has ended
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
group.initial.rebalance.delay.ms=0
# tests kill members of groups; the least that a member may ask for is 6 s by default
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
${KAFKA_PROPS:-}
P
}

launch() {
  local scram=() jvm=("$JAVA" -Xms64m "-Xmx${KAFKA_HEAP:-256m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    -Djava.awt.headless=true -Dlog4j2.configurationFile="$DIR/log4j2.properties" -cp "$LIBS/*")
  log4j info "$DIR/log4j2.properties"
  if [[ -n ${KAFKA_TLS:-} ]]; then
    jvm+=("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://$KAFKA_TLS/jwks.json")
    scram=(--add-scram 'SCRAM-SHA-512=[name=app,password=app-secret]' --add-scram 'SCRAM-SHA-256=[name=app,password=app-secret]')
  fi
  if [[ -n ${KAFKA_SASL:-} && ! -d $DIR/data ]]; then
    tls
    scram=(--add-scram 'SCRAM-SHA-512=[name=app,password=app-secret]')
  fi
  properties >"$DIR/server.properties"
  if [[ ! -f $DIR/data/meta.properties ]]; then # every broker is a cluster of its own, with a random id
    rm -rf "$DIR/data"
    "${jvm[@]}" kafka.tools.StorageTool format -c "$DIR/server.properties" "${scram[@]}" \
      -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=')" >"$DIR/format.log" 2>&1 \
      || { cat "$DIR/format.log" >&2; die "formatting $DIR/data failed"; }
  fi
  spawn "${jvm[@]}" kafka.Kafka "$DIR/server.properties"
  wait_ready 90 "${PORT[0]}" grep -q 'Kafka Server started' "$LOGFILE"
}

if [[ ${1:-} == tool ]]; then
  shift
  (($# > 0)) || usage
  tool "$@"
fi
service kafka 5 "$@"
