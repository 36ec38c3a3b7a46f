#!/usr/bin/env bash
# usage: run.sh COMMAND [ARG...]
# Starts the servers (up.sh), runs COMMAND with their addresses in the environment, and stops them, however it ends.
# When it fails, their logs stay for a look, and the last lines of a server that died are shown.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
(($# > 0)) || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }

DIR=$(mktemp -d "${TMPDIR:-/tmp}/lakeloader-stack.XXXXXX")
cleanup() {
  local rc=$?
  trap - EXIT INT TERM HUP
  if ((rc != 0)); then show_dead; keep_logs; fi
  "$HERE/down.sh" "$DIR"
  exit "$rc"
}
show_dead() { # a server whose pid file is left, but not its process
  local pidfile
  for pidfile in "$DIR"/*/*.pid; do
    if [[ -f $pidfile ]] && ! alive "$pidfile"; then
      echo "--- ${pidfile%.pid}.log: this server died; its last lines:"
      tail -40 "${pidfile%.pid}.log"
    fi
  done >&2
}
keep_logs() {
  local logs=$DIR.logs
  mkdir -p "$logs"
  (cd "$DIR" && find . -name '*.log' -not -path '*/data/*' -exec cp --parents {} "$logs" \;)
  log "the servers' logs are in $logs"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
# should this script itself be killed outright, no trap runs: a watcher then stops the servers
echo "$$ $(start_time $$)" >"$DIR/run"
# shellcheck disable=SC2016
setsid bash -c '. "$1/lib.sh"; while alive "$2/run"; do sleep 2; done; "$1/down.sh" "$2"' - "$HERE" "$DIR" </dev/null >/dev/null 2>&1 &

"$HERE/up.sh" "$DIR" >"$DIR/env"
. "$DIR/env"
"$@"
