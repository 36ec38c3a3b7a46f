"""What the readers share: how a table is named on the command line, and the report that all of them print.

The report is one JSON object, in the same form from every engine, so that a test can compare them:

    rows        how many rows the table holds
    partitions  for each Kafka topic, partition and epoch: the rows, the offsets as ranges [first, next) and how many
                rows repeat an offset (empty for a table without the columns of Kafka's coordinates)
    columns     for each column named by --sum: the exact sum, as text, the number of values that are not null, and
                whether they are floating-point numbers
    results     for each --sql: its rows, as lists of values
    data        with --rows: the rows themselves, ordered by Kafka coordinates

None of this uses lakeloader's own code, on purpose.
"""
import argparse
import base64
import datetime
import decimal
import json
import math
import os
import sys
import uuid

TOPIC, PARTITION, EPOCH, OFFSET = "_kafka_topic", "_kafka_partition", "_kafka_epoch", "_kafka_offset"


def arguments(doc):
    """The command line that all readers understand."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--catalog", choices=["sqlite", "postgres", "rest"], help="what kind of catalog --uri is")
    p.add_argument("--uri", help="SQLite file, postgres:// URL or http:// URL of the catalog")
    p.add_argument("--name", default="lakeloader", help="the catalog's name in a SQL catalog")
    p.add_argument("--warehouse", default="", help="the catalog's warehouse, where an engine asks for it")
    p.add_argument("--table", help="namespace.table")
    p.add_argument("--s3", default=os.environ.get("LAKELOADER_TEST_S3", ""), help="URL of the S3 server")
    p.add_argument("--sum", action="append", default=[], metavar="COLUMN", help="report its sum; may be repeated")
    p.add_argument("--where", default="", help="only rows for which this SQL condition holds")
    p.add_argument("--sql", action="append", default=[], metavar="STATEMENT",
                   help="report its rows too, with {source} for the table; may be repeated; for engines that speak SQL")
    p.add_argument("--snapshot", type=int, help="the table as of this snapshot id")
    p.add_argument("--rows", action="store_true", help="print the rows too")
    return p


def s3_keys():
    return os.environ.get("LAKELOADER_TEST_S3_ACCESS_KEY", ""), os.environ.get("LAKELOADER_TEST_S3_SECRET_KEY", "")


def table(args):
    """The table as PyIceberg sees it."""
    from pyiceberg.catalog import load_catalog

    settings = {"type": "rest" if args.catalog == "rest" else "sql", "uri": args.uri}
    if args.catalog == "sqlite":
        if not os.path.isfile(args.uri):  # SQLite would make an empty one
            sys.exit(f"there is no catalog file {args.uri}")
        settings["uri"] = "sqlite:///" + os.path.abspath(args.uri)
    elif args.catalog == "postgres":
        settings["uri"] = "postgresql+psycopg2://" + args.uri.split("://", 1)[1]
    if args.catalog != "rest":
        settings["init_catalog_tables"] = "false"  # a reader changes nothing
    if args.warehouse:
        settings["warehouse"] = args.warehouse
    if args.s3:
        key, secret = s3_keys()
        settings.update({"s3.endpoint": args.s3, "s3.access-key-id": key, "s3.secret-access-key": secret,
                         "s3.region": "us-east-1", "s3.force-virtual-addressing": "false"})
    return load_catalog(args.name, **settings).load_table(args.table)


def kafka_columns(columns):
    """Those of Kafka's coordinates that the table has; none unless an offset can be named by them."""
    return [c for c in (TOPIC, PARTITION, EPOCH, OFFSET) if c in columns] if {TOPIC, PARTITION, OFFSET} <= set(columns) else []


def report_of_sql(args, source, columns, query):
    """The report of an engine that speaks SQL. query(SQL) gives a list of tuples; source is what stands after FROM."""
    if args.where:
        source = f"(SELECT * FROM {source} WHERE {args.where}) AS chosen"
    report = {"rows": query(f"SELECT count(*) FROM {source}")[0][0], "partitions": [], "columns": {}}
    coordinates = kafka_columns(columns)
    if coordinates:
        epoch = EPOCH if EPOCH in coordinates else "0"
        islands = []
        for some in _parts(report["rows"], source, query):
            # offsets without a gap between them keep the same distance to their row number
            islands += query(f"""
                WITH offsets AS (SELECT {TOPIC} AS t, {PARTITION} AS p, {epoch} AS e, {OFFSET} AS o, count(*) AS n
                                 FROM {some} GROUP BY {', '.join(coordinates)}),
                     runs AS (SELECT t, p, e, o, n, o - row_number() OVER (PARTITION BY t, p, e ORDER BY o) AS run FROM offsets)
                SELECT t, p, e, min(o), max(o) + 1, sum(n) FROM runs GROUP BY t, p, e, run ORDER BY 1, 2, 3, 4""")
        report["partitions"] = [_partition(*key, group) for key, group in _grouped(islands)]
    for name in args.sum:
        total, count = query(f'SELECT sum({name}), count({name}) FROM {source}')[0]
        report["columns"][name] = {"sum": exact(total), "count": count, "float": isinstance(total, float)}
    report["results"] = [[[jsonable(v) for v in row] for row in query(sql.replace("{source}", source))] for sql in args.sql]
    return report


def _parts(rows, source, query):
    """What stands after FROM to look at a table's offsets: of a large one a partition number at a time, since that takes memory."""
    if rows <= 1_000_000:
        return [source]
    return [f"(SELECT * FROM {source} WHERE {PARTITION} = {p}) AS part"
            for p, in query(f"SELECT DISTINCT {PARTITION} FROM {source} ORDER BY 1")]


def _grouped(islands):
    groups = {}
    for topic, partition, epoch, first, following, rows in islands:
        groups.setdefault((topic, partition, epoch), []).append((int(first), int(following), int(rows)))
    return groups.items()


def _partition(topic, partition, epoch, islands):
    rows = sum(n for _, _, n in islands)
    offsets = sum(following - first for first, following, _ in islands)
    return {"topic": topic, "partition": partition, "epoch": epoch, "rows": rows,
            "ranges": [[first, following] for first, following, _ in islands], "duplicates": rows - offsets}


def report_of_arrow(args, rows):
    """The report computed here from a pyarrow Table, without any SQL engine."""
    report = {"rows": rows.num_rows, "partitions": [], "columns": {}}
    if kafka_columns(rows.column_names):
        epochs = rows[EPOCH].to_pylist() if EPOCH in rows.column_names else [0] * rows.num_rows
        offsets = {}
        for *key, offset in zip(rows[TOPIC].to_pylist(), rows[PARTITION].to_pylist(), epochs, rows[OFFSET].to_pylist()):
            offsets.setdefault(tuple(key), []).append(offset)
        report["partitions"] = [_partition(*key, _islands(offsets[key])) for key in sorted(offsets)]
    for name in args.sum:
        values = [v for v in rows[name].to_pylist() if v is not None]
        total = math.fsum(values) if values and isinstance(values[0], float) else sum(values) if values else None
        report["columns"][name] = {"sum": exact(total), "count": len(values), "float": isinstance(total, float)}
    return report


def _islands(offsets):
    islands = []
    for offset in sorted(offsets):
        if islands and offset <= islands[-1][1]:
            first, _, rows = islands[-1]
            islands[-1] = (first, offset + 1, rows + 1)
        else:
            islands.append((offset, offset + 1, 1))
    return islands


def exact(total):
    """A sum as text: "" for no value at all, integers and decimals in full."""
    if total is None:
        return ""
    return format(total, "f") if isinstance(total, decimal.Decimal) else repr(total) if isinstance(total, float) else str(total)


def data(rows):
    """The rows of a pyarrow Table as JSON objects, ordered by Kafka coordinates, else by their text."""
    names = rows.column_names
    out = [dict(zip(names, values)) for values in zip(*[[jsonable(v) for v in rows[n].to_pylist()] for n in names])]
    coordinates = kafka_columns(names)
    return sorted(out, key=lambda r: [r[c] for c in coordinates] if coordinates else json.dumps(r, sort_keys=True))


def jsonable(v):
    """A value in JSON, one form for all engines: decimals, dates, times and uuids as text, times of day and timestamps
    with microseconds, those with a zone in UTC and with Z, bytes in base64, maps as sorted [key, value] pairs."""
    if v is None or isinstance(v, (bool, int, str)):
        return v
    if isinstance(v, float):
        return v if math.isfinite(v) else "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity"
    if isinstance(v, decimal.Decimal):
        return format(v, "f")
    if isinstance(v, datetime.datetime):
        if v.tzinfo:
            return v.astimezone(datetime.timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        return v.isoformat(timespec="microseconds")
    if isinstance(v, datetime.time):
        return v.isoformat(timespec="microseconds")
    if isinstance(v, datetime.date):
        return v.isoformat()
    if isinstance(v, (bytes, bytearray)):
        return base64.b64encode(v).decode()
    if isinstance(v, uuid.UUID):
        return str(v)
    if isinstance(v, dict):
        return {k: jsonable(x) for k, x in v.items()}
    if isinstance(v, list):
        items = [[jsonable(x) for x in i] if isinstance(i, tuple) else jsonable(i) for i in v]
        is_map = any(isinstance(i, tuple) for i in v)  # pyarrow's form of a map
        return sorted(items, key=lambda kv: json.dumps(kv[0])) if is_map else items
    raise TypeError(f"no JSON form for a {type(v).__name__}")


def emit(report):
    json.dump(report, sys.stdout)
    print()
