"""Reads Parquet files with readers that are not ours: readers.py READER FILE...

Prints one JSON array of rows per file, a row being a list of [name, value] pairs sorted by name. Values are text: true,
5 (integers, days, microseconds, unscaled decimals), d3ff0000000000000 (floating point, by its bits as a double), s:text,
x:hex (bytes and UUIDs); lists are arrays; structs and maps are sorted arrays of pairs. The reader duckdb also looks each
value up by equality, so that it skips row groups and pages by their statistics.
"""
import datetime, decimal, json, math, struct, sys, uuid

import duckdb
import pyarrow.parquet

EPOCH = datetime.datetime(1970, 1, 1)


def text(v):
    if v is None:
        return None
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, int):
        return str(v)
    if isinstance(v, float):
        return "dNaN" if math.isnan(v) else "d" + struct.pack(">d", v).hex()
    if isinstance(v, str):
        return "s:" + v
    if isinstance(v, bytes):
        return "x:" + v.hex()
    if isinstance(v, uuid.UUID):
        return "x:" + v.hex
    if isinstance(v, decimal.Decimal):
        sign, digits, _ = v.as_tuple()
        return str(int("".join(map(str, digits))) * (-1 if sign else 1))
    if isinstance(v, datetime.datetime):
        if v.tzinfo:
            v = v.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return str((v - EPOCH) // datetime.timedelta(microseconds=1))
    if isinstance(v, datetime.date):
        return str((v - EPOCH.date()).days)
    if isinstance(v, datetime.time):
        return str(((v.hour * 60 + v.minute) * 60 + v.second) * 1000000 + v.microsecond)
    if isinstance(v, dict):
        return pairs(v.items())
    if isinstance(v, list):
        return pairs(v) if v and isinstance(v[0], tuple) else [text(x) for x in v]
    raise TypeError(f"{type(v)}: {v!r}")


def pairs(items):
    return sorted(([text(k), text(v)] for k, v in items), key=lambda p: p[0])


def by_pyarrow(path):
    return [text(row) for row in pyarrow.parquet.ParquetFile(path).read().to_pylist()]


def by_duckdb(path):
    con = duckdb.connect()
    con.execute("set TimeZone='UTC'; set arrow_lossless_conversion=true")
    # through Arrow, as fetchall needs a time zone library that need not be installed
    found = con.execute("select * from read_parquet(?, hive_partitioning=false)", [path]).to_arrow_table()
    rows = found.to_pylist()
    for name in found.column_names:
        values = [r[name] for r in rows]
        for v in {text(v): v for v in values[:3] if not isinstance(v, (dict, list, float, type(None)))}.values():
            count = con.execute(f'select count(*) from read_parquet(?) where "{name}" = ?', [path, v]).fetchone()[0]
            if count != values.count(v):
                sys.exit(f"{path}: {count} rows have {name} = {v!r}, not {values.count(v)}")
    return [text(r) for r in rows]


if __name__ == "__main__":
    read = {"pyarrow": by_pyarrow, "duckdb": by_duckdb}[sys.argv[1]]
    for path in sys.argv[2:]:
        print(json.dumps(read(path)))
