#!/usr/bin/env bash
# usage: down.sh DIR
# Stops every server that was started in DIR (also those that tests started beside the shared ones), nothing else, and
# removes DIR.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
[[ $# == 1 ]] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[[ -d $1 ]] || exit 0
while IFS= read -r pidfile; do
  [[ $pidfile == */postgres.pid ]] && export STOP_SIGNAL=INT || STOP_SIGNAL=TERM
  stop_pid "$pidfile" 20 &
done < <(find "$1" -name '*.pid' -not -path '*/data/*')
wait
remove_folder "$1"
