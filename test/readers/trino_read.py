"""Reads a table with Trino, whose catalog "lake" is the REST catalog, and prints the report described in lake.py."""
import json
import os
import sys
import urllib.request

import lake


def main():
    p = lake.arguments(__doc__)
    p.add_argument("--trino", default=os.environ.get("LAKELOADER_TEST_TRINO", ""), help="URL of the Trino server")
    args = p.parse_args()
    if args.rows:
        sys.exit("trino_read.py: --rows is not supported: Trino's text forms of values differ from the other readers'")
    source = f"lake.{args.table}" + (f" FOR VERSION AS OF {args.snapshot}" if args.snapshot else "")
    columns = [row[0] for row in query(args, f"SHOW COLUMNS FROM lake.{args.table}")]
    lake.emit(lake.report_of_sql(args, source, columns, lambda sql: query(args, sql)))


def query(args, sql):
    """Runs one statement through Trino's HTTP protocol: each answer names the address of the next one."""
    request = urllib.request.Request(args.trino + "/v1/statement", sql.encode(), {"X-Trino-User": "test"})
    rows = []
    while request:
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
        if "error" in answer:
            sys.exit(f"trino_read.py: {answer['error']['message']}\n{sql}")
        rows += [tuple(row) for row in answer.get("data", [])]
        request = answer.get("nextUri")
    return rows


main()
