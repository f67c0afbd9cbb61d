"""Views of what is decided for the whole fleet: `:projects`, `:groups`, `:capacity`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from virtfleet.model import FleetSnapshot
from virtfleet.model.project import DEFAULT
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Place, Subject
from virtfleet_tui.keys import ANYWHERE, GRID, OBJECT, PARTS, VM, bindings
from virtfleet_tui.panels.decided import DecidedPanel
from virtfleet_tui.panels.foot import Foot
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.projects import GROUP_LIST, PROJECT_LIST, group_foot, project_foot
from virtfleet_tui.panels.room import HOMELESS, capacity_list, verdict
from virtfleet_tui.reckoner import FLEET, HOST, PlaceRow
from virtfleet_tui.screens.lists import OneList
from virtfleet_tui.widgets.grid import Grid
from virtfleet_tui.widgets.hanging import Line


class FootedList(OneList):
    """A list with the selected row in words below it."""

    contexts: ClassVar[tuple[str, ...]] = (GRID, OBJECT, ANYWHERE)

    def compose_body(self) -> Iterable[Widget]:
        yield from super().compose_body()
        yield Foot(id="foot")

    def foot(self, row: Any) -> Sequence[Line]:
        """What is said of a row."""
        return ()

    @on(Grid.Selected)
    @on(DecidedPanel.Reckoned)
    def _show_foot(self) -> None:
        row = self.panel.grid.selected
        self.query_one(Foot).show(self.foot(row) if row is not None else ())


class ProjectsScreen(FootedList):
    """Projects with what they use of what they may; enter goes to their VMs."""

    def make_panel(self) -> ListPanel:
        reckon = self.console.reckoner.projects
        return DecidedPanel(self.console, PROJECT_LIST, reckon, filter_text=self.place.filter, id="only")

    @property
    def title_text(self) -> str:
        return "projects"

    def foot(self, row: Any) -> Sequence[Line]:
        return project_foot(row, advisory=not self.console.fleet.settings.store.url)

    def open_row(self, row: Any) -> None:
        none = ",none" if row.name == DEFAULT else ""
        self.console.go(Place("vms", filter=f"project={_quoted(row.name)}{none}"))


class GroupsScreen(FootedList):
    """Groups with their rules; enter goes to their VMs."""

    def make_panel(self) -> ListPanel:
        reckon = self.console.reckoner.groups
        return DecidedPanel(self.console, GROUP_LIST, reckon, filter_text=self.place.filter, id="only")

    @property
    def title_text(self) -> str:
        return "groups"

    def foot(self, row: Any) -> Sequence[Line]:
        return group_foot(row)

    def open_row(self, row: Any) -> None:
        self.console.go(Place("vms", filter=f"group={_quoted(row.name)}"))


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _PlacesPanel(DecidedPanel):
    """Room everywhere, with N+1 of the fleet in its title."""

    def __init__(self, console: Console, *, filter_text: str) -> None:
        listed = capacity_list(console.fleet.settings.flavors)
        super().__init__(console, listed, self._places, filter_text=filter_text, id="only")
        self.homeless: Sequence[Any] = ()
        self.fleet: PlaceRow | None = None

    async def _places(self) -> Sequence[PlaceRow]:
        found = await self.console.reckoner.capacity()
        self.homeless = found.homeless
        self.fleet = next((row for row in found.places if row.scope == FLEET), None)
        return found.places

    def remarks(self) -> list[tuple[str, str]]:
        if self.fleet is None or self.problem:
            return super().remarks()
        text, meaning = verdict(self.fleet)
        return [(f"  {text}", meaning)]

    def subject_of(self, row: Any) -> Subject | None:
        return Subject("host", row.name, row.name, row.name) if row.scope == HOST else None


class _HomelessPanel(ListPanel):
    def __init__(self, console: Console) -> None:
        super().__init__(console, HOMELESS, id="left-behind")
        self._rows: Sequence[Any] = ()

    def show_rows(self, rows: Sequence[Any], snapshot: FleetSnapshot) -> None:
        self._rows, self._snapshot = rows, snapshot
        self._reload()

    def _scoped(self, snapshot: FleetSnapshot) -> Iterable[Any]:
        return self._rows

    def subject_of(self, row: Any) -> Subject | None:
        return Subject("vm", row.key, row.name, row.host, row.uuid)


class CapacityScreen(OneList):
    """How many more VMs fit, of each flavor and everywhere; below, those for which N+1 does not hold."""

    contexts: ClassVar[tuple[str, ...]] = (PARTS, GRID, OBJECT, VM, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(PARTS)

    def make_panel(self) -> ListPanel:
        return _PlacesPanel(self.console, filter_text=self.place.filter)

    def compose_body(self) -> Iterable[Widget]:
        yield from super().compose_body()
        yield _HomelessPanel(self.console)

    @property
    def panel(self) -> ListPanel:
        below = self.query_one("#left-behind", _HomelessPanel)
        return below if below.has_focus_within else self._places

    @property
    def _places(self) -> _PlacesPanel:
        return self.query_one("#only", _PlacesPanel)

    @property
    def title_text(self) -> str:
        if not self.is_mounted or (fleet := self._places.fleet) is None:
            return "capacity"
        return "capacity, N+1 broken" if fleet.fatal else "capacity, N+1 holds"

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("capacity",)

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        self._places.show_fleet(snapshot, changes)

    @on(DecidedPanel.Reckoned)
    def _show_homeless(self) -> None:
        below = self.query_one("#left-behind", _HomelessPanel)
        below.show_rows(self._places.homeless, self.console.fleet.snapshot)
        self.show_status()

    def on_descendant_focus(self) -> None:
        self.show_keys()
