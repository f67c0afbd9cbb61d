"""The signs the console draws with, in one place, because not every terminal has them all.

The Linux virtual console and a few old terminals know neither eighth blocks
nor braille: there every sign is ASCII, and everything still says the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_PLAIN_TERMINALS = {"linux", "dumb", "vt100", "vt102", "vt220", "ansi", "cons25"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    mark: str
    cursor: str
    ascending: str
    descending: str
    eighths: str
    """A cell filled from the left, emptiest first, full last. The first stands for nothing."""
    levels: str
    """A cell filled from below, lowest first."""
    gap: str
    """No value was there."""
    promised: str
    track: str
    """The empty part of a bar."""
    limit: str
    good: str
    warning: str
    bad: str
    enter: str
    braille: bool


UNICODE = Glyphs(
    mark="✓",
    cursor="▸",
    ascending="▴",
    descending="▾",
    eighths=" ▏▎▍▌▋▊▉█",
    levels="▁▂▃▄▅▆▇█",
    gap="┄",
    promised="▒",
    track="░",
    limit="│",
    good="●",
    warning="▲",
    bad="✖",
    enter="▸",
    braille=True,
)
ASCII = Glyphs(
    mark="*",
    cursor=">",
    ascending="^",
    descending="v",
    eighths=" #",
    levels="_.-=+*#",
    gap="~",
    promised="+",
    track=".",
    limit="|",
    good="o",
    warning="!",
    bad="X",
    enter=">",
    braille=False,
)

_current = UNICODE


def glyphs() -> Glyphs:
    """The set in use."""
    return _current


def use(chosen: Glyphs) -> None:
    """Draw with this set from now on. What is on the screen already has to be repainted."""
    global _current
    _current = chosen


def for_terminal(environ: Mapping[str, str] = os.environ) -> Glyphs:
    """The set that this terminal can show."""
    return ASCII if environ.get("TERM", "") in _PLAIN_TERMINALS else UNICODE
