"""The console on 500 simulated hosts with 10,000 VMs, as an operator has it: in a terminal, on this machine.

How long until all rows are there; what the process of console and engine costs in the steady state; what a
worker costs; how long from a key to its paint, also while three hosts hang: hosts beside the others, whose
libvirt takes connections and never answers.
"""

from __future__ import annotations

import argparse
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench import processes
from bench.figures import Figure, quantiles, run, say
from bench.terminal import Home, Terminal, home

_SCRIPT = Path(__file__).with_name("simulated.py")
_CURSOR = re.compile(r"▸ ([a-z][\w.-]*) +hv\d+ ")
"""The cursor on a line of the VM list: a name and a host. Pools have a sign before their name."""
SETTLE = 15.0
"""Seconds between the last row and the steady state: first samples, pools and volumes still come in."""
HANGING = 3
_TOO_LONG = 2.0
KEYS = [b"j"] * 40 + [b"\x04"] * 10 + [b"\x15"] * 10 + [b"G", b"g"] * 5
"""Down by lines, by pages, up by pages, last and first."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hosts", type=int, help="how many (500)")
    parser.add_argument("--vms", type=int, help="on each host (20)")
    parser.add_argument("--seconds", type=float, help="of the steady state (30)")


def measure(options: argparse.Namespace) -> list[Figure]:
    hosts = options.hosts or (20 if options.quick else 500)
    vms = hosts * (options.vms or 20)
    seconds = options.seconds or (8.0 if options.quick else 30.0)
    with home() as folders:
        figures = _one_console(folders, hosts, vms, seconds)
        if left := folders.clear():
            say(f"{left} processes had to be killed")
    return figures


def _one_console(folders: Home, hosts: int, vms: int, seconds: float) -> list[Figure]:
    status = folders.folder / "status"
    silence = Silence(folders.folder, HANGING)
    argv = [sys.executable, str(_SCRIPT), str(hosts), str(vms), str(status), *silence.paths]
    fleet = f"{hosts} simulated hosts × {vms // hosts} VMs"
    title = re.compile(rf"VMs ─+ {vms:,}\b")
    with Terminal(argv, folders.environment) as terminal:
        rows = terminal.until(lambda text: title.search(text) is not None, 180.0)
        terminal.drain(SETTLE)
        steady = _steady(terminal, status, seconds)
        say(str(steady))
        workers = processes.workers(terminal.process.pid)
        each = [memory["Pss"] for memory in processes.memories(workers)]
        watched = Watched(terminal)
        calm = watched.keys()
        silence.fall(terminal, status)
        hanging = watched.keys()
        tell(terminal, status)
        say(f"while {HANGING} hosts hang: {_read(status)[-1]['states']}")
        say(f"leaving took {terminal.quit():.1f} s")
        silence.close()
    changes = f"{vms:,} rows, {round(steady.samples_per_s * vms / hosts, -2):,.0f} changes a second"
    return [
        Figure(f"{fleet}: all rows there", "≤ 20 s", f"{rows:.1f} s"),
        Figure(
            "the same, steady, 2 s refresh: engine and console process",
            "≤ 20 % of a core, ≤ 200 MB",
            f"{steady.share:.1f} % of a core, {steady.rss:.0f} MB (PSS {steady.pss:.0f} MB)",
        ),
        Figure(
            f"memory of one worker (PSS), of {hosts} simulated hosts",
            "≤ 10 MB",
            f"{np.median(each):.1f} MB (largest {max(each):.1f} MB)",
        ),
        Figure(f"key to paint, whole console, {changes}, p95", "≤ 50 ms", quantiles(calm, _TOO_LONG)),
        Figure(f"the same while {HANGING} hosts hang", "≤ 50 ms", quantiles(hanging, _TOO_LONG)),
    ]


# ---- steady state


@dataclass
class Steady:
    share: float
    """Percent of a core of the console process."""
    workers_share: float
    rss: float
    pss: float
    samples_per_s: float
    ages: list[float]
    states: dict[str, int]

    def __str__(self) -> str:
        p50, p95, worst = np.percentile(self.ages, [50, 95, 100])
        return (
            f"steady: {self.samples_per_s:.0f} changes of hosts/s; ages of samples p50 {p50:.1f},"
            f" p95 {p95:.1f}, worst {worst:.1f} s; {self.states};"
            f" all workers {self.workers_share:.0f} % of a core"
        )


def tell(terminal: Terminal, status: Path) -> None:
    """Has the console write a line about itself."""
    before = status.stat().st_size if status.exists() else 0
    terminal.process.send_signal(signal.SIGUSR1)
    for _ in range(200):
        terminal.drain(0.02)
        if status.exists() and status.stat().st_size > before:
            return


def _read(status: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in status.read_bytes().splitlines()]


def _steady(terminal: Terminal, status: Path, seconds: float) -> Steady:
    pid = terminal.process.pid
    workers = processes.workers(pid)
    tell(terminal, status)
    working = sum(map(processes.cpu_s, workers))
    began, used = time.perf_counter(), processes.cpu_s(pid)
    terminal.drain(seconds)
    used, took = processes.cpu_s(pid) - used, time.perf_counter() - began
    working = sum(map(processes.cpu_s, workers)) - working
    tell(terminal, status)
    first, last = _read(status)[-2:]
    memory = processes.memory(pid)
    return Steady(
        share=100 * used / took,
        workers_share=100 * working / took,
        rss=memory["Rss"],
        pss=memory["Pss"],
        samples_per_s=(last["generation"] - first["generation"]) / (last["now"] - first["now"]),
        ages=last["ages"],
        states=last["states"],
    )


# ---- keys


class Watched:
    """A list under an operator's hands: the cursor stays on its object, so another one means that a key was
    painted. `view`: the key of the list; `cursor`: its line with the cursor, and what is called so there."""

    def __init__(self, terminal: Terminal, view: bytes = b"2", cursor: re.Pattern[str] = _CURSOR) -> None:
        self._terminal = terminal
        self._cursor = cursor
        terminal.send(view)
        terminal.drain(1.0)
        self._at = ""
        self._press(b"g")

    def keys(self) -> list[float]:
        """Seconds from each key to its paint; NaN: it was not painted in time."""
        took = []
        for number, key in enumerate(KEYS):
            took.append(self._press(key))
            # Not in step with the console's own pace of ten paints a second.
            self._terminal.drain(0.05 + 0.037 * (number % 3))
        self._press(b"g")
        return took

    def _press(self, key: bytes) -> float:
        self._terminal.send(key)
        return self._terminal.until(self._moved, _TOO_LONG)

    def _moved(self, text: str) -> bool:
        names = self._cursor.findall(text)
        if not names or names[-1] == self._at:
            return False
        self._at = names[-1]
        return True


# ---- hosts that hang


class Silence:
    """Sockets of hosts. At first nobody listens; from `fall` on they take connections and never answer."""

    def __init__(self, folder: Path, count: int) -> None:
        self.paths = [str(folder / f"silent{number}") for number in range(count)]
        self._sockets: list[socket.socket] = []

    def fall(self, terminal: Terminal, status: Path) -> None:
        """Waits until the console says that they hang, or a minute has passed."""
        for path in self.paths:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(path)
            listening.listen(64)
            self._sockets.append(listening)
        until = time.monotonic() + 60.0
        while time.monotonic() < until:
            terminal.drain(1.0)
            tell(terminal, status)
            if _read(status)[-1]["states"].get("hung", 0) >= len(self.paths):
                return

    def close(self) -> None:
        for each in self._sockets:
            each.close()


if __name__ == "__main__":
    run(__doc__, measure, _options)
