"""Keys while jobs run: the whole console in a terminal, on simulated hosts, with 20 jobs always under way.

The jobs are real ones: planned, journaled step by step, carried out by the hosts' workers, audited (see
labour.py); as one ends the next begins, so that they come and go as quickly as this machine can do them.
First in the list of VMs, as in bench_fleet.py, then in the list of jobs, which changes all the time.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.bench_fleet import Watched, tell
from bench.figures import Figure, quantiles, run, say
from bench.terminal import Terminal, home

_SCRIPT = Path(__file__).with_name("simulated.py")
_CURSOR = re.compile(r"▸ (\d\d:\d\d:\d\d  )\S [a-z]+(?: +\d+ %)? +(\S.*?)  ")
"""The cursor on a line of the list of jobs: when it was asked for, and what it does."""
_TOO_LONG = 2.0
JOBS = 20


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hosts", type=int, help="how many (20)")
    parser.add_argument("--vms", type=int, help="on each host (20)")
    parser.add_argument("--jobs", type=int, help=f"at once ({JOBS})")


def measure(options: argparse.Namespace) -> list[Figure]:
    hosts = options.hosts or (5 if options.quick else 20)
    vms, jobs = hosts * (options.vms or 20), options.jobs or JOBS
    with home() as folders:
        status = folders.folder / "status"
        argv = [sys.executable, str(_SCRIPT), "--jobs", str(jobs), str(hosts), str(vms), str(status)]
        title = re.compile(rf"VMs ─+ {vms:,}\b")
        with Terminal(argv, folders.environment) as terminal:
            terminal.until(lambda text: title.search(text) is not None, 60.0)
            terminal.drain(5.0)
            watched = Watched(terminal)
            say(f"before: {quantiles(watched.keys(), _TOO_LONG)}")
            terminal.process.send_signal(signal.SIGUSR2)
            terminal.drain(2.0)
            before = _told(terminal, status)
            vm_keys = watched.keys()
            between = _told(terminal, status)
            job_keys = Watched(terminal, b"8", _CURSOR).keys()
            after = _told(terminal, status)
            say(f"leaving took {terminal.quit(b'qqq'):.1f} s")
    say(f"{after['refused']} plans were refused")
    for problem in after["failed"]:
        say(f"failed: {problem}")
    return [
        Figure(
            f"key presses while {jobs} jobs run, list of VMs, p95 to paint",
            "≤ 50 ms",
            quantiles(vm_keys, _TOO_LONG),
        ),
        Figure("meanwhile, on the same two cores", "", _rates(before, between)),
        Figure(
            "the same in the list of jobs, which they all change", "≤ 50 ms", quantiles(job_keys, _TOO_LONG)
        ),
        Figure("meanwhile", "", _rates(between, after)),
    ]


def _rates(before: dict[str, Any], after: dict[str, Any]) -> str:
    took, done = after["at"] - before["at"], after["done"] - before["done"]
    changes = after["changes"] - before["changes"]
    return f"{done} jobs done ({done / took:.0f} a second, {changes / took:.0f} changes of them a second)"


def _told(terminal: Terminal, status: Path) -> dict[str, Any]:
    tell(terminal, status)
    last = msgspec.json.decode(status.read_bytes().splitlines()[-1])
    return {"at": time.monotonic(), **last["jobs"]}


if __name__ == "__main__":
    run(__doc__, measure, _options)
