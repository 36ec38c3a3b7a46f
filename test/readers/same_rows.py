"""Compares an Iceberg table with what a database has, row by row, and prints how many rows both have; 1: they differ.

  --catalog ... --table T   the table; --sql gives each of its rows as one text, with {source} for the table (DuckDB)
  --database URL --query Q  the same texts from PostgreSQL
  --other T --query Q       from another table of the lake, with {source} for it
  --lines FILE              or from a client that wrote them, one a line (-: standard input)
"""
import argparse
import sys

import duckdb_read
import lake


def main():
    p = lake.arguments(__doc__)
    p.add_argument("--database", default="", help="postgres:// URL")
    p.add_argument("--query", default="", help="a statement whose rows are one text each")
    p.add_argument("--other", default="", help="namespace.table")
    p.add_argument("--lines", default="", help="a file with the texts")
    args = p.parse_args()
    con = duckdb_read.connect(args)
    have = sorted(texts(con, args, args.sql[0]))
    want = sorted(expected(con, args))
    if have == want:
        print(f"{args.table} is as {args.other or 'the database'} says: {len(have)} rows, all the same")
        return
    only_lake, only_database = sorted(set(have) - set(want)), sorted(set(want) - set(have))
    print(f"{args.table} has {len(have)} rows, it should have {len(want)}; {len(only_lake)} are in it only, {len(only_database)} are missing")
    for where, rows in (("too much", only_lake), ("missing", only_database)):
        for row in rows[:5]:
            print(f"  {where}: {row}")
    sys.exit(1)


def texts(con, args, sql):
    """The rows of a statement over the table that args names."""
    source = f"iceberg_scan('{lake.table(args).metadata_location.removeprefix('file://')}')"
    return [str(row[0]) for row in con.execute(sql.replace("{source}", source)).fetchall()]


def expected(con, args):
    if args.lines:
        with sys.stdin if args.lines == "-" else open(args.lines, encoding="utf-8") as f:
            return [line.rstrip("\n") for line in f]
    if args.other:
        return texts(con, argparse.Namespace(**{**vars(args), "table": args.other}), args.query)
    import psycopg2

    with psycopg2.connect(args.database.replace("postgres://", "postgresql://", 1)).cursor() as cursor:
        cursor.execute(args.query)
        return [row[0] for row in cursor.fetchall()]


if __name__ == "__main__":
    main()
