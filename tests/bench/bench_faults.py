"""A frozen libvirtd in the lab: how soon its host is marked hung, and what the other hosts notice of it.

An engine watches all hosts. The daemon of one is stopped at a random phase of its refresh. Every 20 ms the
age of the samples of the others is looked at, without a fault, too: what the machine's load alone does must
be seen beside.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time

from bench.figures import Figure, run, say, spread
from bench.labs import a_lab
from lab import proc
from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import Watched, watching
from virtfleet.model import HostState

FROZEN = "hv2"
_POLL = 0.02
_NEVER = 30.0


def measure(options: argparse.Namespace) -> list[Figure]:
    runs = 2 if options.quick else 5
    hung = "a frozen libvirtd: its host is marked hung"
    ages = "meanwhile the oldest sample of the other hosts"
    with a_lab(options.lab) as lab:
        if lab is None:
            return [Figure(what, "", "not measured: no lab here") for what in (hung, ages)]
        times, calm, oldest, interval = asyncio.run(_watch(lab, runs))
    say(f"marked hung after {' '.join(f'{each:.2f}' for each in times)} s")
    return [
        Figure(hung, "≤ 5 s", spread(times)),
        Figure(
            ages,
            f"≤ {2 * interval:g} s: twice their interval",
            f"{max(oldest):.2f} s, worst of {runs} runs (without a fault {calm:.2f} s)",
        ),
    ]


async def _watch(lab: Lab, runs: int) -> tuple[list[float], float, list[float], float]:
    async with watching(lab) as watched:
        others = [name for name in watched.engine.snapshot.hosts if name != FROZEN]
        interval = watched.host(FROZEN).interval
        await _oldest(watched, others, time.monotonic() + 5 * interval)  # first samples come as they can
        calm, _ = await _oldest(watched, others, time.monotonic() + 5 * interval)
        times, oldest = [], []
        for _ in range(runs):
            await asyncio.sleep(random.uniform(0, interval))
            took, age = await _freeze(watched, lab.host(FROZEN), others)
            times.append(took)
            oldest.append(age)
    return times, calm, oldest, interval


async def _freeze(watched: Watched, host: LabHost, others: list[str]) -> tuple[float, float]:
    """Seconds until the host is marked hung (NaN: never), and the oldest sample of the others meanwhile."""
    daemons = await asyncio.to_thread(host.pids, "libvirtd")
    try:
        began = time.monotonic()
        for pid in daemons:
            proc.kill(pid, signal.SIGSTOP)
        age, ended = await _oldest(watched, others, began + _NEVER, until_hung=True)
    finally:
        await asyncio.to_thread(host.thaw_libvirtd)
    await watched.until_fresh(host.name)
    await watched.until_state(host.name, HostState.UP, HostState.SLOW)
    return ended - began if ended < began + _NEVER else float("nan"), age


async def _oldest(
    watched: Watched, names: list[str], deadline: float, *, until_hung: bool = False
) -> tuple[float, float]:
    """The oldest age that a sample reached until then, in seconds, and when it ended (CLOCK_MONOTONIC)."""
    worst = 0.0
    while (now := time.monotonic()) < deadline:
        if until_hung and watched.host(FROZEN).state is HostState.HUNG:
            break
        for name in names:
            taken = watched.host(name).freshness.stats
            worst = max(worst, now - taken if taken is not None else float("inf"))
        await asyncio.sleep(_POLL)
    return worst, now


if __name__ == "__main__":
    run(__doc__, measure)
