"""A live list of one kind of object, in its frame: what feeds a grid from snapshots and deltas.

A kind whose rows belong to one host each (hosts, VMs, networks) is fed host by
host. A kind whose rows are made from all hosts (shared pools, their volumes)
is rebuilt as a whole, at a pace at which this costs at most a twentieth of
the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any

from textual import on
from textual.timer import Timer

from virtfleet.errors import QueryError
from virtfleet.model import FleetSnapshot, HostView
from virtfleet.query.filter import compile_filter
from virtfleet_tui.bridge import Changes
from virtfleet_tui.console import Console, Subject
from virtfleet_tui.panels.cells import note_of
from virtfleet_tui.panels.frame import Frame
from virtfleet_tui.panels.noted import NotedGrid
from virtfleet_tui.panels.nouns import Listed
from virtfleet_tui.widgets.grid import Grid

_SLOWEST_SHARE = 20.0
_REBUILD_EVERY = 1.0
_MANY = 2000
"""Rows that take so long to filter that what is being typed is shown first."""
_TYPING = 0.06
"""Seconds after a letter; with the next one the filter would be another."""


class ListPanel(Frame):
    def __init__(
        self,
        console: Console,
        noun: Listed,
        *,
        filter_text: str = "",
        without: Collection[str] = (),
        id: str | None = None,
        classes: str = "",
    ) -> None:
        self.console = console
        self.noun = noun
        """`without`: columns that would say the same in each line here."""
        taste = console.taste.of(noun.kind)
        known = {each.name for each in noun.fields} - set(without)
        sort = [each for each in taste.sort if each.lstrip("-") in known]
        columns = [each for each in taste.columns or () if each in known and each not in without]
        fields = [field for field in noun.fields if field.name not in without]
        self.grid = NotedGrid(
            fields,
            key=noun.noun.key_of,
            default_sort=sort or [each for each in noun.default_sort if each.lstrip("-") in known],
            columns=columns or None,
            renderers=noun.renderers(console.fleet),
            stale=noun.stale_in(console.fleet) if noun.ages else None,
            style_of=noun.style_of,
            is_fault=noun.is_fault,
            lasting=noun.lasting,
            unlit=noun.unlit,
            empty=self._empty,
            id=noun.view,
        )
        if (note := note_of(noun.kind)) is not None:
            self.grid.note_with(*note)
        super().__init__(noun.title, self.grid, id=id, classes=f"list {classes}".strip())
        self.scope: frozenset[str] | None = None
        """Names of the hosts to which the list is narrowed; None: the whole fleet."""
        self._scope_title = ""
        self._snapshot: FleetSnapshot | None = None
        self._keys: dict[str, set[Hashable]] = {}
        self._belongs: Callable[[Any], bool] | None = None
        self._rebuild: Timer | None = None
        self._pause = _REBUILD_EVERY
        self._due = 0.0
        self.filter_text = ""
        self.filter_error: QueryError | None = None
        self._first_filter = filter_text
        self._wanted: Callable[[Any], bool] | None = None
        self._typing: Timer | None = None
        self._visited = False

    def on_mount(self) -> None:
        self.grid.faults_first = self.console.taste.of(self.noun.kind).faults_first
        for name, width in self.console.taste.of(self.noun.kind).widths.items():
            if name in {each.name for each in self.noun.fields}:
                self.grid.size_column(name, width)
        if self._first_filter:
            self.set_filter(self._first_filter)
        self._retitle()

    # ---- what it shows

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        """The fleet is now `snapshot`; `changes` since the last call, None: everything may differ."""
        self._snapshot = snapshot
        if changes is None:
            self._reload()
        elif self.noun.of_host is None:
            if self._rebuild is None and changes.touched(*self.noun.groups, hosts=self.scope):
                self._due = time.monotonic() + self._pause
                self._rebuild = self.set_timer(self._pause, self._reload_soon)
        else:
            self._feed(snapshot, changes, self.noun.of_host)

    def _feed(
        self, snapshot: FleetSnapshot, changes: Changes, of_host: Callable[[HostView], Iterable[Any]]
    ) -> None:
        changed: list[Any] = []
        gone: set[Hashable] = set()
        for name, groups in changes.hosts.items():
            if groups.isdisjoint(self.noun.groups) or (self.scope is not None and name not in self.scope):
                continue
            host = snapshot.hosts.get(name)
            rows = list(of_host(host)) if host is not None else []
            changed += rows
            if self.noun.members in groups or name not in self._keys or host is None:
                keys = {row.key for row in rows}
                gone |= self._keys.get(name, set()) - keys
                self._keys[name] = keys
        if gone:
            self.grid.remove_rows(gone)
        if changed:
            self.grid.update_rows(changed)

    def _reload_soon(self) -> None:
        wait = self.console.hands.wait(self._due)
        if wait:
            self._rebuild = self.set_timer(wait, self._reload_soon)
        else:
            self._reload()

    def _reload(self) -> None:
        self._rebuild = None
        if self._snapshot is None:
            return
        began = time.monotonic()
        rows = list(self._scoped(self._snapshot))
        if self._belongs is not None:
            rows = [row for row in rows if self._belongs(row)]
        if self.noun.of_host is not None:
            self._keys = {}
            for row in rows:
                self._keys.setdefault(self.noun.subject(row).host, set()).add(row.key)
        self.grid.set_rows(rows)
        self._pause = max(_REBUILD_EVERY, (time.monotonic() - began) * _SLOWEST_SHARE)

    def _scoped(self, snapshot: FleetSnapshot) -> Iterable[Any]:
        if self.scope is None:
            return self.noun.rows(snapshot)
        if self.noun.of_host is not None:
            hosts = [snapshot.hosts[name] for name in snapshot.hosts if name in self.scope]
            return [row for host in hosts for row in self.noun.of_host(host)]
        scope = self.scope
        return [row for row in self.noun.rows(snapshot) if not scope.isdisjoint(self.noun.hosts_of(row))]

    def narrow(self, hosts: frozenset[str] | None, title: str = "") -> None:
        """Show only what is on these hosts; None: everything."""
        if hosts == self.scope:
            return
        self.scope, self._scope_title = hosts, title
        self._reload()
        self._retitle()

    def only(self, belongs: Callable[[Any], bool]) -> None:
        """Show only rows for which this is true, before any filter: a list that is part of something."""
        self._belongs = belongs
        self._reload()

    # ---- filter

    def set_filter(self, text: str, *, lenient: bool = False) -> QueryError | None:
        """Show only what matches. A mistake is given back, and the last good filter stays.

        `lenient`: while it is typed; what is not complete yet is left out, and given back as a mistake.
        """
        text = text.strip()
        try:
            expression = compile_filter(text, self.noun.noun, lenient=lenient) if text else None
        except QueryError as error:
            self.filter_error = error
            return error
        self.filter_error = expression.error if expression is not None else None
        self.filter_text = text
        self._wanted = expression.matches if expression is not None and not expression.empty else None
        if self._typing is not None:
            self._typing.stop()
        if lenient and self.grid.total > _MANY:
            self._typing = self.set_timer(_TYPING, self._filter)
        else:
            self._filter()
        return self.filter_error

    def _filter(self) -> None:
        self._typing = None
        self.grid.filter = self._wanted
        self._retitle()

    def toggle_faults(self) -> None:
        self.grid.faults_only = not self.grid.faults_only
        self._retitle()

    def toggle_faults_first(self) -> None:
        """Off until it is asked for: rows that change places by themselves are hard to hit and to read."""
        self.grid.faults_first = not self.grid.faults_first
        self.console.taste.of(self.noun.kind).faults_first = self.grid.faults_first
        self.console.keep()
        self._retitle()

    def _empty(self) -> str:
        if self._snapshot is not None and not self._snapshot.hosts:
            where = getattr(self.console.fleet.settings, "path", "") or "~/.config/virtfleet/fleet.yaml"
            return (
                f"No hosts in the fleet yet.\n\nAdd one to {where}:\n\n"
                "hosts:\n  hv1: {uri: qemu+ssh://root@hv1.example/system}\n\n"
                "or start with: virtfleet --connect qemu+ssh://root@hv1.example/system"
            )
        if self.filter_text:
            return f"Nothing matches the filter\n{self.filter_text}\n\nesc shows everything, / changes it"
        if self.grid.faults_only:
            title = self.noun.title
            # Words start small within a sentence, abbreviations stay: hosts, VMs.
            return (
                f"No {title if title[1].isupper() else title.lower()} in trouble\n\nf shows everything again"
            )
        where = f" {self._scope_title}" if self._scope_title else ""
        return f"{self.noun.empty}{where}{self._silence()}"

    def _silence(self) -> str:
        """Which hosts have not told yet: no rows from them does not mean that there is nothing."""
        hosts = self._snapshot.hosts.values() if self._snapshot is not None else ()
        asked = [host for host in hosts if self.scope is None or host.name in self.scope]
        silent = [host for host in asked if not self.noun.told(host)]
        if not silent:
            return ""
        if len(silent) == 1:
            why = f": {silent[0].reason}" if silent[0].reason else ""
            return f" so far\n\n{silent[0].name} has not told yet, it is {silent[0].state.value}{why}"
        some = ", ".join(f"{host.name} {host.state.value}" for host in silent[:3])
        more = f" and {len(silent) - 3} more" if len(silent) > 3 else ""
        return f" so far\n\n{len(silent)} of {len(asked)} hosts have not told yet: {some}{more}"

    # ---- title

    @on(Grid.Counted)
    def _counted(self) -> None:
        if not self._visited and self.grid.body_height:
            # Rows arrive host by host: until somebody has been here, the cursor waits on the first.
            self.grid.action_cursor_home()
        self._retitle()

    def on_descendant_focus(self) -> None:
        self._visited = True

    @on(Grid.Marked)
    def _marked(self) -> None:
        self._retitle()

    @on(Grid.ColumnSized)
    def _column_sized(self, event: Grid.ColumnSized) -> None:
        self.console.taste.of(self.noun.kind).widths[event.name] = event.width
        self.console.keep()

    @on(Grid.SortChanged)
    def _sorted(self) -> None:
        self.console.taste.of(self.noun.kind).sort = list(self.grid.sort)
        self.console.keep()
        self._retitle()

    def _retitle(self) -> None:
        grid = self.grid
        left = [(self.noun.title, "bold")]
        if self._scope_title:
            left.append((f" {self._scope_title}", "accent"))
        left += self.remarks()
        right: list[tuple[str, str]] = []
        if grid.shown == grid.total:
            right.append((f"{grid.total:,}", ""))
        else:
            right.append((f"{grid.shown:,} of {grid.total:,}", ""))
        if grid.marked:
            right.append((f", {grid.marked:,} marked", "accent"))
        if grid.faults_only:
            right.append((", faults only", "warning"))
        elif grid.faults_first:
            right.append((", faults first", "accent"))
        if self.filter_text:
            right.append((f", filter {self.filter_text}", "accent"))
        if grid.sort:
            first = grid.sort[0]
            title = next((each.title for each in self.noun.fields if each.name == first.lstrip("-")), first)
            right.append((f", by {title.lower()} {'▾' if first.startswith('-') else '▴'}", "muted"))
        self.set_title(*left, right=tuple(right))

    def remarks(self) -> list[tuple[str, str]]:
        """What stands beside the title, with its meaning."""
        return []

    # ---- what is chosen

    @property
    def subject(self) -> Subject | None:
        row = self.grid.selected
        return None if row is None else self.subject_of(row)

    def subject_of(self, row: Any) -> Subject | None:
        """The object that a row is, or is about; None: nobody knows."""
        return self.noun.subject(row)
