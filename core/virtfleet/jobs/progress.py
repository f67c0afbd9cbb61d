"""How far a job is: the bytes of its step, their rate over the last seconds, and what share of all that is.

A step weighs one, and more the more bytes it is to move, so that one upload
among ten definitions is not a tenth of the way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from msgspec.structs import replace

from virtfleet.model.job import Progress, StepRecord, StepState
from virtfleet.model.plan import Plan

_RATE_OVER = 5.0
"""Seconds over which the rate is measured."""
_RATE_AFTER = 0.2
"""Seconds before which a rate would be noise."""
_BYTES_PER_STEP = 64 << 20
"""So many bytes take about as long as a step that moves none."""


def progress_of(plan: Plan, records: Sequence[StepRecord], text: str = "") -> Progress:
    """Where a job stands between two steps."""
    weights = [1.0 + step.bytes / _BYTES_PER_STEP for step in plan.steps]
    whole = sum(weights) or 1.0
    done = [record.state is StepState.DONE for record in records]
    current = done.index(False) if False in done else len(done)
    return Progress(
        step=sum(done),
        steps=len(done),
        base=sum(weight for weight, is_done in zip(weights, done, strict=True) if is_done) / whole,
        share=weights[current] / whole if current < len(weights) else 0.0,
        text=text,
    )


class Meter:
    """Of one job: takes what its steps report."""

    def __init__(self) -> None:
        self._moved: deque[tuple[float, int]] = deque()

    def next_step(self) -> None:
        """What is reported from now on is another step's."""
        self._moved.clear()

    def measured(self, progress: Progress, done: int, total: int, text: str, later: int) -> Progress:
        """`progress` with what a step has just reported. `later`: bytes that the steps after it will move."""
        now = time.monotonic()
        self._moved.append((now, done))
        while now - self._moved[0][0] > _RATE_OVER and len(self._moved) > 2:
            self._moved.popleft()
        since, before = self._moved[0]
        seconds = now - since
        rate = (done - before) / seconds if seconds > _RATE_AFTER and done >= before else None
        eta = max(0, total - done + later) / rate if rate and total else None
        return replace(progress, done=done, total=total, rate=rate, eta=eta, text=text or progress.text)
