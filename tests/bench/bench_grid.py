"""What a grid of 10,000 rows costs while 1,000 of them change every second.

The console runs in a pseudo-terminal of its own, as it does for an operator, because Textual's headless
driver leaves out the writing. Key to paint: from the byte of a key to the cursor's sign in the output. The
share of a core is what the process used over some seconds: without updates, with a feeder that only makes
values, and with a grid that takes them. `bench_grid.py grid MODE` is the program in the terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from typing import NamedTuple

import numpy as np
from textual.app import App, ComposeResult

from bench.figures import Figure, quantiles, run, say
from bench.processes import cpu_s
from bench.terminal import Home, Terminal, home
from virtfleet.query.field import Field, Unit
from virtfleet_tui.widgets.bars import percent_bar
from virtfleet_tui.widgets.grid import Grid

ROWS = 10_000
SECONDS = 8
BATCHES_PER_S = 50
_CURSOR = re.compile(r"▸ (vm-\d+) ")


class Row(NamedTuple):
    key: tuple[str, str]
    state: str
    cpu: float
    memory: int
    rates: tuple[float, float, float, float]


FIELDS: tuple[Field[Row], ...] = (
    Field("name", "NAME", Unit.TEXT, "", lambda r: r.key[1], width=14, priority=0),
    Field("host", "HOST", Unit.TEXT, "", lambda r: r.key[0], width=8, priority=1),
    Field("state", "STATE", Unit.TEXT, "", lambda r: r.state, width=12, priority=0),
    Field("vcpus", "VCPU", Unit.COUNT, "", lambda r: 4, width=5, priority=2),
    Field("cpu", "CPU", Unit.PERCENT, "", lambda r: r.cpu, width=14, priority=0),
    Field("memory", "MEMORY", Unit.BYTES, "", lambda r: r.memory, width=8, priority=1),
    Field("read", "READ", Unit.RATE, "", lambda r: r.rates[0], width=7, priority=2),
    Field("write", "WRITE", Unit.RATE, "", lambda r: r.rates[1], width=7, priority=2),
    Field("rx", "RX", Unit.RATE, "", lambda r: r.rates[2], width=7, priority=2),
    Field("tx", "TX", Unit.RATE, "", lambda r: r.rates[3], width=7, priority=2),
    Field("project", "PROJECT", Unit.TEXT, "", lambda r: "web", width=10, priority=3),
    Field("address", "ADDRESS", Unit.LIST, "", lambda r: ("10.0.3.7",), width=15, priority=3),
)


# Names live as long as their objects, as those of a snapshot do.
KEYS = [(f"hv{index // 20:03}", f"vm-{index:05}") for index in range(ROWS)]


def fresh(rng: np.random.Generator, index: int) -> Row:
    cpu = float(rng.uniform(0, 100))
    rates = (cpu * 1e6, cpu * 2e6, cpu * 3e5, cpu * 1e5)
    return Row(KEYS[index], "running", cpu, int(cpu * 2**28), rates)


class Bench(App[None]):
    """`mode`: still, making (values are made and thrown away) or feeding."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.rng = np.random.default_rng(1)

    def compose(self) -> ComposeResult:
        yield Grid(
            FIELDS,
            default_sort="-cpu",
            renderers={"cpu": lambda row, width: percent_bar(row.cpu, width)},
            style_of=lambda row, field: "good" if field.name == "state" else "",
            stale=lambda _row: None,
            id="vms",
        )

    @property
    def grid(self) -> Grid[Row]:
        return self.query_one("#vms", Grid)

    def on_mount(self) -> None:
        self.grid.focus()
        rows = [fresh(self.rng, index) for index in range(ROWS)]
        self.grid.set_rows(rows)
        if self.mode != "still":
            self.run_worker(self.feed())

    async def feed(self) -> None:
        count, grid = 1000 // BATCHES_PER_S, self.grid
        while True:
            at = int(self.rng.integers(0, ROWS - count))
            batch = [fresh(self.rng, index) for index in range(at, at + count)]
            if self.mode == "feeding":
                grid.update_rows(batch)
            await asyncio.sleep(1 / BATCHES_PER_S)


class Watched:
    """The grid in a terminal."""

    def __init__(self, mode: str, folders: Home) -> None:
        argv = [sys.executable, __file__, "grid", mode]
        self.terminal = Terminal(argv, folders.environment, lines=50)
        self.terminal.until(lambda text: "vm-" in text, 20.0)
        self.terminal.drain(1.5)
        self._at = ""

    def key(self, keys: bytes) -> float:
        """Seconds until the cursor is painted on another row: it stays on its own while rows move."""
        self.terminal.send(keys)
        return self.terminal.until(self._moved, 2.0)

    def _moved(self, text: str) -> bool:
        names = _CURSOR.findall(text)
        if not names or names[-1] == self._at:
            return False
        self._at = names[-1]
        return True

    def share(self, seconds: float) -> float:
        """Percent of a core over some seconds."""
        pid = self.terminal.process.pid
        before, start = cpu_s(pid), time.perf_counter()
        self.terminal.drain(seconds)
        return 100 * (cpu_s(pid) - before) / (time.perf_counter() - start)


def measure(options: argparse.Namespace) -> list[Figure]:
    seconds = 2.0 if options.quick else SECONDS
    shares = {}
    paints: list[float] = []
    with home() as folders:
        for mode in ("still", "making", "feeding"):
            watched = Watched(mode, folders)
            with watched.terminal as terminal:
                shares[mode] = watched.share(seconds)
                if mode != "feeding":
                    continue
                watched.key(b"j")
                for keys in [b"j"] * 40 + [b"\x04"] * 20 + [b"\x15"] * 20 + [b"G", b"g"] * 5:
                    paints.append(watched.key(keys))
                    terminal.drain(0.05)
    say(
        f"1,000 row changes a second: {shares['feeding'] - shares['making']:.1f} % of a core"
        f" (making the values {shares['making'] - shares['still']:.1f} %, idle {shares['still']:.1f} %)"
    )
    what = f"key to paint, the grid alone, {ROWS:,} rows and 1,000 changes a second, p95"
    return [Figure(what, "≤ 50 ms", quantiles(paints, 2.0))]


if __name__ == "__main__":
    if sys.argv[1:2] == ["grid"]:
        Bench(sys.argv[2]).run()
    else:
        run(__doc__, measure)
