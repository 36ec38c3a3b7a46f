"""Reads a table with Trino, whose catalog "lake" is the REST catalog, and prints the report described in lake.py."""
import json
import os
import sys
import time
import urllib.error
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
        answer = ask(request)
        if "error" in answer:
            sys.exit(f"trino_read.py: {answer['error']['message']}\n{sql}")
        rows += [tuple(row) for row in answer.get("data", [])]
        request = answer.get("nextUri")
    return rows


def ask(request):
    """Asks again for two minutes while the server is overloaded: with 502, 503 and 504 the protocol has the client do so."""
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError as e:
            if e.code not in (502, 503, 504) or time.monotonic() > end:
                sys.exit(f"trino_read.py: {e.url}: {e} {e.read().decode(errors='replace')[:500]}")
            time.sleep(0.1)


main()
