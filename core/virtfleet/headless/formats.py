"""JSON, YAML and CSV of rows: one envelope, made from the fields alone.

    {"kind": "vm", "items": [{"name": ..., ...}], "unreachable": [{"host", "state", "reason", "age_s"}]}

Keys are the names of fields; sizes in bytes, rates per second, times in seconds,
percentages 0 to 100, null for unknown.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from virtfleet.model import HostView
from virtfleet.query.field import Field, Value

Item = dict[str, Any]
Missing = Sequence[tuple[HostView, str]]
"""Hosts whose data is not there, each with the reason."""


def plain(value: Value) -> Any:
    """A field's value as JSON has it. Not a number is unknown; a millionth is precise enough."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, tuple):
        return list(value)
    return value


def item(row: Any, fields: Iterable[Field[Any]]) -> Item:
    return {field.name: plain(field.get(row)) for field in fields}


def envelope(kind: str, items: Sequence[Item], missing: Missing, now: float) -> dict[str, Any]:
    """`now` is CLOCK_MONOTONIC, for the ages."""
    unreachable = [
        {"host": host.name, "state": host.state.value, "reason": reason, "age_s": plain(host.age(now))}
        for host, reason in missing
    ]
    return {"kind": kind, "items": list(items), "unreachable": unreachable}


def to_json(body: Any, *, pretty: bool) -> bytes:
    """One line, or indented for a person; ends with a line break."""
    encoded = msgspec.json.encode(body)
    return (msgspec.json.format(encoded, indent=2) if pretty else encoded) + b"\n"


def to_yaml(body: Any) -> bytes:
    import yaml

    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=10_000)
    return str(text).encode("utf-8", "replace")


def to_csv(items: Sequence[Item], names: Sequence[str], *, header: bool = True) -> bytes:
    """RFC 4180 but for the line break, which is Unix's. Lists are joined by spaces, unknown is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(names)
    for each in items:
        writer.writerow([_cell(each[name]) for name in names])
    return out.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(value)
    return value
