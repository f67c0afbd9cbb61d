"""Keys go first: who has work that nobody waits for asks here whether hands are moving.

One loop paints, counts and takes keys. A key that meets a long piece of work
waits for it, so such work is cut into pieces, and a piece does not begin in
the moment after a key, when the paint that the key asked for is still to come.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

CALM = 0.06
"""Seconds after a key in which its own paint is made: a few turns of the loop and one frame."""
PATIENCE = 0.5
"""Seconds after which work is done though keys are still pressed: a key that is held must stop nothing."""


class Hands:
    """When the operator last did something."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds that only go forward."""
        self._clock = clock
        self._moved = -math.inf

    def moved(self) -> None:
        """A key was pressed, or the mouse."""
        self._moved = self._clock()

    @property
    def quiet(self) -> float:
        """Seconds since."""
        return self._clock() - self._moved

    def wait(self, due: float) -> float:
        """Seconds for which work that was due at `due` (of the clock) should still wait; 0: none."""
        now = self._clock()
        if now - due >= PATIENCE:
            return 0.0
        return max(0.0, self._moved + CALM - now)
