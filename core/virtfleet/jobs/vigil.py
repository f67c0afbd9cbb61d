"""What goes on beside jobs: saying that we live, hearing what others want cancelled, seeing what they do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from virtfleet.jobs.errors import StoreError
from virtfleet.jobs.owners import DEAD_AFTER

if TYPE_CHECKING:
    from virtfleet.jobs.journal import Journal

log = logging.getLogger(__name__)

LISTEN_EVERY = 1.0
"""Seconds between two signs of life, and two looks whether another process wants something cancelled."""
WATCH_EVERY = 2.0
"""Seconds between two looks at what other processes do."""
_LET_GO_AFTER = DEAD_AFTER / 2


async def beat(
    journal: Journal,
    token: str,
    running: Collection[str],
    cancel: Callable[[str], None],
    let_go: Callable[[], None],
) -> None:
    """While there are `running` jobs: `cancel(id)` for those that somebody wants cancelled.

    Who could not say that it lives for long counts as gone, and somebody may
    take its jobs: before that, `let_go()` is called, and this ends. So it is
    after a machine has slept.
    """
    machine, said = token.partition(":")[0], _up()
    while running:
        try:
            for number in await journal.unwanted(token):
                cancel(number)
            if journal.shared and (now := _up()) - said < _LET_GO_AFTER:
                await journal.beat(token, machine, time.time())
                said = now
        except StoreError as error:
            log.warning("%s", error)
        if journal.shared and _up() - said >= _LET_GO_AFTER:
            let_go()
            return
        await asyncio.sleep(LISTEN_EVERY)


async def watch(
    journal: Journal,
    token: Callable[[], str],
    wanted: Callable[[], bool],
    busy: Callable[[], bool],
    reload: Callable[[bool], Awaitable[None]],
) -> None:
    """Sees what other processes than `token()` begin and end; for ever, but only while it is `wanted()`.

    `busy()`: whether others' jobs are known to run. `reload(all)`: read what is
    not over, or what has ended too.
    """
    seen: object = None
    while True:
        await asyncio.sleep(WATCH_EVERY)
        if not wanted():
            continue
        try:
            pulse = await journal.pulse(but=token())
            if pulse != seen or busy():
                await reload(pulse != seen)
            seen = pulse
        except StoreError as error:
            log.warning("%s", error)


def _up() -> float:
    """Seconds, those included in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
