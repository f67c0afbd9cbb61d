"""The XML of one object, asked of its host when the view opens; it can be searched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Static

from virtfleet.errors import QueryError, VirtfleetError
from virtfleet.query.rows import NetworkRow, PoolRow, Row, VmRow, VolumeRow
from virtfleet_tui.console import Console, Place, Subject
from virtfleet_tui.keys import ANYWHERE, OBJECT, TEXT, bindings
from virtfleet_tui.panels.frame import Frame
from virtfleet_tui.panels.nouns import find
from virtfleet_tui.panels.xml_view import XmlView
from virtfleet_tui.screens.base import FleetScreen
from virtfleet_tui.styles.themes import say

DEADLINE = 10.0


def request_of(row: Row) -> tuple[str, str, dict[str, Any]] | None:
    """(host, operation, arguments) that give the XML of an object; None: it has none."""
    match row:
        case VmRow(host, vm):
            return host.name, "vm.xml", {"uuid": vm.uuid}
        case PoolRow(_, members):
            host, pool = next((each for each in members if each[0].state.answers), members[0])
            return host.name, "pool.xml", {"name": pool.name}
        case NetworkRow(host, network):
            return host.name, "network.xml", {"name": network.name}
        case VolumeRow(host, volume):
            return host.name, "volume.xml", {"pool": volume.pool, "name": volume.name}
        case _:
            return None


class XmlScreen(FleetScreen):
    contexts: ClassVar[tuple[str, ...]] = (TEXT, OBJECT, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(TEXT, OBJECT)

    def __init__(self, console: Console, place: Place) -> None:
        super().__init__(console, place)
        if place.subject is None:
            raise ValueError("the XML of nothing")
        self._object: Subject = place.subject
        self._words = ""

    def compose_body(self) -> Iterable[Widget]:
        yield Frame(
            "XML",
            Static("", markup=False, id="xml-state"),
            XmlView(id="xml"),
            id="xml-frame",
            classes="-current",
        )

    def on_mount(self) -> None:
        self.query_one("#xml-frame", Frame).set_title((f"XML of {self._object.name}", "bold"))
        self.home_focus()
        self.action_xml()

    @property
    def title_text(self) -> str:
        return f"XML of {self._object.name}"

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("xml",)

    def home_focus(self) -> None:
        self.query_one(XmlView).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("next_match", "previous_match"):
            return self.query_one(XmlView).place[1] > 0
        return super().check_action(action, parameters)

    def action_xml(self) -> None:
        """Ask the host, also again."""
        self.run_worker(self._load(), exclusive=True, group="xml")

    async def _load(self) -> None:
        row = find(self.console.fleet.snapshot, self._object)
        wanted = request_of(row) if row is not None else None
        if wanted is None:
            self._say_state((f"{self._object.title} is no longer there.", "warning"))
            return
        host, op, arguments = wanted
        self._say_state((f"Asking {host} …", "busy"))
        try:
            text = await self.console.fleet.request(host, op, arguments, timeout=DEADLINE)
        except VirtfleetError as error:
            pieces = [("✖ ", "bad"), (error.message, "bad")]
            if error.cure:
                pieces += [("\n  try: ", "muted"), (error.cure, "")]
            self._say_state(*pieces, ("\n\n  y asks again, esc goes back", "muted"))
            return
        self.query_one("#xml-state").display = False
        self.query_one(XmlView).show_text(str(text))
        self._retitle(host)

    def _say_state(self, *pieces: tuple[str, str]) -> None:
        state = self.query_one("#xml-state", Static)
        state.update(say(*pieces))
        state.display = True

    def _retitle(self, host: str) -> None:
        view = self.query_one(XmlView)
        lines = view.text.count("\n") + 1
        right: list[tuple[str, str]] = [(f"{lines:,} lines, as {host} has it now", "muted")]
        if self._words:
            at, total = view.place
            right.insert(0, (f"{at} of {total:,} {self._words}, ", "accent" if total else "warning"))
        self.query_one("#xml-frame", Frame).set_title(
            (f"XML of {self._object.name}", "bold"), right=tuple(right)
        )
        self.show_keys()

    # ---- search

    def action_search(self) -> None:
        self.input_bar.ask(
            "search", "/", "words to find   enter keeps, esc undoes   then n and N", self._words
        )

    def typed(self, purpose: str, text: str) -> None:
        if purpose == "search":
            self._find(text)
        super().typed(purpose, text)

    def entered(self, purpose: str, text: str) -> QueryError | None:
        if purpose == "search":
            self._find(text)
        return super().entered(purpose, text)

    def cancelled(self, purpose: str, before: str) -> None:
        if purpose == "search":
            self._find(before)

    def _find(self, words: str) -> None:
        self._words = words
        self.query_one(XmlView).search(words)
        self._retitle(self._object.host)

    def action_next_match(self) -> None:
        self.query_one(XmlView).step(1)
        self._retitle(self._object.host)

    def action_previous_match(self) -> None:
        self.query_one(XmlView).step(-1)
        self._retitle(self._object.host)

    def action_back(self) -> None:
        if self._words:
            self._find("")
        else:
            super().action_back()
