"""The status line: everything where there is space, what matters where there is not, nothing moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.app import App, ComposeResult

from tui.screen_text import screen_lines
from virtfleet_tui.widgets.palette import width_of
from virtfleet_tui.widgets.status_line import Status, StatusLine, line_pieces

BUSY = Status(
    fleet="prod",
    view="vms",
    hosts=(97, 100),
    vms=(1873, 2041),
    alerts=3,
    cost=1.4,
    jobs="2 ▸ 41 %",
    badges=("demo", "read-only"),
)


def line(status: Status, width: int) -> str:
    pieces = line_pieces(status, "14:02:11", width)
    assert width_of(pieces) == width
    return "".join(text for text, _ in pieces)


def test_a_wide_line_says_all() -> None:
    said = " ".join(line(BUSY, 150).split())
    assert said == (
        "virtfleet prod ▸ vms demo read-only hosts 97/100 VMs 1,873/2,041 ✖ alerts 3"
        " jobs 2 ▸ 41 % cost 1.4 calls/host/s 14:02:11"
    )


def test_narrow_lines_keep_what_matters() -> None:
    said = " ".join(line(BUSY, 80).split())
    assert said == "prod ▸ vms demo read-only hosts 97/100 VMs 1,873/2,041 ✖ alerts 3"
    assert " ".join(line(BUSY, 50).split()) == "prod ▸ vms demo read-only ✖ alerts 3"
    assert "read-only" in line(BUSY, 40)


def test_warnings_alone_are_not_shown_as_errors() -> None:
    for bad, sign, meaning in ((0, "▲", "warning"), (1, "✖", "bad"), (None, "✖", "bad")):
        pieces = line_pieces(replace(BUSY, alerts_bad=bad), "14:02:11", 120)
        assert (f"{sign} alerts 3  ", meaning) in pieces


@pytest.mark.parametrize("width", [1, 2, 5, 12, 20, 33, 64, 80, 99, 120, 200])
def test_every_width_is_filled(width: int) -> None:
    line(BUSY, width)
    line(Status(), width)
    line(replace(BUSY, fleet="日本" * 40, message="[b]lost\x1b[2J"), width)


def test_figures_do_not_move_when_they_change() -> None:
    one = line(BUSY, 140)
    for changed in (
        replace(BUSY, hosts=(5, 100)),
        replace(BUSY, vms=(9, 2041)),
        replace(BUSY, alerts=0),
        replace(BUSY, alerts=120),
        replace(BUSY, cost=12.0),
        replace(BUSY, view="overview", message="copied"),
    ):
        other = line(changed, 140)
        for word in ("demo", "hosts", "VMs", "alerts", "jobs", "cost", "14:02"):
            assert other.index(word) == one.index(word), (word, other)


async def test_the_clock_runs() -> None:
    now = 1_780_000_000.0

    class Host(App[None]):
        def compose(self) -> ComposeResult:
            yield StatusLine(clock=lambda: now, id="status")

    app = Host()
    async with app.run_test(size=(120, 5)) as pilot:
        status = app.query_one(StatusLine)
        status.show(BUSY)
        await pilot.pause()
        before = screen_lines(app)[0]
        assert "prod ▸ vms" in before
        assert "97/100" in before
        now += 1
        status.tick()
        await pilot.pause()
        after = screen_lines(app)[0]
        assert before[:-3] == after[:-3]
        assert before[-3:] != after[-3:]
