"""Looking at a few at a time so that all get their turn: for what nobody tells us of when it changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

WITHIN = 60.0
"""Seconds in which all have had their turn, unless they are too many."""
AT_ONCE = 10
"""The most that are looked at in one go: a large host takes longer, and costs no more at a time."""


class Turns:
    """Remembers who was last. Pure: what there is and how often it is asked is the caller's."""

    def __init__(self, within: float = WITHIN, at_once: int = AT_ONCE) -> None:
        self._within = within
        self._at_once = at_once
        self._next = 0

    def take(self, names: Sequence[str], interval: float) -> list[str]:
        """Whose turn it is, asked every `interval` seconds: at least one, none twice."""
        if not names:
            return []
        share = math.ceil(len(names) * interval / self._within)
        count = min(self._at_once, len(names), max(1, share))
        start = self._next % len(names)
        self._next = start + count
        return [*names[start : start + count], *names[: max(0, start + count - len(names))]]
