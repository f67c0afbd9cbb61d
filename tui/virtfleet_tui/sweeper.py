"""Garbage is collected between keys: a collection in the middle of one would be felt.

Python collects when a number of objects was made, which is mostly while the
screen changes, and at 10,000 VMs takes up to a tenth of a second. Where its
own collections are switched off (launch.py), this makes up for them: young
objects every two seconds, which takes some milliseconds, older ones when nobody
has touched a key for a while. Only objects that refer to each other in a
circle wait for it; all others go at once.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

from virtfleet_tui.hands import Hands


class _Round(NamedTuple):
    generation: int
    every: float
    """Seconds between two of them."""
    quiet: float
    """Seconds without a key that it waits for."""
    latest: float
    """Seconds after which it waits no longer."""


_ROUNDS = (
    _Round(2, every=600.0, quiet=15.0, latest=3600.0),
    _Round(1, every=30.0, quiet=3.0, latest=300.0),
    _Round(0, every=2.0, quiet=0.1, latest=4.0),
)


class Sweeper:
    """`sweep` is to be called some times a second."""

    def __init__(
        self,
        hands: Hands,
        clock: Callable[[], float] = time.monotonic,
        collect: Callable[[int], object] = gc.collect,
    ) -> None:
        self._hands = hands
        self._clock = clock
        self._collect = collect
        now = clock()
        self._swept = dict.fromkeys((each.generation for each in _ROUNDS), now)

    def sweep(self) -> None:
        """Collect what is due, if this is a good moment, and if nobody else does."""
        if gc.isenabled():
            return
        now = self._clock()
        for each in _ROUNDS:
            since = now - self._swept[each.generation]
            if since >= each.latest or (since >= each.every and self._hands.quiet >= each.quiet):
                self._collect(each.generation)
                for younger in range(each.generation + 1):
                    self._swept[younger] = now
                return
