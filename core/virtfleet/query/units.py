"""What people write for sizes, rates, shares and spans of time, read into the model's units.

    size      512MiB, 10GiB, 1.5T, 4096      K M G T P E and KiB.. are powers of 1024, KB.. of 1000; in bytes
    rate      80M, 1.5MiB/s                  as a size, in bytes per second
    count     12, 10k, 2M                    powers of 1000
    percent   80, 80%, 0.5                   0 to 100
    duration  90s, 2m, 1h30m, 500ms, 90      w d h m s ms; a bare number is seconds
    time      2024-05-01, 2024-05-01 12:30   local time unless it says otherwise, or seconds since 1970

Every parser raises ValueError with a message that says what is accepted. How
values are shown is in `virtfleet.query.display`.
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from virtfleet.query.display import format_age, format_duration, format_value
from virtfleet.query.field import Unit

__all__ = [
    "format_age",
    "format_duration",
    "format_size",
    "format_value",
    "parse_count",
    "parse_duration",
    "parse_number",
    "parse_percent",
    "parse_rate",
    "parse_size",
    "parse_time",
]

_PREFIXES = "kmgtpe"
_NUMBER = r"([0-9]{1,30}(?:\.[0-9]{1,30})?|\.[0-9]{1,30})"
_SIZE = re.compile(rf"{_NUMBER}\s*(?:([kmgtpe])(i?b?)|b)?", re.IGNORECASE | re.ASCII)
_COUNT = re.compile(rf"{_NUMBER}\s*([kmg])?", re.IGNORECASE | re.ASCII)
_PERCENT = re.compile(rf"{_NUMBER}\s*%?", re.ASCII)
_SPAN = re.compile(rf"{_NUMBER}\s*(w|d|h|min|ms|m|s)\s*", re.IGNORECASE | re.ASCII)
_SECONDS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse_size(text: str) -> int:
    """Bytes. A fraction of a byte is rounded to the nearest."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size; write 512MiB, 10G or a number of bytes")
    number, prefix, suffix = match.groups()
    factor = 1
    if prefix:
        base = 1000 if suffix.lower() == "b" else 1024
        factor = base ** (_PREFIXES.index(prefix.lower()) + 1)
    return round(float(number) * factor) if "." in number else int(number) * factor


def parse_rate(text: str) -> float:
    """Bytes per second."""
    bare = text.strip()
    if bare.endswith("/s"):
        bare = bare[:-2]
    try:
        return float(parse_size(bare))
    except ValueError:
        raise ValueError(f"{text!r} is not a rate; write 80M, 1.5MiB/s or bytes per second") from None


def parse_count(text: str) -> float:
    match = _COUNT.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a number; write 12 or 10k")
    number, prefix = match.groups()
    return float(number) * (1000.0 ** (_PREFIXES.index(prefix.lower()) + 1) if prefix else 1.0)


def parse_percent(text: str) -> float:
    match = _PERCENT.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a percentage; write 80 or 80%")
    return float(match[1])


def parse_duration(text: str) -> float:
    """Seconds."""
    bare = text.strip()
    total, at = 0.0, 0
    while match := _SPAN.match(bare, at):
        total += float(match[1]) * _SECONDS[match[2].lower()]
        at = match.end()
    if at and at == len(bare):
        return total
    if not at and (number := re.fullmatch(_NUMBER, bare, re.ASCII)):
        return float(number[1])
    raise ValueError(f"{text!r} is not a duration; write 90s, 2m, 1h30m or 5d")


def parse_time(text: str) -> float:
    """Seconds since 1970."""
    bare = text.strip()
    if number := re.fullmatch(_NUMBER, bare, re.ASCII):
        return float(number[1])
    try:
        return datetime.fromisoformat(bare).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not a time; write 2024-05-01 or 2024-05-01T12:30") from None


def parse_number(text: str, unit: Unit) -> float:
    """`text` in the model's measure for `unit`. ValueError also where the number is out of all bounds."""
    match unit:
        case Unit.BYTES:
            value: float = parse_size(text)
        case Unit.RATE:
            value = parse_rate(text)
        case Unit.PERCENT:
            value = parse_percent(text)
        case Unit.SECONDS:
            value = parse_duration(text)
        case Unit.TIME:
            value = parse_time(text)
        case Unit.COUNT | Unit.IOPS | Unit.LOAD:
            value = parse_count(text)
        case _:
            raise ValueError(f"{unit.value} is not counted")
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large")
    return value


def format_size(value: int) -> str:
    """Exact, and read back by `parse_size`: 10GiB, 1536KiB, 4097."""
    if value > 0:
        for power in range(len(_PREFIXES), 0, -1):
            if value % 1024**power == 0:
                return f"{value // 1024**power}{_PREFIXES[power - 1].upper()}iB"
    return str(value)
