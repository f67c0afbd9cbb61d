"""The list of events: what it says, what it keeps, and that it does not run away from a reader."""

from __future__ import annotations

import time

import pytest
from textual.app import App, ComposeResult

from tui.screen_text import screen_lines, screen_text
from virtfleet.model.event import Event, Severity
from virtfleet_tui.widgets.event_list import KEPT, EventList, event_pieces
from virtfleet_tui.widgets.palette import fit_pieces, width_of

NOON = time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1))


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield EventList(clock=lambda: NOON, id="events")

    @property
    def events(self) -> EventList:
        return self.query_one(EventList)


def event(number: int, **changes: object) -> Event:
    values: dict[str, object] = {"time": NOON + number, "host": "hv12", "kind": "vm", "name": f"db-{number}"}
    return Event(**{**values, "what": "started", **changes})  # type: ignore[arg-type]


def line(one: Event, width: int) -> str:
    pieces = fit_pieces(event_pieces(one, width, NOON), width)
    assert width_of(pieces) == width
    return "".join(text for text, _ in pieces).rstrip()


def test_a_line_says_when_where_what() -> None:
    full = event(5, what="ioerror", detail="no space left", severity=Severity.ERROR)
    assert line(full, 80) == "12:00:05 ✖ hv12       db-5               ioerror  no space left"
    assert line(full, 46) == "12:00:05 ✖ db-5@hv12 ioerror  no space left"
    host = event(0, kind="host", name="hv12", what="hung", severity=Severity.WARNING)
    assert line(host, 46) == "12:00:00 ▲ hv12 hung"
    assert line(event(0, time=NOON - 3 * 86400), 46).startswith("May 01     db-0@hv12")


@pytest.mark.parametrize("width", [1, 10, 30, 59, 60, 120])
def test_hostile_events_fit(width: int) -> None:
    shown = line(event(1, name="[red]x\x1b[2J" + "日本" * 60, detail="\u202e" + "x" * 300), width)
    assert shown.isprintable()


async def test_it_follows_the_end_unless_somebody_reads() -> None:
    app = Host()
    async with app.run_test(size=(80, 10)) as pilot:
        events = app.events
        events.focus()
        assert "Nothing has happened yet" in screen_text(app)
        events.set_events(event(number) for number in range(30))
        await pilot.pause()
        assert "db-29" in screen_lines(app)[9]
        events.add(event(30))
        await pilot.pause()
        assert "db-30" in screen_lines(app)[9]
        await pilot.press("g")
        await pilot.wait_for_scheduled_animations()
        assert "db-0" in screen_lines(app)[0]
        assert not events.follows
        events.add(event(31))
        await pilot.pause()
        assert "db-0" in screen_lines(app)[0]
        await pilot.press("G")
        await pilot.wait_for_scheduled_animations()
        assert "db-31" in screen_lines(app)[9]
        assert events.follows


async def test_old_events_fall_off_without_moving_the_page() -> None:
    app = Host()
    async with app.run_test(size=(80, 10)) as pilot:
        events = app.events
        events.set_events(event(number) for number in range(KEPT))
        await pilot.pause()
        events.scroll_to(y=100, animate=False)
        await pilot.pause()
        first = screen_lines(app)[0]
        assert "db-100" in first
        for number in range(KEPT, KEPT + 5):
            events.add(event(number))
        await pilot.pause()
        assert screen_lines(app)[0] == first
        assert events.total == KEPT
        assert events.shown[0].name == "db-5"


async def test_a_filter_narrows_it() -> None:
    app = Host()
    async with app.run_test(size=(80, 10)) as pilot:
        app.events.set_events(event(number) for number in range(6))
        app.events.matches = lambda one: one.name in ("db-2", "db-9")
        app.events.add(event(8))
        app.events.add(event(9))
        await pilot.pause()
        assert [one.name for one in app.events.shown] == ["db-2", "db-9"]
        assert "db-8" not in screen_text(app)
        app.events.matches = None
        assert len(app.events.shown) == 8
