"""Damages a table with PyIceberg, as someone might who does not know of lakeloader, and prints as JSON what was damaged:

  where       the metadata file before, which a SQL catalog can be set back to
  partitions  the offsets concerned by partition: the rows of the file or of the snapshots, or the offsets moved over

The kinds: twice (a file is added again), dropped (a file is taken out), moved (offsets are moved by hand, with the right
checksum), wiped (lakeloader's properties are removed), rollback (main is set back a few snapshots), compacted (all
files are written anew; nothing is wrong with that).
"""
import json
import os
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "readers"))
import lake


def main():
    p = lake.arguments(__doc__)
    p.add_argument("--kind", required=True)
    p.add_argument("--draw", type=int, default=0, help="chooses the file, the partition or the snapshot")
    args = p.parse_args()
    t = lake.table(args)
    report = {"where": t.metadata_location, "partitions": {}}
    report["partitions"] = KINDS[args.kind](t, args.draw)
    lake.emit(report)


def offsets(rows):
    """The offsets of rows by partition, in order."""
    out = {}
    for partition, offset in zip(rows[lake.PARTITION].to_pylist(), rows[lake.OFFSET].to_pylist()):
        out.setdefault(partition, []).append(offset)
    return {partition: sorted(found) for partition, found in sorted(out.items())}


def file(t, draw):
    """One data file of the table, and the offsets in it."""
    files = sorted((f.file for f in t.scan().plan_files()), key=lambda f: f.file_path)
    chosen = files[draw % len(files)]
    from pyarrow import parquet

    with t.io.new_input(chosen.file_path).open() as f:
        return chosen, offsets(parquet.read_table(f, columns=[lake.PARTITION, lake.OFFSET]))


def twice(t, draw):
    chosen, found = file(t, draw)
    with t.transaction() as tx, tx.update_snapshot().fast_append() as append:
        append.append_data_file(chosen)
    return found


def dropped(t, draw):
    chosen, found = file(t, draw)
    with t.transaction() as tx, tx.update_snapshot().overwrite() as overwrite:
        overwrite.delete_data_file(chosen)
    return found


def moved(t, draw):
    head = json.loads(t.properties["lakeloader.clicks.ledger"])
    text, _, _ = t.properties["lakeloader.clicks.offsets.0"].rpartition("#")
    lines = [line.split(":") for line in text.split(",")]
    line = lines[draw % len(lines)]
    following = int(line[4])
    line[4] = str(following + 7)
    text = ",".join(":".join(line) for line in lines)
    seal = zlib.crc32(f"{head['number']}/{head['commit_id']}/{head['snapshot']}/{text}".encode())
    with t.transaction() as tx:
        tx.set_properties({"lakeloader.clicks.offsets.0": f"{text}#{seal:08x}"})
    return {int(line[1]): list(range(following, following + 7))}


def wiped(t, _):
    with t.transaction() as tx:
        tx.remove_properties(*[name for name in t.properties if name.startswith("lakeloader.")])
    return {}


def rollback(t, draw):
    chain, snapshot = [], t.current_snapshot()
    while snapshot:
        chain.append(snapshot)
        snapshot = t.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None
    def rows(s):
        return s.summary["total-records"]

    back = next(s for s in chain[1 + draw % 3:] if rows(s) != rows(chain[0]))
    now = offsets(t.scan().to_arrow())
    t.manage_snapshots().rollback_to_snapshot(back.snapshot_id).commit()
    then = offsets(t.refresh().scan().to_arrow())
    gone = {p: sorted(set(found) - set(then.get(p, []))) for p, found in now.items()}
    return {p: found for p, found in gone.items() if found}


def compacted(t, _):
    t.overwrite(t.scan().to_arrow())
    return {}


KINDS = {"twice": twice, "dropped": dropped, "moved": moved, "wiped": wiped, "rollback": rollback, "compacted": compacted}

main()
