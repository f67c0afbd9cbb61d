"""The lab that a bench measures: one of its own, taken down afterwards, or one that is up and stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import figures, processes
from lab.errors import LabUnavailable
from lab.fleet import Lab, Plan

_CALM = 0.25
"""Share of a core that all guests together may use once they have booted."""
_BOOT = 90.0


@contextmanager
def a_lab(name: str | None) -> Iterator[Lab | None]:
    """Three hosts whose guests have booted; None, and a word why, where no lab can run.

    A lab that was named is only looked at: whoever breaks something in it must mend that.
    """
    if name is not None:
        yield Lab.attach(name)
        return
    try:
        lab = Lab.start(Plan())
    except LabUnavailable as reason:
        figures.say(f"no lab: {reason}")
        yield None
        return
    with lab:
        _wait_for_calm(lab)
        yield lab


def _wait_for_calm(lab: Lab) -> None:
    """Guests that boot under emulation take all cores; that is not what is to be measured."""
    guests = [pid for host in lab.hosts.values() for pid in host.pids("qemu-system-x86_64")]
    until = time.monotonic() + _BOOT
    while time.monotonic() < until:
        before = sum(map(processes.cpu_s, guests))
        time.sleep(2.0)
        if sum(map(processes.cpu_s, guests)) - before < 2.0 * _CALM:
            return
    figures.say("the guests are still busy")
