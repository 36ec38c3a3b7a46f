#!/usr/bin/env bash
# Downloads and builds what `make test` needs, ahead of time; with "engines" what `make test-engines` needs as well.
# Every download is tried, so that one run shows all problems.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
failed=0
for server in kafka registry rest-catalog postgres opensearch; do "$HERE/$server.sh" fetch || failed=1; done
"$HERE/readers.sh" python >/dev/null || failed=1
"$HERE/readers.sh" topics >/dev/null || failed=1
if [[ ${1:-} == engines ]]; then
  "$HERE/readers.sh" spark >/dev/null || failed=1
  "$HERE/trino.sh" fetch || failed=1
  "$HERE/connect.sh" fetch || failed=1
  "$HERE/mariadb.sh" fetch || failed=1
fi
"$HERE/s3.sh" fetch || failed=1 # last: it is built from source, which takes minutes
exit "$failed"
