"""The first view: hosts, VMs and pools together, with a strip about what is selected.

On a small terminal one panel at a time, with tabs. The cursor or the marks in
the hosts panel narrow the other two: their titles say so, escape widens again.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from typing import ClassVar

from textual import events, on
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from virtfleet.model import FleetSnapshot
from virtfleet_tui.bridge import Changes
from virtfleet_tui.commands import Command
from virtfleet_tui.console import Console, Place
from virtfleet_tui.keys import ANYWHERE, GRID, OBJECT, OVERVIEW, VM, bindings
from virtfleet_tui.panels.hint import Hint, hint_for
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import BY_VIEW
from virtfleet_tui.panels.strip import Strip
from virtfleet_tui.panels.tabs import Tabs
from virtfleet_tui.screens.lists import ListScreen
from virtfleet_tui.widgets.grid import Grid

PANELS = ("hosts", "vms", "pools")
_LEAVE_WITHIN = 3.0


class Overview(ListScreen):
    contexts: ClassVar[tuple[str, ...]] = (OVERVIEW, GRID, OBJECT, VM, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(OVERVIEW)

    def __init__(self, console: Console) -> None:
        super().__init__(console, Place("overview"))
        self._current = "hosts"
        self._last_host: Hashable | None = None
        self._asked_to_leave = -_LEAVE_WITHIN

    def compose_body(self) -> Iterable[Widget]:
        yield Tabs([(view, BY_VIEW[view].title) for view in PANELS], id="tabs")
        hint = hint_for(self.console)
        if hint is not None:
            yield Hint(self.console, *hint, id="hint")
        with Vertical(id="panels"):
            with Horizontal(id="upper"):
                yield ListPanel(self.console, BY_VIEW["hosts"], id="panel-hosts")
                yield ListPanel(self.console, BY_VIEW["pools"], id="panel-pools")
            yield ListPanel(self.console, BY_VIEW["vms"], id="panel-vms")
            yield Strip(self.console, id="strip")

    def on_mount(self) -> None:
        self.go_to("hosts")

    # ---- panels

    def panel_of(self, view: str) -> ListPanel:
        return self.query_one(f"#panel-{view}", ListPanel)

    @property
    def panel(self) -> ListPanel:
        return self.panel_of(self._current)

    @property
    def title_text(self) -> str:
        return "overview"

    @property
    def kinds(self) -> tuple[str, ...]:
        others = [] if self.is_single else [view for view in PANELS if view != self._current]
        return (*(BY_VIEW[view].kind for view in (self._current, *others)), "plot")

    @property
    def is_single(self) -> bool:
        """Whether one panel alone is on the screen."""
        return self.has_class("-zoomed") or self.size.width < 100 or self.size.height < 30

    def go_to(self, view: str) -> None:
        """Give the keys to a panel."""
        self._current = view
        for each in PANELS:
            self.panel_of(each).set_class(each == view, "-front")
        self.query_one("#upper").set_class(view != "vms", "-front")
        self.query_one(Tabs).show(view)
        self.panel.grid.focus()
        self._show_subject()
        self.show_keys()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        view = event.widget.id
        if view in PANELS and view != self._current:
            self.go_to(view)

    @on(Tabs.Chosen)
    def _tab(self, event: Tabs.Chosen) -> None:
        self.go_to(event.name)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < 100 or event.size.height < 30, "-single")

    def action_next_panel(self) -> None:
        self.go_to(PANELS[(PANELS.index(self._current) + 1) % len(PANELS)])

    def action_previous_panel(self) -> None:
        self.go_to(PANELS[(PANELS.index(self._current) - 1) % len(PANELS)])

    def action_view(self, name: str) -> None:
        if name in PANELS:
            self.go_to(name)
        else:
            super().action_view(name)

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "zoom":
            return self.size.width >= 100 and self.size.height >= 30
        return super().check_action(action, parameters)

    @property
    def can_go_back(self) -> bool:
        panel = self.panel
        narrowed = panel.filter_text or panel.grid.faults_only or panel.grid.marked
        return bool(
            narrowed
            or self.panel_of("vms").scope is not None
            or self.has_class("-zoomed")
            or self.query(Hint)
        )

    def step_back(self) -> bool:
        if super().step_back():
            return True
        if self.panel_of("vms").scope is not None:
            self._widen()
        elif self.has_class("-zoomed"):
            self.remove_class("-zoomed")
        else:
            hints = self.query(Hint)
            if not hints:
                return False
            hints.first().put_away()
        return True

    # ---- the fleet

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        for view in PANELS:
            self.panel_of(view).show_fleet(snapshot, changes)
        self.query_one(Strip).show_fleet(snapshot, changes)

    # ---- hosts narrow the rest

    @on(Grid.Selected, "#hosts")
    def _host_selected(self, event: Grid.Selected) -> None:
        key = event.row.key if event.row is not None else None
        before, self._last_host = self._last_host, key
        grid = self.panel_of("hosts").grid
        # The cursor that was put on the first row, or that lost its object, is nobody's choice.
        chosen = before is not None and key is not None and key != before and grid.get(before) is not None
        if chosen and grid.has_focus and not grid.marked:
            self._narrow(frozenset({str(key)}))

    @on(Grid.Marked, "#hosts")
    def _hosts_marked(self) -> None:
        marked = frozenset(row.host.name for row in self.panel_of("hosts").grid.marked_rows)
        if marked:
            self._narrow(marked)
        else:
            self._widen()

    def _narrow(self, hosts: frozenset[str]) -> None:
        names = sorted(hosts)
        title = f"on {names[0]}" if len(names) == 1 else f"on {len(names)} marked hosts"
        for view in ("vms", "pools"):
            self.panel_of(view).narrow(hosts, title)

    def _widen(self) -> None:
        for view in ("vms", "pools"):
            self.panel_of(view).narrow(None)

    @on(Grid.Selected)
    def _any_selected(self, event: Grid.Selected) -> None:
        if event.grid.id == self._current:
            self._show_subject()

    def _show_subject(self) -> None:
        self.query_one(Strip).show_subject(self.panel.subject)

    def action_leave(self) -> None:
        """Leaving by accident costs the overview: the key has to be pressed twice."""
        if time.monotonic() - self._asked_to_leave < _LEAVE_WITHIN:
            self.app.exit()
        self._asked_to_leave = time.monotonic()
        count = len(self.console.fleet.jobs.active)
        if not count:
            self.say("q again leaves the console; the fleet goes on")
            return
        some = "a job is" if count == 1 else f"{count} jobs are"
        self.say(f"{some} under way: q again leaves, and the next start can resume or roll back", "warning")

    def carry_out(self, command: Command) -> None:
        if command.verb == "overview":
            self._widen()
            self.remove_class("-zoomed")
        else:
            super().carry_out(command)
