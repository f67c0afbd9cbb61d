"""What four plots of 2 x 450 points cost to repaint, in CPU time."""

from __future__ import annotations

import argparse
import asyncio
import time

import numpy as np
from textual.app import App, ComposeResult
from textual.containers import Vertical

from bench.figures import Figure, run
from virtfleet.query.field import Unit
from virtfleet_tui.widgets.plot import Plot

POINTS = 450
ROUNDS = 60


class Bench(App[None]):
    CSS = "Plot { height: 1fr; }"

    def compose(self) -> ComposeResult:
        with Vertical():
            for index in range(4):
                yield Plot(f"disk {index}", Unit.RATE, ("read", "write"))


async def _measure() -> Figure:
    rng = np.random.default_rng(2)
    ages = np.linspace(898.0, 0.0, POINTS)
    app = Bench()
    async with app.run_test(size=(120, 48)) as pilot:
        await pilot.pause()
        plots = list(app.query(Plot))
        took = []
        for _ in range(ROUNDS):
            read, write = rng.uniform(0, 2e8, POINTS), rng.uniform(0, 5e7, POINTS)
            start = time.process_time()
            for plot in plots:
                plot.set_series(ages, read, write)
                for y in range(plot.size.height):
                    plot.render_line(y)
            took.append((time.process_time() - start) * 1000)
        width, height = plots[0].size
    p50, p95 = np.percentile(np.array(took), [50, 95])
    what = f"four plots repainted, {width} × {height} each, 2 × {POINTS} points"
    return Figure(what, "≤ 10 ms", f"{p50:.1f} ms of CPU (p95 {p95:.1f})")


def measure(_: argparse.Namespace) -> list[Figure]:
    return [asyncio.run(_measure())]


if __name__ == "__main__":
    run(__doc__, measure)
