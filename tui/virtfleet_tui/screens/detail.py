"""One object: what it is, what is wrong with it, its last 15 minutes, what it has, what happened to it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.widget import Widget

from virtfleet.model import FleetSnapshot
from virtfleet.query.rows import PoolRow, Row, VolumeRow
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Place, Subject
from virtfleet_tui.keys import ANYWHERE, DETAIL, GRID, OBJECT, VM, bindings
from virtfleet_tui.panels.events import SubjectEvents
from virtfleet_tui.panels.facts import facts_of
from virtfleet_tui.panels.facts_view import FactsView, TroubleView
from virtfleet_tui.panels.frame import Frame
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import BY_VIEW, find, host_names
from virtfleet_tui.panels.plots import Plots, curves_of, memory_limit
from virtfleet_tui.panels.troubles import troubles_of
from virtfleet_tui.screens.lists import ListScreen

_HAS = {"host": "vms", "pool": "volumes"}
"""The list on an object's page: what it has."""
_FACTS_EVERY = 1.0
_ROOM_EVERY = 3.0


def _is_in(identity: str, row: VolumeRow) -> bool:
    return row.pool_identity == identity


class Detail(ListScreen):
    contexts: ClassVar[tuple[str, ...]] = (DETAIL, GRID, OBJECT, VM, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(DETAIL)

    def __init__(self, console: Console, place: Place) -> None:
        super().__init__(console, place)
        if place.subject is None:
            raise ValueError("the page of nothing")
        self._object: Subject = place.subject
        self._curves = curves_of(self._object.kind)
        self._drawn_at = 0.0
        self._room: Mapping[str, int] = {}
        """How many more VMs of each flavor fit on a host."""

    def compose_body(self) -> Iterable[Widget]:
        has = _HAS.get(self._object.kind)
        yield TroubleView(id="trouble")
        with Container(id="detail", classes=f"{self._object.kind} {'plotted' if self._curves else 'plain'}"):
            yield Frame(self._object.title, FactsView(id="facts"), id="facts-frame")
            with Vertical(id="detail-right"):
                if self._curves:
                    yield Frame(
                        "History",
                        Plots(self.console, self._curves, id="plots"),
                        id="plots-frame",
                    )
                if has is not None:
                    yield ListPanel(self.console, BY_VIEW[has], without=("host", "pool"), id="has")
                yield Frame(
                    "Events", SubjectEvents(self.console.fleet, id="detail-events"), id="events-frame"
                )

    def on_mount(self) -> None:
        self.query_one(SubjectEvents).show(self._object)
        if self._curves:
            self.query_one(Plots).show(self._object)
        self._narrow(self.console.fleet.snapshot)
        self.set_interval(_FACTS_EVERY, self._draw_facts)
        if self._object.kind == "host" and self.console.fleet.settings.flavors:
            self._look_for_room()
            self.set_interval(_ROOM_EVERY, self._look_for_room)
        self.home_focus()

    @property
    def panel(self) -> ListPanel | None:
        found = self.query("#has")
        panel = found.first(ListPanel) if found else None
        return panel if panel is not None and panel.has_focus_within else None

    @property
    def subject(self) -> Subject | None:
        """The object of the page; in its list, what is selected there."""
        return (self.panel.subject if self.panel is not None else None) or self._object

    @property
    def title_text(self) -> str:
        return f"{self._object.kind} {self._object.title}"

    @property
    def kinds(self) -> tuple[str, ...]:
        has = _HAS.get(self._object.kind)
        listed = (BY_VIEW[has].kind,) if has is not None else ()
        return (self._object.kind, *listed, *(("plot",) if self._curves else ()))

    def home_focus(self) -> None:
        self.query_one(FactsView).focus()

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        for panel in self.query(ListPanel):
            panel.show_fleet(snapshot, changes)
        if changes is None or changes.events:
            self.query_one(SubjectEvents).refresh_events()
        if changes is None or (
            self._object.host in changes.hosts and time.monotonic() - self._drawn_at > 0.25
        ):
            self._draw_facts()

    def _limit_plots(self, row: Row) -> None:
        for plots in self.query(Plots):
            plots.limit("memory", memory_limit(row))

    def _narrow(self, snapshot: FleetSnapshot) -> None:
        row = find(snapshot, self._object)
        for panel in self.query(ListPanel):
            hosts = host_names(row) if row is not None else frozenset({self._object.host})
            panel.narrow(
                hosts, f"on {self._object.host}" if self._object.kind == "host" else f"in {self._object.name}"
            )
            if isinstance(row, PoolRow):
                panel.only(partial(_is_in, row.identity))

    def _look_for_room(self) -> None:
        if self.is_current:
            self.run_worker(self._count_room(), exit_on_error=False)

    async def _count_room(self) -> None:
        self._room = await self.console.reckoner.room_on(self._object.host)
        self._draw_facts()

    def _draw_facts(self) -> None:
        if not self.is_current:
            return
        now = self._drawn_at = time.monotonic()
        row = find(self.console.fleet.snapshot, self._object)
        trouble = self.query_one("#trouble", TroubleView)
        frame = self.query_one("#facts-frame", Frame)
        if row is None:
            trouble.show_gone(self._object.title)
            frame.set_title((self._object.title, "bold"), right=(("gone", "bad"),))
            return
        self._limit_plots(row)
        trouble.show(troubles_of(row, now))
        self.query_one(FactsView).show(facts_of(row, now, self._room))

    def action_faults(self) -> None:
        if self.panel is not None:
            super().action_faults()
