"""Writes Parquet files with pyarrow and DuckDB in several forms, and prints each path with the rows as the test writes them."""
import datetime, decimal, json, random, sys
import duckdb, pyarrow as pa, pyarrow.parquet as pq

folder = sys.argv[1]
rnd = random.Random(7)
EPOCH = datetime.datetime(1970, 1, 1)
US = datetime.timedelta(microseconds=1)

def field(i, name, t, null=True):
    return pa.field(name, t, null, {b"PARQUET:field_id": str(i).encode()})

SCHEMA = pa.schema([
    field(1, "b", pa.bool_()), field(2, "i", pa.int32(), False), field(3, "l", pa.int64()), field(4, "f", pa.float32()), field(5, "d", pa.float64()),
    field(6, "d9", pa.decimal128(9, 2)), field(7, "d18", pa.decimal128(18, 3)), field(8, "d38", pa.decimal128(38, 4)),
    field(9, "day", pa.date32()), field(10, "t", pa.time64("us")), field(11, "ts", pa.timestamp("us")), field(12, "tz", pa.timestamp("us", "UTC")),
    field(13, "s", pa.string()), field(14, "u", pa.binary(16)), field(15, "x", pa.binary()),
    field(16, "st", pa.struct([field(17, "a", pa.int32(), False), field(18, "c", pa.list_(field(19, "element", pa.string())))])),
    field(20, "li", pa.list_(field(21, "element", pa.struct([field(22, "v", pa.int64()), field(23, "w", pa.list_(field(24, "element", pa.int32(), False)))])))),
    field(25, "m", pa.map_(field(26, "key", pa.string(), False), field(27, "value", pa.float64()))),
])

def word(n):
    return "".join(rnd.choice("abcxyz") for _ in range(n))

def value(t):
    if pa.types.is_boolean(t): return rnd.random() < 0.5
    if pa.types.is_int32(t): return rnd.randrange(-2**31, 2**31)
    if pa.types.is_int64(t): return rnd.randrange(-2**63, 2**63)
    if pa.types.is_floating(t): return rnd.randrange(-1000, 1000) / 8 + 0.0625
    if pa.types.is_decimal(t): return decimal.Decimal(rnd.randrange(-10**(t.precision - rnd.randrange(t.precision)) + 1, 10**t.precision)).scaleb(-t.scale, decimal.Context(prec=40))
    if pa.types.is_date(t): return datetime.date(1970, 1, 1) + datetime.timedelta(days=rnd.randrange(-9000, 30000))
    if pa.types.is_time(t): return (EPOCH + US * rnd.randrange(86400 * 10**6)).time()
    if pa.types.is_timestamp(t):
        ts = EPOCH + US * rnd.randrange(-10**14, 2 * 10**15)
        return ts.replace(tzinfo=datetime.timezone.utc) if t.tz else ts
    if pa.types.is_string(t): return word(rnd.randrange(20))
    if pa.types.is_fixed_size_binary(t): return word(t.byte_width).encode()
    if pa.types.is_binary(t): return word(rnd.randrange(9)).encode()
    if pa.types.is_struct(t): return {f.name: slot(f) for f in t}
    if pa.types.is_map(t): return [(k, slot(t.item_field)) for k in sorted({word(3) for _ in range(rnd.randrange(4))})]
    return [slot(t.value_field) for _ in range(rnd.randrange(4))]

def slot(f):
    return None if f.nullable and rnd.random() < 0.2 else value(f.type)

def text(t, v):
    if v is None: return "null"
    if pa.types.is_boolean(t): return str(v).lower()
    if pa.types.is_floating(t): return ("%.6f" % v).rstrip("0").rstrip(".")
    if pa.types.is_decimal(t):
        n = int(v.scaleb(t.scale, decimal.Context(prec=40)))
        return str(n) if t.precision <= 18 else "0x" + (n % 2**128).to_bytes(16, "big").hex()
    if pa.types.is_date(t): return str((v - datetime.date(1970, 1, 1)).days)
    if pa.types.is_time(t): return str((datetime.datetime.combine(EPOCH, v) - EPOCH) // US)
    if pa.types.is_timestamp(t): return str((v.replace(tzinfo=None) - EPOCH) // US)
    if pa.types.is_string(t): return '"%s"' % v
    if pa.types.is_fixed_size_binary(t) or pa.types.is_binary(t): return '"%s"' % v.decode()
    if pa.types.is_struct(t): return "struct(" + " ".join(f.name + ":" + text(f.type, v[f.name]) for f in t) + ")"
    if pa.types.is_map(t): return "map(" + " ".join("key:\"%s\" value:%s" % (k, text(t.item_type, x)) for k, x in v) + ")"
    if pa.types.is_list(t): return "list(" + " ".join("element:" + text(t.value_type, x) for x in v) + ")"
    return str(v)

def put(name, rows):
    print(json.dumps({"path": folder + "/" + name, "rows": ["struct(" + " ".join(f.name + ":" + text(f.type, r[f.name]) for f in SCHEMA) + ")" for r in rows]}))

rows = [{f.name: slot(f) for f in SCHEMA} for _ in range(1500)]
written = pa.Table.from_pylist(rows, SCHEMA)
for name, options in {
    "default": {}, "v2": {"data_page_version": "2.0", "compression": "zstd", "data_page_size": 500}, "groups": {"row_group_size": 100, "compression": "gzip"},
    "plain": {"use_dictionary": False, "compression": "none"}, "integers": {"store_decimal_as_integer": True},
    "item": {"use_compliant_nested_type": False}, "indexed": {"write_page_index": True, "compression": "lz4"},
    "delta": {"use_dictionary": False, "column_encoding": {"s": "DELTA_BYTE_ARRAY", "x": "DELTA_LENGTH_BYTE_ARRAY", "l": "DELTA_BINARY_PACKED", "d": "BYTE_STREAM_SPLIT"}},
}.items():
    pq.write_table(written, folder + "/" + name, **options)
    put(name, rows)

# Times in milliseconds, and no field ids.
whole = [dict(r, **{c: r[c] and r[c].replace(microsecond=r[c].microsecond // 1000 * 1000) for c in ("t", "ts", "tz")}) for r in rows]
def bare(t):
    if pa.types.is_struct(t): return pa.struct([pa.field(f.name, bare(f.type)) for f in t])
    if pa.types.is_map(t): return pa.map_(bare(t.key_type), bare(t.item_type))
    if pa.types.is_list(t): return pa.list_(bare(t.value_type))
    if pa.types.is_time(t): return pa.time32("ms")
    if pa.types.is_timestamp(t): return pa.timestamp("ms", t.tz)
    return t
pq.write_table(pa.Table.from_pylist(whole, pa.schema([pa.field(f.name, bare(f.type)) for f in reversed(list(SCHEMA))])), folder + "/millis")
put("millis", whole)

db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
def duck(name, rows, version):
    written = pa.Table.from_pylist(rows, SCHEMA)
    db.execute(f"COPY (FROM written) TO '{folder}/{name}' (FORMAT parquet, PARQUET_VERSION {version}, ROW_GROUP_SIZE 700)")
duck("duckdb-V1", rows, "V1")
put("duckdb-V1", rows)
def shrink(t, v):
    if v is None: return None
    if pa.types.is_int32(t): return v // 4
    if pa.types.is_struct(t): return {f.name: shrink(f.type, v[f.name]) for f in t}
    if pa.types.is_list(t): return [shrink(t.value_type, x) for x in v]
    return v
narrow = [{f.name: shrink(f.type, r[f.name]) for f in SCHEMA} for r in rows]
duck("duckdb-V2", narrow, "V2")
put("duckdb-V2", narrow)
duck("duckdb-wide", rows, "V2") # with differences of more than 32 bits between numbers of 32 bits, which the format forbids
pq.write_table(written, folder + "/int96", use_deprecated_int96_timestamps=True)
