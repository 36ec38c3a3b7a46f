#!/usr/bin/env bash
# usage: vuln.sh
# Checks the code and its dependencies against the Go vulnerability database (GOVULNDB names another one).
# Exit code 0: no vulnerability is reached. 3: some are, and are listed. 77: the database cannot be reached, so NOTHING WAS
# CHECKED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
DB=${GOVULNDB:-https://vuln.go.dev}
if [[ $DB == http* ]] && ! curl -fsS --retry 2 --max-time 30 -o /dev/null "$DB/index/db.json"; then
  cat >&2 <<M

##################################################################################
## NOT CHECKED FOR VULNERABILITIES: the database $DB cannot be reached from here.
## This says nothing about the dependencies. Run \`make vuln\` where there is network.
##################################################################################

M
  exit 77
fi
tool=$(test/stack/tool.sh govulncheck)
exec "$tool" -db "$DB" -tags stack ./...
