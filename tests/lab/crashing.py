"""Carries out one action on a lab and is killed at its n-th word to the journal: run as a process of its own.

python -m lab.crashing FLEET ACTION-JSON N before|after      (N is 0: not killed)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec

from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.jobs import journal
from virtfleet.model.action import Action
from virtfleet.model.job import JobState

GROUPS = ("stats", "facts", "pools", "volumes", "networks")


def die_at(number: int, when: str) -> None:
    """The process ends at the n-th word, before or after it is written."""
    save = journal.Journal.save
    words = 0

    async def counted(self: journal.Journal, *args: Any, **more: Any) -> None:
        nonlocal words
        words += 1
        if words == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await save(self, *args, **more)
        if words == number:
            os.kill(os.getpid(), signal.SIGKILL)

    journal.Journal.save = counted  # type: ignore[method-assign] # that is what this is for


async def main(fleet: str, action: str, number: int, when: str) -> int:
    die_at(number, when)
    engine = Engine(load(fleet), keep_history=False)
    await engine.start()
    try:
        await engine.settled(GROUPS, timeout=30.0)
        plan = await engine.plan(msgspec.json.decode(action, type=Action))
        job = await engine.apply(plan, origin="test")
        ended = await engine.jobs.wait(job.id)
        print(ended.state, ended.error)
        return 0 if ended.state is JobState.DONE else 1
    finally:
        await engine.stop()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
