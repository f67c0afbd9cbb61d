"""What four plots of 2 x 450 points cost to repaint, in CPU time. Run by `make bench`."""

from __future__ import annotations

import time

import numpy as np
import pytest
from textual.app import App, ComposeResult
from textual.containers import Vertical

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


@pytest.mark.bench
async def test_four_plots() -> None:
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
                lines = [plot.render_line(y) for y in range(plot.size.height)]
            took.append((time.process_time() - start) * 1000)
        width, height = plots[0].size
    p50, p95 = np.percentile(np.array(took), [50, 95])
    print(f"\nfour plots of 2 x {POINTS} points, {width}x{height} each")
    print(f"  new data to lines p50, p95  {p50:7.1f} {p95:6.1f} ms")
    assert len(lines) == height
