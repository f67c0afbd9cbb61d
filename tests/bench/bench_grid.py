"""What a grid of 10,000 rows costs while 1,000 of them change every second. Run by `make bench`.

The console runs in a pseudo-terminal of its own, as it does for an operator, because Textual's headless
driver leaves out the writing. Key to paint: from the byte of a key to the cursor's sign in the output. The
share of a core is what the process used over some seconds: without updates, with a feeder that only makes
values, and with a grid that takes them.
"""

from __future__ import annotations

import asyncio
import os
import pty
import select
import struct
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import NamedTuple

import numpy as np
import pytest
from textual.app import App, ComposeResult

from virtfleet.query.field import Field, Unit
from virtfleet_tui.widgets.bars import percent_bar
from virtfleet_tui.widgets.grid import Grid

ROWS = 10_000
SECONDS = 8
BATCHES_PER_S = 50


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


class Terminal:
    """The console in a pseudo-terminal of 160 x 50."""

    def __init__(self, mode: str) -> None:
        self.master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": _PATH}
        self.process = subprocess.Popen(
            [sys.executable, __file__, mode], stdin=slave, stdout=slave, stderr=slave, env=environ
        )
        os.close(slave)
        self.read_until(b"vm-", 20.0)
        self.drain(1.5)

    def read_until(self, wanted: bytes, seconds: float) -> float:
        """Seconds until `wanted` came; NaN: it did not."""
        start, seen = time.perf_counter(), b""
        while (left := start + seconds - time.perf_counter()) > 0:
            if select.select([self.master], [], [], left)[0]:
                seen = seen[-16:] + os.read(self.master, 65536)
                if wanted in seen:
                    return time.perf_counter() - start
        return float("nan")

    def drain(self, seconds: float) -> None:
        self.read_until(b"\0never", seconds)

    def key(self, keys: bytes) -> float:
        os.write(self.master, keys)
        return self.read_until("▸".encode(), 2.0)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def share(self) -> float:
        """Percent of a core over some seconds."""
        before = self.cpu_s()
        start = time.perf_counter()
        self.drain(SECONDS)
        return 100 * (self.cpu_s() - before) / (time.perf_counter() - start)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


_PATH = os.pathsep.join(str(Path(__file__).parents[2] / each) for each in ("core", "tui", "tests"))


@pytest.mark.bench
def test_grid_of_ten_thousand_rows() -> None:
    shares = {}
    for mode in ("still", "making", "feeding"):
        terminal = Terminal(mode)
        try:
            shares[mode] = terminal.share()
            if mode == "feeding":
                paints = []
                for keys in [b"j"] * 40 + [b"\x04"] * 20 + [b"\x15"] * 20 + [b"G", b"g"] * 5:
                    paints.append(terminal.key(keys))
                    terminal.drain(0.05)
        finally:
            terminal.close()
    p50, p95, worst = np.nanpercentile(np.array(paints) * 1000, [50, 95, 100])
    print(f"\ngrid, {ROWS:,} rows x {len(FIELDS)} columns, 160x50, pseudo-terminal")
    print(
        f"  1,000 row changes a second  {shares['feeding'] - shares['making']:7.2f} % of a core"
        f" (making the values {shares['making'] - shares['still']:.2f} %, idle {shares['still']:.2f} %)"
    )
    print(f"  key to paint p50, p95, max  {p50:7.1f} {p95:6.1f} {worst:6.1f} ms")
    assert not np.isnan(paints).any(), "every key was answered"


if __name__ == "__main__":
    Bench(sys.argv[1]).run()
