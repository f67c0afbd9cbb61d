"""The grid on a screen: what an operator reads, and what keys and mouse do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from rich.cells import cell_len
from rich.style import Style
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input

from tui.screen_text import screen_lines, screen_text
from virtfleet.query.field import Field, Unit
from virtfleet_tui.widgets import glyphs
from virtfleet_tui.widgets.grid import Cell, Grid


class Row(NamedTuple):
    key: str
    cpu: float | None = None
    state: str = "running"
    memory: int = 2**30
    note: str = ""


FIELDS: tuple[Field[Row], ...] = (
    Field("name", "NAME", Unit.TEXT, "", lambda r: r.key, width=12, priority=0),
    Field("state", "STATE", Unit.TEXT, "", lambda r: r.state, width=10, priority=1),
    Field("cpu", "CPU", Unit.PERCENT, "", lambda r: r.cpu, width=6, priority=1),
    Field("memory", "MEMORY", Unit.BYTES, "", lambda r: r.memory, width=8, priority=3),
    Field("secret", "UUID", Unit.TEXT, "", lambda r: r.key * 3, width=8, priority=9),
    Field("note", "NOTE", Unit.TEXT, "", lambda r: r.note, width=16, priority=4),
)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Host(App[None]):
    """An app with one grid that remembers what the grid said."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.clock = Clock()
        self.grid: Grid[Row] = Grid(FIELDS, clock=self.clock, id="vms", **options)
        self.said: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.grid
        yield Input(id="elsewhere")

    def on_mount(self) -> None:
        self.query_one("#elsewhere").styles.dock = "bottom"
        self.grid.focus()

    def on_fleet_grid_selected(self, message: Message) -> None:
        self.said.append(message)

    on_fleet_grid_opened = on_fleet_grid_marked = on_fleet_grid_sort_changed = on_fleet_grid_selected
    on_fleet_grid_column_sized = on_fleet_grid_selected

    def heard(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind)]


@asynccontextmanager
async def host(size: tuple[int, int] = (80, 24), **options: Any) -> AsyncIterator[tuple[Host, Pilot[None]]]:
    app = Host(**options)
    async with app.run_test(size=size) as pilot:
        yield app, pilot


def some(count: int) -> list[Row]:
    return [Row(f"vm-{n:03}", float(n)) for n in range(count)]


def names(grid: Grid[Row]) -> list[str]:
    return [row.key for row in grid.rows]


def style_at(strip: Strip, text: str) -> Style:
    return next(segment.style for segment in strip if text in segment.text and segment.style)


async def test_rows_stand_in_columns_under_their_titles() -> None:
    async with host(default_sort="-cpu") as (app, pilot):
        app.grid.set_rows([Row("db-01", 96.4, "running", 16 * 2**30), Row("web-3", None, "shutoff")])
        await pilot.pause()
        head, first, second = screen_lines(app)[:3]
        assert head.split() == ["NAME", "STATE", "CPU▾", "MEMORY", "NOTE"]
        assert first.split() == ["▸", "db-01", "running", "96", "%", "16.0G"]
        assert second.split() == ["web-3", "shutoff", "—", "1.0G"]
        for title, text in (("NAME", "db-01"), ("STATE", "running")):
            assert head.index(title) == first.index(text)
        for title, text in (("CPU", "96 %"), ("MEMORY", "16.0G")):
            assert head.index(title) + len(title) == first.index(text) + len(text)
        assert (app.grid.shown, app.grid.total, app.grid.marked) == (2, 2, 0)


@pytest.mark.parametrize(
    "name",
    ["[red]x\x1b[2J", "n" * 250, "日本語の仮想マシンの名前", "\u202egnp.exe", "e\u0301" * 40, "a\nb\tc", ""],
)
async def test_no_name_breaks_the_screen(name: str) -> None:
    async with host() as (app, pilot):
        app.grid.set_rows([Row("a" + name, 12.0), Row("plain", 34.0)])
        await pilot.pause()
        hostile, plain = screen_lines(app)[1:3]
        at = plain.index("running")
        assert cell_len(hostile[: hostile.index("running")]) == at
        assert not any(ord(char) < 32 or char in "\x7f\u202e" for char in screen_text(app).replace("\n", ""))
        if name.startswith("["):
            assert "[red]" in hostile
        if len(name) == 250:
            assert "…" in hostile


async def test_selection_and_its_line_stay_when_rows_move() -> None:
    async with host(default_sort="-cpu") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(100))
        await pilot.press(*["down"] * 40)
        assert grid.selected == Row("vm-059", 59.0)
        line = next(y for y, text in enumerate(screen_lines(app)) if text.startswith("▸"))
        grid.update_rows([Row(f"vm-{n:03}", 200.0) for n in range(30)])
        await pilot.pause()
        assert names(grid)[0] == "vm-099", "the order waits while keys are pressed"
        app.clock.now += 2.1
        grid.tick()
        await pilot.pause()
        assert names(grid)[0] == "vm-000"
        assert grid.selected_key == "vm-059"
        assert screen_lines(app)[line].startswith("▸ vm-059")


async def test_it_sorts_at_most_every_two_seconds() -> None:
    async with host(default_sort="-cpu") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(5))
        app.clock.now += 1.0
        grid.update_rows([Row("vm-000", 99.0)])
        grid.tick()
        assert names(grid)[0] == "vm-004"
        await pilot.pause()
        assert "vm-000" in screen_lines(app)[5], "the new value is there"
        assert "99 %" in screen_lines(app)[5]
        app.clock.now += 1.0
        grid.tick()
        assert names(grid)[0] == "vm-000"


async def test_an_untouched_grid_watches_its_top() -> None:
    async with host(default_sort="-cpu") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(100))
        grid.update_rows([Row(f"vm-{n:03}", 200.0) for n in range(50)])
        app.clock.now += 2.1
        grid.tick()
        await pilot.pause()
        assert screen_lines(app)[1].startswith("▸ vm-000")
        assert grid.scroll_offset.y == 0


async def test_new_rows_appear_soon_and_gone_rows_at_once() -> None:
    async with host(default_sort="name") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(3))
        grid.update_rows([Row("vm-0005")])
        assert grid.shown == 3
        assert grid.total == 4
        app.clock.now += 0.3
        grid.tick()
        assert names(grid) == ["vm-000", "vm-0005", "vm-001", "vm-002"]
        grid.remove_rows(["vm-001", "unheard of"])
        await pilot.pause()
        assert "vm-001" not in screen_text(app)
        assert grid.shown == 3


async def test_keys_move_the_cursor() -> None:
    async with host(default_sort="name") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(100))
        for keys, at in (
            (["j", "down"], "vm-002"),
            (["k"], "vm-001"),
            (["G"], "vm-099"),
            (["g"], "vm-000"),
            (["up"], "vm-000"),
            (["end"], "vm-099"),
            (["home", "ctrl+d"], "vm-010"),
            (["ctrl+u"], "vm-000"),
            (["pagedown"], "vm-019"),
            (["pageup"], "vm-000"),
        ):
            await pilot.press(*keys)
            assert grid.selected_key == at, keys
            assert any(text.startswith(f"▸ {at}") for text in screen_lines(app)), keys
        await pilot.press("enter")
        assert [message.row.key for message in app.heard(Grid.Opened)] == ["vm-000"]


async def test_marks_go_with_their_objects_and_verbs_act_on_them() -> None:
    async with host(default_sort="name") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(5))
        assert [row.key for row in grid.targets()] == ["vm-000"]
        await pilot.press("space", "j", "space")
        assert [row.key for row in grid.targets()] == ["vm-000", "vm-002"]
        assert grid.selected_key == "vm-003"
        assert screen_lines(app)[1].startswith("✓ vm-000")
        grid.sort_by("-name")
        await pilot.pause()
        assert [row.key for row in grid.marked_rows] == ["vm-002", "vm-000"]
        grid.remove_rows(["vm-000"])
        assert grid.marked == 1
        await pilot.press("asterisk")
        assert grid.marked == 4
        await pilot.press("asterisk")
        assert grid.marked == 0
        assert [message.count for message in app.heard(Grid.Marked)] == [1, 2, 1, 4, 0]


async def test_a_filter_hides_rows_but_not_their_marks() -> None:
    async with host(default_sort="name", is_fault=lambda row: row.state == "crashed") as (app, pilot):
        grid = app.grid
        grid.set_rows([*some(4), Row("vm-bad", state="crashed")])
        grid.mark(["vm-001"])
        grid.filter = lambda row: row.key in ("vm-002", "vm-bad")
        await pilot.pause()
        assert names(grid) == ["vm-002", "vm-bad"]
        assert (grid.shown, grid.total, grid.marked) == (2, 5, 1)
        assert [row.key for row in grid.targets()] == ["vm-001"]
        grid.faults_only = True
        assert names(grid) == ["vm-bad"]
        grid.filter, grid.faults_only, grid.faults_first = None, False, True
        assert names(grid)[0] == "vm-bad"


async def test_the_empty_grid_speaks() -> None:
    async with host(size=(40, 12), empty="No VMs here.\nPress c to create one.") as (app, pilot):
        await pilot.pause()
        text = [line.strip() for line in screen_lines(app)]
        assert text[4:6] == ["No VMs here.", "Press c to create one."]
        app.grid.set_rows([Row("a")])
        await pilot.pause()
        assert "No VMs" not in screen_text(app)
        app.grid.empty = lambda: "no VM matches cpu>100"
        app.grid.filter = lambda _row: False
        await pilot.pause()
        assert "no VM matches cpu>100" in screen_text(app)
        assert app.grid.selected is None


async def test_a_stale_row_shows_its_age_and_no_green() -> None:
    async with host(
        stale=lambda row: "14 s" if row.key == "old" else None,
        style_of=lambda row, field: "good" if field.name == "state" else "",
    ) as (app, pilot):
        app.grid.set_rows([Row("new"), Row("old"), Row("older")])
        await pilot.pause()
        lines = screen_lines(app)
        assert lines[2].startswith("  old")
        assert lines[2].endswith("14 s")
        assert not lines[1].endswith("14 s")
        strips = [app.grid.render_line(y) for y in (2, 3)]
        stale, fresh = (style_at(strip, "running") for strip in strips)
        assert stale.dim
        assert stale.color != fresh.color
        app.grid.select("old")
        await pilot.pause()
        assert not style_at(app.grid.render_line(2), "running").dim, "what the cursor is on can be read"


async def test_a_change_is_lit_for_a_moment() -> None:
    async with host(default_sort="name") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(3))
        await pilot.pause()

        def back(text: str) -> object:
            return style_at(grid.render_line(2), text).bgcolor

        plain = back("vm-001")
        assert back("running") == plain
        grid.update_rows([Row("vm-001", 55.0, "paused")])
        assert back("paused") != plain
        assert back("55 %") == plain, "what moves all the time is not lit"
        app.clock.now += 0.9
        grid.tick()
        assert back("paused") == plain


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
async def test_every_width_is_filled_exactly(width: int) -> None:
    async with host(size=(width, 10), stale=lambda _row: "3 min") as (app, pilot):
        app.grid.set_rows([Row("日本語の仮想マシンの名前", 5.0, note="x" * 300), Row("b")])
        await pilot.pause()
        inner = app.grid.scrollable_content_region.width
        for y in range(5):
            strip = app.grid.render_line(y)
            assert sum(cell_len(segment.text) for segment in strip) == inner, y


async def test_columns_come_by_priority_by_choice_and_aside() -> None:
    async with host(size=(44, 10)) as (app, pilot):
        grid = app.grid
        grid.set_rows(some(3))
        await pilot.pause()
        assert " ".join(grid.columns) == "name state cpu"
        await pilot.press("right", "right")
        assert " ".join(grid.columns) == "name memory note"
        await pilot.press("right", "right", "left", "left", "left", "left")
        assert " ".join(grid.columns) == "name state cpu"
        grid.choose_columns(["secret", "name"])
        grid.size_column("secret", 18)
        await pilot.pause()
        assert " ".join(grid.columns) == "secret name"
        assert screen_lines(app)[1] == "▸ vm-000vm-000vm-000  vm-000"
        grid.choose_columns(None)
        await pilot.resize_terminal(100, 10)
        await pilot.pause()
        assert " ".join(grid.columns) == "name state cpu memory note"


async def test_mouse_selects_opens_marks_and_sorts() -> None:
    async with host(default_sort="name") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(30))
        await pilot.pause()
        await pilot.click(grid, offset=(5, 4))
        assert grid.selected_key == "vm-003"
        await pilot.click(grid, offset=(5, 6), times=2)
        assert [message.row.key for message in app.heard(Grid.Opened)] == ["vm-005"]
        await pilot.click(grid, offset=(5, 2), control=True)
        assert [row.key for row in grid.marked_rows] == ["vm-001"]
        head = screen_lines(app)[0]
        await pilot.click(grid, offset=(head.index("CPU"), 0))
        assert grid.sort == ("-cpu", "name")
        await pilot.click(grid, offset=(head.index("CPU"), 0))
        assert grid.sort == ("cpu", "name")
        await pilot.click(grid, offset=(head.index("NAME"), 0))
        assert grid.sort == ("name", "cpu")
        assert "NAME▴" in screen_lines(app)[0]
        assert [message.sort[0] for message in app.heard(Grid.SortChanged)] == ["-cpu", "cpu", "name"]


async def test_a_renderer_draws_its_cell_and_is_cut_to_the_column() -> None:
    def draw(row: Row, width: int) -> Cell:
        return [("█" * 3, "bad"), (f" {row.cpu:.0f} [b]%[/b]".rjust(width), "")]

    async with host(renderers={"cpu": draw}) as (app, pilot):
        app.grid.set_rows([Row("a", 7.0)])
        await pilot.pause()
        line = screen_lines(app)[1]
        assert "███" in line
        assert line.index("1.0G") + 4 == screen_lines(app)[0].index("MEMORY") + 6


async def test_only_a_focused_grid_holds_still() -> None:
    async with host(default_sort="-cpu") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(5))
        app.clock.now += 5
        app.query_one("#elsewhere").focus()
        await pilot.press("x")
        grid.update_rows([Row("vm-000", 99.0)])
        grid.tick()
        assert names(grid)[0] == "vm-000"


async def test_selected_is_told_once_per_object() -> None:
    async with host(default_sort="name") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(3))
        await pilot.pause()
        await pilot.press("down")
        grid.update_rows([Row("vm-001", 3.0)])
        await pilot.pause()
        grid.set_rows([])
        await pilot.pause()
        told = [message.row and message.row.key for message in app.heard(Grid.Selected)]
        assert told == ["vm-000", "vm-001", None]
        assert grid.select("vm-001") is False
        grid.set_rows([Row("other")])
        assert grid.select("other") is True


async def test_other_objects_start_at_the_top() -> None:
    async with host(default_sort="name") as (app, pilot):
        grid = app.grid
        grid.set_rows(some(90))
        await pilot.press("end")
        grid.set_rows([Row(f"other-{n:02}") for n in range(90)])
        await pilot.pause()
        assert grid.selected_key == "other-00"
        assert screen_lines(app)[1].startswith("▸ other-00")


async def test_plain_terminals_get_plain_signs() -> None:
    glyphs.use(glyphs.for_terminal({"TERM": "linux"}))
    try:
        async with host(default_sort="-cpu") as (app, pilot):
            app.grid.set_rows([Row("a", 5.0)])
            await pilot.press("space")
            assert screen_lines(app)[1].startswith("* a")
            assert "CPUv" in screen_lines(app)[0]
            app.grid.clear_marks()
            await pilot.pause()
            assert screen_lines(app)[1].startswith("> a")
    finally:
        glyphs.use(glyphs.UNICODE)


async def test_the_edge_of_a_title_is_dragged_to_another_width() -> None:
    async with host(columns=("name", "state", "cpu", "memory")) as (app, pilot):
        app.grid.set_rows(some(3))
        await pilot.pause()
        widths = {each.field.name: each.width for each in app.grid._columns}
        edge = app.grid._columns[1].x + widths["state"]
        await pilot.mouse_down(app.grid, offset=(edge, 0))
        await pilot.hover(app.grid, offset=(edge + 7, 0))
        await pilot.mouse_up(app.grid, offset=(edge + 7, 0))
        await pilot.pause()
        after = {each.field.name: each.width for each in app.grid._columns}
        assert after["state"] == widths["state"] + 7
        told = app.heard(Grid.ColumnSized)
        assert [(each.name, each.width) for each in told] == [("state", widths["state"] + 7)]
        assert not app.grid.sort, "a drag is no click"
        await pilot.click(app.grid, offset=(app.grid._columns[1].x, 0))
        assert list(app.grid.sort) == ["state"]
        app.grid.size_column("state", None)
        assert {each.field.name: each.width for each in app.grid._columns} == widths


async def test_after_a_filter_the_cursor_is_on_the_first_match() -> None:
    async with host(default_sort="name") as (app, pilot):
        app.grid.set_rows(some(60))
        await pilot.pause()
        app.grid.select("vm-040")
        app.grid.filter = lambda row: row.key < "vm-020"
        assert app.grid.selected == some(1)[0], "not the nearest neighbour, vm-019"
        app.grid.filter = None
        app.grid.select("vm-040")
        app.grid.filter = lambda row: row.key > "vm-030"
        assert app.grid.selected == some(41)[40], "it matches, so it stays"
