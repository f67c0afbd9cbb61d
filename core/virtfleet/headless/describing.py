"""`NOUN fields`: the names that columns, filters, sorting and JSON have in common, with unit and meaning."""

from __future__ import annotations

import time

from virtfleet.headless import formats, output
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.query.clock import Clock
from virtfleet.query.nouns import NOUNS

_NAMES = ("name", "short", "unit", "doc")


def run(noun: str, options: Options) -> int:
    """`virtfleet NOUN fields`. Connects to nobody."""
    made = NOUNS[noun].with_clock(Clock(time.monotonic, time.time))
    items: list[formats.Item] = [
        {
            "name": field.name,
            "short": [short for short, name in made.short.items() if name == field.name],
            "unit": field.unit.value,
            "doc": field.doc,
        }
        for field in made.fields
    ]
    if options.output != "table":
        emit(options, "field", items, (), time.monotonic(), _NAMES)
        return Exit.DONE
    rows = [(item["name"], " ".join(item["short"]), item["unit"], item["doc"]) for item in items]
    if not options.no_header:
        rows.insert(0, ("NAME", "SHORT", "UNIT", "MEANING"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    output.lines(
        "  ".join([*(f"{row[i]:<{width}}" for i, width in enumerate(widths)), row[3]]).rstrip()
        for row in rows
    )
    return Exit.DONE
