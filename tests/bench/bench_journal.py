"""What journal and audit cost per step: a job of ten steps that do nothing, over SQLite."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, run, spread
from unit.job_worlds import World, make, plan
from virtfleet.jobs.book import JobBook

STEPS = 10


async def _jobs(folder: Path, rounds: int) -> list[float]:
    """Milliseconds per step of each job."""
    taken = []
    book = JobBook(folder, World())
    await book.open()
    for number in range(rounds):
        what = plan(*(make(f"{number}-{step}") for step in range(STEPS)))
        began = time.perf_counter()
        await book.wait((await book.submit(what)).id)
        taken.append((time.perf_counter() - began) * 1000 / STEPS)
    await book.close()
    return taken


def measure(options: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        taken = asyncio.run(_jobs(Path(folder), 5 if options.quick else 40))
    return [
        Figure(
            "journal and audit per step (each commit reaches the disk)",
            "≤ 2 ms",
            spread(taken, "ms", 1),
        )
    ]


if __name__ == "__main__":
    run(__doc__, measure)
