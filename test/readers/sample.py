"""Writes the table that the readers are tried on: rows 0..999 of partition 0 (offset 500 missing, 700 twice) and
0..99 of partition 1 of topic t, with one column of each kind, in the REST catalog or a SQLite catalog with --uri.
Run by test/stack/stacktest's tests, so that a reader that miscounts is found before it judges lakeloader."""
import datetime
import decimal
import os
import uuid

import lake
import pyarrow as pa
from pyiceberg.catalog import load_catalog


def main():
    args = lake.arguments(__doc__).parse_args()
    key, secret = lake.s3_keys()
    settings = {"uri": args.uri, "type": "rest", "s3.endpoint": args.s3, "s3.access-key-id": key,
                "s3.secret-access-key": secret, "s3.region": "us-east-1"}
    if args.catalog == "sqlite":
        settings |= {"uri": "sqlite:///" + os.path.abspath(args.uri), "type": "sql", "warehouse": args.warehouse}
    catalog = load_catalog(args.name, **settings)
    catalog.create_namespace(args.table.split(".")[0])
    rows = sample()
    catalog.create_table(args.table, rows.schema).append(rows)


def sample():
    offsets = [(0, o) for o in range(1000) if o != 500] + [(0, 700)] + [(1, o) for o in range(100)]
    start = datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc)
    return pa.table({
        lake.TOPIC: pa.array(["t"] * len(offsets)),
        lake.PARTITION: pa.array([p for p, _ in offsets], pa.int32()),
        lake.OFFSET: pa.array([o for _, o in offsets], pa.int64()),
        "amount": pa.array([decimal.Decimal(o) / 100 if o % 2 else None for _, o in offsets], pa.decimal128(12, 2)),
        "price": pa.array([o / 2 for _, o in offsets], pa.float64()),
        "at": pa.array([start + datetime.timedelta(seconds=o) for _, o in offsets], pa.timestamp("us", tz="UTC")),
        "local": pa.array([(start + datetime.timedelta(seconds=o)).replace(tzinfo=None) for _, o in offsets], pa.timestamp("us")),
        "day": pa.array([start.date()] * len(offsets), pa.date32()),
        "raw": pa.array([bytes([o % 256]) for _, o in offsets], pa.binary()),
        "tags": pa.array([[f"a{o % 3}", None] for _, o in offsets], pa.list_(pa.string())),
        "props": pa.array([[("k", o)] for _, o in offsets], pa.map_(pa.string(), pa.int64())),
        "inner": pa.array([{"x": o, "y": str(uuid.UUID(int=o))} for _, o in offsets],
                          pa.struct([("x", pa.int64()), ("y", pa.string())])),
    })


main()
