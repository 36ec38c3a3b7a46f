"""What visitors have spent in a window, calculated from the messages themselves: Python's decimals, zones and calendar.

spend.py MESSAGES ZONE MONTHS DAY: MESSAGES has one JSON object a line, as it was produced; DAY is the day whose totals are wanted.
Prints {visitor: total} of all visitors that ever bought something valid up to then, those that have left the window with 0.00.
"""

import calendar
import json
import sys
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo


def months_before(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def main() -> None:
    name, zone, months, day = sys.argv[1], ZoneInfo(sys.argv[2]), int(sys.argv[3]), date.fromisoformat(sys.argv[4])
    floor = months_before(day, months)
    totals: dict[str, Decimal] = {}
    for line in open(name, encoding="utf-8"):
        m = json.loads(line, parse_float=Decimal)
        visitor = m["visitor"].strip()
        if not visitor or not m["sku"].strip():
            continue
        bought = datetime.fromisoformat(m["timestamp"]).astimezone(zone).date()
        amount = Decimal(m["value"]) * m["quantity"] if floor < bought <= day else Decimal(0)
        if floor < bought <= day or bought <= floor:
            totals[visitor] = totals.get(visitor, Decimal(0)) + amount
    print(json.dumps({v: f"{t:.2f}" for v, t in totals.items()}))


main()
