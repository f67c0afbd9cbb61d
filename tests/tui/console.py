"""The console under test: started over a feeder or the real engine, with a taste of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.screen import Screen

from tui.screen_text import screen_text
from virtfleet_tui.app import VirtfleetApp
from virtfleet_tui.bridge import Fleet
from virtfleet_tui.screens.overview import Overview

NAMES = {
    " ": "space",
    ">": "greater_than_sign",
    "<": "less_than_sign",
    "=": "equals_sign",
    "/": "slash",
    ":": "colon",
    "-": "minus",
    "?": "question_mark",
    "[": "left_square_bracket",
    "]": "right_square_bracket",
    "+": "plus",
}
MIDDLE = (120, 36)


class Hands:
    """An operator at the console."""

    def __init__(self, app: VirtfleetApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(NAMES.get(key, key))
        await self.pilot.pause()

    async def write(self, text: str) -> None:
        await self.press(*text)

    async def command(self, text: str) -> None:
        await self.press(":", *text, "enter")

    async def settle(self) -> None:
        """Until the bridge has brought everything that the fleet said."""
        bridge = self.app._bridge
        for _ in range(100):
            await self.pilot.pause(0.02)
            if bridge.is_idle:
                break
        await self.pilot.pause()

    async def until(self, text: str) -> str:
        """The screen, as soon as it says `text`."""
        for _ in range(200):
            shown = self.text
            if text in shown:
                return shown
            await self.pilot.pause(0.02)
        raise AssertionError(f"{text!r} is not on the screen:\n{self.text}")

    @property
    def text(self) -> str:
        return screen_text(self.app)

    @property
    def overview(self) -> Overview:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, Overview)
        return screen

    @property
    def screen(self) -> Any:
        return self.app.screen

    def shows(self, kind: type[Screen[Any]]) -> bool:
        """Whether a screen of this kind is in front."""
        return isinstance(self.app.screen, kind)

    def names(self, view: str) -> list[str]:
        """Names in a list of the screen in front, from the top."""
        return [
            row.vm.name if view == "vms" else str(row.key) for row in self.screen.query_one(f"#{view}").rows
        ]


@asynccontextmanager
async def console(
    fleet: Fleet, folder: Path, size: tuple[int, int] = MIDDLE, **options: Any
) -> AsyncIterator[Hands]:
    app = VirtfleetApp(fleet, state_dir=folder, **options)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Hands(app, pilot)
