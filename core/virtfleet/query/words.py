"""Values in words, where one object is told about and there is room: its page, `show`, a sentence.

    bytes      14.1 GiB (15,139,783,049 bytes), 8.0 GiB where that is exact
    rates      1.4 MiB/s
    counts     12,345
    seconds    12 milliseconds, 2.1 seconds, 3 hours and 20 minutes, 5 days and 4 hours
    ages       14 seconds ago

Cells of grids and tables are drawn by the hundred and have their own short
forms (`virtfleet.query.display`); they never come here, nor do the workers,
so that neither pays for humanize.
"""

from __future__ import annotations

import math

import humanize

from virtfleet.query.display import UNKNOWN, format_value
from virtfleet.query.field import Unit, Value

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_LONGEST = 1_000 * _YEAR
"""Seconds above which nobody means a span of time, and arithmetic with dates soon gives up."""
_LARGEST = 1 << 80
"""Bytes above which there are no names any more."""


def describe(value: Value, unit: Unit) -> str:
    """`value` in words; what there are no words for, as it stands in a cell."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return format_value(value, unit)
    match unit:
        case Unit.BYTES:
            return describe_size(value)
        case Unit.RATE if 0 <= value < _LARGEST:
            return f"{_rounded(value)}/s"
        case Unit.COUNT:
            return humanize.intcomma(round(value))
        case Unit.SECONDS:
            return describe_duration(value)
        case _:
            return format_value(value, unit)


def describe_size(size: float) -> str:
    """Bytes with a name, and all of them where the name alone would be another number."""
    if not 0 <= size < _LARGEST:
        return format_value(size, Unit.BYTES)
    whole = round(size)
    text = _rounded(whole)
    number, _, name = text.partition(" ")
    power = "KMGTPEZY".find(name[0]) + 1 if name.endswith("iB") else 0
    # A tenth of these is not a whole number of bytes, but an integer that equals the text is exact.
    exact = whole * 10 == round(float(number) * 10) * 1024**power
    return text if exact else f"{text} ({humanize.intcomma(whole)} bytes)"


def describe_duration(seconds: float) -> str:
    """Two parts at most, rounded down: it never says more than has passed."""
    if not abs(seconds) < _LONGEST:
        return UNKNOWN
    if seconds < 0:
        return f"minus {describe_duration(-seconds)}"
    if seconds < 0.001:
        return "less than a millisecond" if seconds else "0 seconds"
    if seconds < 1:
        return humanize.precisedelta(int(seconds * 1000) / 1000, minimum_unit="milliseconds", format="%d")
    if seconds < 10:
        return humanize.precisedelta(int(seconds * 10) / 10, format="%0.1f").replace(".0 ", " ")
    whole = int(seconds)
    step = 1 if whole < _HOUR else _MINUTE if whole < _DAY else _HOUR if whole < 10 * _DAY else _DAY
    return humanize.precisedelta(whole - whole % step, suppress=["months"], format="%d")


def describe_age(seconds: float | None) -> str:
    """How long ago something was; None: it never was."""
    if seconds is None:
        return "never"
    if seconds < 1:
        return "just now"
    return f"{describe_duration(math.floor(seconds))} ago" if seconds < _LONGEST else UNKNOWN


def _rounded(size: float) -> str:
    """One digit after the point: 14.1 GiB, 812 bytes."""
    return humanize.naturalsize(size, binary=True, format="%.1f").replace("Byte", "byte")
