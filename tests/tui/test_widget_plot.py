"""Plots: the canvas puts dots where the line is, the axis is round, gaps stay gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from tui.screen_text import screen_lines
from virtfleet.query.field import Unit
from virtfleet_tui.widgets import glyphs
from virtfleet_tui.widgets.canvas import cell_bits, cell_text, dotted, line_mask
from virtfleet_tui.widgets.plot import Plot, nice_limit


class Host(App[None]):
    CSS = "Plot { height: 100%; }"

    def __init__(self, plot: Plot) -> None:
        super().__init__()
        self.plot = plot

    def compose(self) -> ComposeResult:
        yield self.plot


def drawn(mask: np.ndarray) -> list[str]:
    return ["".join("#" if dot else "." for dot in row) for row in mask]


def test_a_line_joins_its_points() -> None:
    mask = line_mask(np.array([0.0, 7.0]), np.array([0.0, 3.0]), 8, 4)
    assert mask.any(axis=0).all(), "no column is left out"
    assert mask[3, 0]
    assert mask[0, 7]


def test_a_peak_between_two_dots_is_seen() -> None:
    x = np.linspace(0, 3.99, 400)
    y = np.zeros(400)
    y[150] = 7.0
    mask = line_mask(x, y, 4, 8)
    assert drawn(mask)[0] == ".#.."


def test_a_gap_is_not_bridged() -> None:
    y = np.array([2.0, 2.0, math.nan, math.nan, 2.0, 2.0])
    mask = line_mask(np.array([0.0, 2, 4, 6, 8, 10]), y, 12, 4)
    assert drawn(mask)[1] == "###.....###."


def test_a_single_point_is_a_dot() -> None:
    assert drawn(line_mask(np.array([3.0]), np.array([1.0]), 6, 2)) == ["...#..", "......"]
    y = np.array([math.nan, 0.0, math.nan])
    assert line_mask(np.array([0.0, 2, 4]), y, 6, 4).sum() == 1
    assert not line_mask(np.zeros(0), np.zeros(0), 6, 4).any()


@given(
    st.lists(st.floats(-50, 50) | st.just(math.nan), min_size=1, max_size=60),
    st.integers(1, 30),
    st.integers(1, 10),
)
def test_whatever_comes_stays_on_the_canvas(values: list[float], columns: int, rows: int) -> None:
    x = np.linspace(-5.0, columns * 2 + 5.0, len(values))
    mask = line_mask(x, np.array(values), columns * 2, rows * 4)
    lines = cell_text(cell_bits(mask))
    assert len(lines) == rows
    assert all(len(line) == columns for line in lines)


def test_braille_bits() -> None:
    mask = np.zeros((4, 2), dtype=bool)
    mask[0, 0] = mask[3, 1] = True
    assert cell_text(cell_bits(mask)) == ["⢁"]
    assert cell_text(cell_bits(np.ones((4, 2), dtype=bool))) == ["⣿"]
    assert cell_text(cell_bits(np.ones((4, 2), dtype=bool)), braille=False) == ["*"]
    assert dotted(np.ones((1, 12), dtype=bool), 3).sum() == 8


@pytest.mark.parametrize(
    ("value", "unit", "limit"),
    [
        (37.0, Unit.PERCENT, 100.0),
        (0.0, Unit.RATE, 1.0),
        (math.nan, Unit.COUNT, 1.0),
        (7.0, Unit.COUNT, 10.0),
        (1200.0, Unit.IOPS, 2000.0),
        (3000.0, Unit.RATE, 5 * 1024.0),
        (150 * 2**20, Unit.RATE, 200 * 2.0**20),
        (1000 * 2**20, Unit.BYTES, 2.0**30),
        (2**40, Unit.BYTES, 2.0**40),
    ],
)
def test_limits_are_round(value: float, unit: Unit, limit: float) -> None:
    assert nice_limit(value, unit) == limit


@given(st.floats(0.001, 1e18))
def test_limits_are_never_below_the_data(value: float) -> None:
    for unit in (Unit.BYTES, Unit.COUNT):
        assert value <= nice_limit(value, unit) <= max(1.0, value * 2.6)


async def test_a_plot_has_title_figures_curve_and_axes() -> None:
    plot = Plot("CPU", Unit.PERCENT)
    app = Host(plot)
    async with app.run_test(size=(60, 10)) as pilot:
        ages = np.linspace(900, 0, 450)
        plot.set_series(ages, np.where(ages > 450, 10.0, 90.0))
        await pilot.pause()
        lines = screen_lines(app)
        assert lines[0] == "CPU  now 90 %  max 90 %  avg 50 %"
        assert lines[1].startswith(" 100 %┤")
        assert lines[8].startswith("   0 %┤")
        assert lines[9].split() == ["-15m", "-7.5m", "now"]
        left, right = lines[1][8:30], lines[1][40:60]
        assert not left.strip(), "ten percent is not up here"
        assert len(right.strip()) >= 18
        assert len(lines[8][8:30].strip()) >= 20


async def test_two_series_are_named_and_told_apart_without_colour() -> None:
    plot = Plot("disk", Unit.RATE, ("read", "write"))
    app = Host(plot)
    async with app.run_test(size=(80, 8)) as pilot:
        ages = np.linspace(900, 0, 100)
        plot.set_series(ages, np.full(100, 150e6), np.full(100, 10e6))
        await pilot.pause()
        lines = screen_lines(app)
        assert lines[0].startswith("disk  ━━ read  now 143M  max 143M")
        assert "╍╍ write" in lines[0]
        assert lines[1].startswith("  200M┤")
        solid = next(line[7:] for line in lines[1:4] if line[7:].strip())
        broken = lines[6][7:]
        assert " " not in solid.strip()
        assert " " in broken.strip()


async def test_figures_leave_before_names_when_it_is_narrow() -> None:
    plot = Plot("disk", Unit.RATE, ("read", "write"))
    app = Host(plot)
    async with app.run_test(size=(40, 8)) as pilot:
        plot.set_series([1.0, 0.0], [1e6, 2e6], [3e6, 4e6])
        await pilot.pause()
        assert screen_lines(app)[0] == "disk  ━━ read 1.9M  ╍╍ write 3.8M"
        plot.set_series([1.0, 0.0], [1e6, 200.4e6], [3e6, 99.6e6])
        await pilot.pause()
        assert screen_lines(app)[0] == "disk  ━━ read 191M  ╍╍ write 95.0M"


async def test_figures_lose_digits_before_they_leave_and_keep_clear_of_what_is_beside() -> None:
    plot = Plot("disk", Unit.RATE, ("read", "write"))
    app = Host(plot)
    async with app.run_test(size=(34, 8)) as pilot:
        plot.set_series([1.0, 0.0], [1e6, 76.4e6], [3e6, 62.5e6])
        await pilot.pause()
        assert screen_lines(app)[0] == "disk  ━━ read 73M  ╍╍ write 60M"


async def test_no_data_says_so_and_a_missing_last_sample_is_not_now() -> None:
    plot = Plot("net", Unit.RATE, empty="hv44 never answered")
    app = Host(plot)
    async with app.run_test(size=(60, 9)) as pilot:
        await pilot.pause()
        assert "hv44 never answered" in "".join(screen_lines(app))
        plot.set_series([4.0, 2.0, 0.0], [1024.0, 2048.0, math.nan])
        await pilot.pause()
        assert screen_lines(app)[0].startswith("net  now —  max 2.0K")
        plot.set_series([29.0, 27.0, 25.0], [1024.0, 2048.0, 1024.0])
        await pilot.pause()
        assert screen_lines(app)[0].startswith("net  now —  max 2.0K"), "its host has hung for 25 s"
        plot.set_series([85.0, 55.0, 25.0], [1024.0, 2048.0, 1024.0])
        await pilot.pause()
        assert screen_lines(app)[0].startswith("net  now 1.0K  max 2.0K"), "a sample every 30 s"
        plot.clear()
        await pilot.pause()
        assert screen_lines(app)[0] == "net —"


async def test_series_must_match() -> None:
    plot = Plot("net", Unit.RATE, ("rx", "tx"))
    with pytest.raises(ValueError, match="2 series"):
        plot.set_series([0.0], [1.0])
    with pytest.raises(ValueError, match="one value per age"):
        plot.set_series([0.0], [1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="1 to 3"):
        Plot("many", Unit.RATE, ("a", "b", "c", "d"))


@pytest.mark.parametrize("size", [(8, 1), (10, 2), (12, 3), (20, 4), (33, 7), (160, 40)])
async def test_every_size_is_filled(size: tuple[int, int]) -> None:
    plot = Plot("memory", Unit.BYTES, ("used", "cache", "swap"), high=64 * 2.0**30)
    app = Host(plot)
    async with app.run_test(size=size) as pilot:
        ages = np.linspace(900, 0, 50)
        plot.set_series(ages, ages * 2**24, ages * 2**23, np.full(50, math.nan))
        await pilot.pause()
        for y in range(size[1]):
            assert sum(cell_len(segment.text) for segment in plot.render_line(y)) == size[0], y


async def test_plain_terminals_get_ascii_plots() -> None:
    glyphs.use(glyphs.ASCII)
    try:
        plot = Plot("cpu", Unit.PERCENT)
        app = Host(plot)
        async with app.run_test(size=(40, 8)) as pilot:
            plot.set_series([900.0, 0.0], [0.0, 100.0])
            await pilot.pause()
            assert all(line.isascii() for line in screen_lines(app))
    finally:
        glyphs.use(glyphs.UNICODE)
