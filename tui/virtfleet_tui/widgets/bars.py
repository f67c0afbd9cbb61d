"""Figures as small pictures: bars, capacity, sparklines. Pure; each gives exactly the cells it was given.

A picture stands beside its number, never instead of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from virtfleet.query.field import Unit
from virtfleet.query.units import format_value
from virtfleet_tui.widgets.glyphs import glyphs
from virtfleet_tui.widgets.palette import Meaning, Piece

_NUMBER = 5
"""Cells of a percentage: "100 %"."""


def bar(fraction: float | None, width: int) -> str:
    """A horizontal bar, exact to an eighth of a cell; `fraction` is 0 to 1 and is clamped. None: unknown."""
    signs = glyphs()
    if fraction is None or math.isnan(fraction):
        return signs.gap * width
    steps = len(signs.eighths) - 1
    filled = round(max(0.0, min(1.0, fraction)) * width * steps)
    if fraction > 0 and width:
        filled = max(1, filled)
    whole, rest = divmod(filled, steps)
    text = signs.eighths[-1] * whole + (signs.eighths[rest] if rest else "")
    return text + signs.track * (width - len(text))


def capacity(
    used: float | None, promised: float | None, limit: float | None, width: int, meaning: Meaning = ""
) -> list[Piece]:
    """Used, promised and limit in one bar, all in the same measure.

    Full blocks are used, shaded ones promised beyond that, light ones free. More promised than the limit:
    the bar ends with what is promised, and the limit is a line in it. `meaning` colours the used part.
    """
    if width <= 0:
        return []
    signs = glyphs()
    if not limit or limit <= 0 or used is None:
        return [(signs.gap * width, "muted")]
    end = max(limit, used, promised or 0.0)
    full = round(width * used / end)
    if used > 0 and width:
        full = max(1, full)
    given = max(full, round(width * (promised or 0.0) / end))
    cells = signs.eighths[-1] * full + signs.promised * (given - full) + signs.track * (width - given)
    if end <= limit:
        return _runs(cells, full, given, meaning)
    at = min(width - 1, round(width * limit / end))
    return [
        *_runs(cells[:at], min(full, at), min(given, at), meaning),
        (signs.limit, "bad"),
        *_runs(cells[at + 1 :], max(0, full - at - 1), max(0, given - at - 1), "bad"),
    ]


def _runs(cells: str, full: int, given: int, meaning: Meaning) -> list[Piece]:
    parts = [(cells[:full], meaning or "gauge"), (cells[full:given], "gauge"), (cells[given:], "track")]
    return [(text, its) for text, its in parts if text]


def sparkline(values: Sequence[float | None], width: int, low: float = 0.0, high: float | None = None) -> str:
    """The last `width` values, newest at the right; None and NaN are gaps. `high` None: the largest shown."""
    if width <= 0:
        return ""
    signs = glyphs()
    # float() also takes numpy's scalars, which an array yields
    last = [math.nan if value is None else float(value) for value in values[-width:]]
    if high is None:
        high = max((value for value in last if math.isfinite(value)), default=0.0)
    top, span = len(signs.levels) - 1, high - low
    out = [" " * (width - len(last))]
    for value in last:
        if not math.isfinite(value):
            out.append(signs.gap)
        else:
            level = max(0.0, min(1.0, (value - low) / span)) if span > 0 else 0.0
            out.append(signs.levels[round(level * top)])
    return "".join(out)


def percent_bar(value: float | None, width: int, meaning: Meaning = "") -> list[Piece]:
    """A bar and its percentage: `███████░░  74 %`."""
    number = format_value(value, Unit.PERCENT, _NUMBER).rjust(_NUMBER)
    room = width - _NUMBER - 1
    if room < 2:
        return [(number.strip().rjust(width), meaning)]
    whole = None if value is None else value / 100
    cells = bar(whole, room)
    filled = cells.rstrip(glyphs().track)
    return [(filled, meaning or "gauge"), (cells[len(filled) :], "track"), (" " + number, meaning)]


def percent_spark(
    values: Sequence[float | None], value: float | None, width: int, meaning: Meaning = ""
) -> list[Piece]:
    """The last minutes and the percentage now: `▆▇█▇  81 %`. Both on the scale 0 to 100."""
    number = format_value(value, Unit.PERCENT, _NUMBER).rjust(_NUMBER)
    room = width - _NUMBER - 1
    if room < 2:
        return [(number.strip().rjust(width), meaning)]
    return [(sparkline(values, room, 0.0, 100.0), meaning or "gauge"), (" " + number, meaning)]


def load_meaning(percent: float | None, warning: float = 85.0, bad: float = 95.0) -> Meaning:
    """What a share of something finite means: little to worry about has no colour."""
    if percent is None or percent < warning:
        return ""
    return "bad" if percent >= bad else "warning"
