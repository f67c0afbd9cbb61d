"""How values look in a cell: compact, never wider than asked, the same way in every row of a column.

Called for visible cells only, but for each of them with each repaint: no
regular expressions, no locale, no tables of words.

    bytes, rates   powers of 1024, three figures at most: 0, 812, 4.0K, 14.1G, 210M, 1.5T
    counts, iops   whole as long as it fits, then powers of 1000: 873, 1.2k, 15k
    percent        81 %, without the space where that does not fit
    seconds        12ms, 2.1s, 14m, 3h20m, 5d
    time           14:02:11, with the date where 19 cells allow
    unknown        —
"""

from __future__ import annotations

import time
import unicodedata

from virtfleet.query.field import Unit, Value

UNKNOWN = "—"
ELLIPSIS = "…"
_UNLIMITED = 1 << 16
_BINARY = ("", "K", "M", "G", "T", "P", "E")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")


def cell_width(text: str) -> int:
    """Cells that `text` takes on a terminal; wide glyphs take two, combining marks none."""
    if text.isascii():
        return len(text)
    width = 0
    for char in text:
        if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
            continue
        width += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return width


def fit(text: str, width: int) -> str:
    """`text`, cut to `width` cells with an ellipsis at its end."""
    if len(text) <= width and text.isascii():
        return text
    if cell_width(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    used, end = 0, 0
    for end, char in enumerate(text):  # noqa: B007 - `end` is the place of the cut
        used += cell_width(char)
        if used > width - 1:
            break
    return text[:end] + ELLIPSIS


def _scaled(value: float, base: float, letters: tuple[str, ...], width: int) -> str:
    """Three figures and a letter: 812, 4.0K, 14.1G. Fewer figures where `width` is small."""
    sign, size, power = ("-", -value, 0) if value < 0 else ("", value, 0)
    # 999.5 would be written as four figures: the next letter starts there.
    while size >= 999.5 and power < len(letters) - 1:
        size /= base
        power += 1
    letter = letters[power]
    whole = f"{sign}{size:.0f}{letter}"
    if power and size < 99.95:
        exact = f"{sign}{size:.1f}{letter}"
        if len(exact) <= width:
            return exact
    return whole


def _count(value: float, width: int) -> str:
    whole = f"{value:.0f}"
    return whole if len(whole) <= width else _scaled(value, 1000.0, _DECIMAL, width)


def _percent(value: float, width: int) -> str:
    # 99.97 % full is not full: only what is 100 says so.
    whole = "99" if 99.5 <= value < 100.0 else f"{value:.0f}"
    return f"{whole} %" if width >= 5 else f"{whole}%"


def format_duration(seconds: float) -> str:
    """Two parts at most: 12ms, 2.1s, 14m, 3h20m, 5d, 5d4h."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours and days < 10 else f"{days}d"


def format_age(seconds: float | None) -> str:
    """One part, rounded down: 14s, 2m, 3h, 5d. An age never says more than has passed."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h"
    return f"{whole // 86400}d"


def _seconds(value: float, width: int) -> str:
    text = format_duration(value)
    return text if len(text) <= width else format_age(value)


def _moment(value: float, width: int) -> str:
    try:
        local = time.localtime(value)
    except (OverflowError, OSError, ValueError):
        return UNKNOWN
    return time.strftime("%Y-%m-%d %H:%M:%S" if width >= 19 else "%H:%M:%S", local)


def format_value(value: Value, unit: Unit, width: int = _UNLIMITED) -> str:
    """`value` in at most `width` cells, without padding. What can't be shown in them ends in an ellipsis."""
    if value is None or value != value:
        return UNKNOWN
    if isinstance(value, str):
        return fit(value, width)
    if isinstance(value, bool):
        return fit("yes" if value else "no", width)
    if isinstance(value, tuple):
        return fit(", ".join(value), width)
    if value in (float("inf"), float("-inf")):
        return UNKNOWN
    match unit:
        case Unit.BYTES | Unit.RATE:
            text = _scaled(value, 1024.0, _BINARY, width)
        case Unit.PERCENT:
            text = _percent(value, width)
        case Unit.COUNT | Unit.IOPS:
            text = _count(value, width)
        case Unit.SECONDS:
            text = _seconds(value, width)
        case Unit.TIME:
            text = _moment(value, width)
        case Unit.LOAD:
            text = f"{value:.2f}"
        case _:
            text = str(value)
    # A number cut short would be another number.
    return text if len(text) <= width else ELLIPSIS[:width]
