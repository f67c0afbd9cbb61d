"""Lists of what is decided and not seen: projects, groups, room, the case of each host.

Their rows are made of the whole fleet at once, beside the loop, when the
fleet has changed and a while after the last time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from textual.message import Message
from textual.timer import Timer

from virtfleet.errors import VirtfleetError
from virtfleet.model import FleetSnapshot
from virtfleet.query.field import Field
from virtfleet.query.nouns import Noun
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Subject
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import Listed
from virtfleet_tui.widgets.grid import Renderer

_EVERY = 2.0
"""Seconds between two reckonings, at least."""
_AT_ONCE = 0.01
_SLOWEST_SHARE = 20.0
"""Of the time, reckoning takes at most one part of so many."""


def decided(
    noun: Noun[Any],
    columns: tuple[Field[Any], ...],
    is_fault: Callable[[Any], bool],
    empty: str,
    hint: str,
    style: Callable[[Any, Field[Any]], str] | None = None,
    meters: Mapping[str, Renderer] = MappingProxyType({}),
) -> Listed:
    """A noun whose rows are decided, as a list on the screen."""
    return Listed(
        noun=noun,
        groups=frozenset({"state", "facts", "vms", "pools", "volumes", "networks"}),
        members="",
        of_host=None,
        is_fault=is_fault,
        empty=empty,
        told=lambda host: True,
        columns=columns,
        ages=False,
        style=style,
        meters=meters,
        hint=hint,
    )


class DecidedPanel(ListPanel):
    """`reckon` gives the rows; VirtfleetError of it is shown instead of them."""

    class Reckoned(Message):
        """There are new rows, or a reason why there are none."""

    def __init__(
        self,
        console: Console,
        noun: Listed,
        reckon: Callable[[], Awaitable[Sequence[Any]]],
        *,
        filter_text: str = "",
        id: str | None = None,
    ) -> None:
        self.problem = ""
        """Why there are no rows, or only old ones."""
        self.known = False
        """Whether it was reckoned once."""
        super().__init__(console, noun, filter_text=filter_text, id=id)
        self._reckon = reckon
        self._rows: Sequence[Any] = ()
        self._next = 0.0
        self._waiting: Timer | None = None
        self._working = False
        self._again = False

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        self._snapshot = snapshot
        if changes is None or changes.touched(*self.noun.groups):
            self._soon()

    def _soon(self) -> None:
        if self._working:
            self._again = True
        elif self._waiting is None:
            self._waiting = self.set_timer(max(_AT_ONCE, self._next - time.monotonic()), self._begin)

    def _begin(self) -> None:
        wait = self.console.hands.wait(self._next) if self.known else 0.0
        if wait:
            self._waiting = self.set_timer(wait, self._begin)
            return
        self._waiting, self._working = None, True
        self.run_worker(self._work(), exit_on_error=False)

    async def _work(self) -> None:
        began = time.monotonic()
        try:
            self._rows = await self._reckon()
            self.problem = ""
        except VirtfleetError as error:
            self.problem = f"{error.message}: {error.cure}" if error.cure else error.message
        finally:
            now = time.monotonic()
            self._working = False
            self._next = now + max(_EVERY, (now - began) * _SLOWEST_SHARE)
        self.known = True
        self._reload()
        self._retitle()
        self.post_message(self.Reckoned())
        if self._again:
            self._again = False
            self._soon()

    def _scoped(self, snapshot: FleetSnapshot) -> Iterable[Any]:
        return self._rows

    def _empty(self) -> str:
        if self.problem:
            return self.problem
        if not self.known:
            return "One moment …"
        return super()._empty()

    def remarks(self) -> list[tuple[str, str]]:
        return [(f"  {self.problem}", "bad")] if self.problem and self._rows else []

    def subject_of(self, row: Any) -> Subject | None:
        return None
