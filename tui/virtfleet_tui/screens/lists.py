"""Views with lists in them: filter, faults, order and columns of the list in focus; and one list alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from virtfleet.errors import QueryError
from virtfleet.model import FleetSnapshot
from virtfleet.query.rows import VmRow
from virtfleet_tui.bridge import Changes
from virtfleet_tui.commands import Command
from virtfleet_tui.console import Place, Subject
from virtfleet_tui.dialogs.choose import ChooseDialog
from virtfleet_tui.dialogs.columns import Columns, ColumnsDialog
from virtfleet_tui.keys import ANYWHERE, GRID, OBJECT, VM, bindings
from virtfleet_tui.panels.happened import ALERTS, EVENTS
from virtfleet_tui.panels.jobs import JOBS
from virtfleet_tui.panels.list_panel import ListPanel
from virtfleet_tui.panels.nouns import BY_VIEW, find
from virtfleet_tui.panels.projects import GROUP_LIST, PROJECT_LIST
from virtfleet_tui.panels.room import capacity_list
from virtfleet_tui.screens.acting import ActingScreen
from virtfleet_tui.widgets.grid import Grid


class ListScreen(ActingScreen):
    contexts: ClassVar[tuple[str, ...]] = (GRID, OBJECT, VM, ANYWHERE)
    BINDINGS: ClassVar[list[BindingType]] = bindings(GRID, OBJECT, VM)

    @property
    def panel(self) -> ListPanel | None:
        """The list that keys belong to; None: there is none in this view."""
        return None

    @property
    def subject(self) -> Subject | None:
        panel = self.panel
        return panel.subject if panel is not None else super().subject

    def acting_on(self) -> Sequence[VmRow]:
        panel = self.panel
        if panel is not None and panel.noun.kind == "vm":
            return panel.grid.targets()
        subject = self.subject
        row = (
            find(self.console.fleet.snapshot, subject)
            if subject is not None and subject.kind == "vm"
            else None
        )
        return [row] if isinstance(row, VmRow) else []

    def home_focus(self) -> None:
        if self.panel is not None:
            self.panel.grid.focus()

    def words(self) -> dict[str, Any]:
        panel = self.panel
        fields = [field.name for field in panel.noun.fields] if panel is not None else []
        found = super().words() | {
            "fields": lambda: [*fields, *(f"-{name}" for name in fields)],
            "filter": lambda: [field.name for field in panel.noun.noun.fields] if panel is not None else [],
        }
        rooms = capacity_list(self.console.fleet.settings.flavors)
        more = (EVENTS, ALERTS, JOBS, PROJECT_LIST, GROUP_LIST, rooms)
        for view, noun in {**BY_VIEW, **{each.view: each for each in more}}.items():
            found[view] = lambda noun=noun: [field.name for field in noun.noun.fields]
        return found

    # ---- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        panel = self.panel
        if action in ("filter", "faults", "faults_first", "sort", "reverse", "columns"):
            return panel is not None
        if action in ("open", "mark", "mark_all"):
            return panel is not None and panel.grid.selected is not None
        return super().check_action(action, parameters)

    def action_filter(self) -> None:
        if self.panel is not None:
            hint = f"{self.panel.noun.hint}   enter keeps, esc undoes"
            self.input_bar.ask("filter", "/", hint, self.panel.filter_text, self._complete_filter)

    def _complete_filter(self, text: str) -> list[str]:
        head, _, last = text.rpartition(" ")
        if self.panel is None or not last or not last.isidentifier():
            return []
        kept = f"{head} " if head else ""
        return [
            kept + field.name for field in self.panel.noun.noun.fields if field.name.startswith(last.lower())
        ]

    def action_faults(self) -> None:
        if self.panel is not None:
            self.panel.toggle_faults()

    def action_faults_first(self) -> None:
        if self.panel is not None:
            self.panel.toggle_faults_first()

    def action_reverse(self) -> None:
        if self.panel is not None:
            self.panel.grid.reverse()

    def action_sort(self) -> None:
        panel = self.panel
        if panel is None:
            return
        current = panel.grid.sort[0] if panel.grid.sort else ""
        options = [(field.name, field.title.lower(), field.doc) for field in panel.noun.fields]

        def chosen(name: str | None) -> None:
            if name is not None:
                self.sort_by(panel, name)

        self.app.push_screen(
            ChooseDialog(f"Sort {panel.noun.title} by", options, current.lstrip("-")), chosen
        )

    def sort_by(self, panel: ListPanel, name: str) -> None:
        """Figures come with the largest first, words from the start. QueryError: no such field."""
        fields = {field.name: field for field in panel.noun.fields}
        bare = panel.noun.named(name.lstrip("-"))
        if bare is None:
            raise QueryError(f"no field {name!r} in {panel.noun.title}", column=5)
        descending = name.startswith("-") or fields[bare].unit.numeric
        panel.grid.sort_by(f"-{bare}" if descending else bare)

    def action_columns(self) -> None:
        panel = self.panel
        if panel is None:
            return
        taste = self.console.taste.of(panel.noun.kind)
        before = Columns(tuple(taste.columns or ()), dict(taste.widths))

        def preview(columns: Columns | None) -> None:
            _show_columns(panel, columns)

        def chosen(columns: Columns | None) -> None:
            if columns is None:
                _show_columns(panel, before)
                return
            taste.columns = list(columns.names) or None
            taste.widths = dict(columns.widths)
            _show_columns(panel, columns)
            self.console.keep()

        dialog = ColumnsDialog(panel.noun.title, panel.noun.fields, panel.grid.columns, taste.widths, preview)
        self.app.push_screen(dialog, chosen)

    # ---- what was typed

    def typed(self, purpose: str, text: str) -> None:
        if purpose == "filter" and self.panel is not None:
            error = self.panel.set_filter(text, lenient=True)
            if error is not None:
                self.input_bar.complain(error)
        super().typed(purpose, text)

    def entered(self, purpose: str, text: str) -> QueryError | None:
        if purpose == "filter" and self.panel is not None:
            return self.panel.set_filter(text)
        return super().entered(purpose, text)

    def cancelled(self, purpose: str, before: str) -> None:
        if purpose == "filter" and self.panel is not None:
            self.panel.set_filter(before)

    def carry_out(self, command: Command) -> None:
        panel = self.panel
        if panel is None or command.verb not in ("sort", "columns", "filter", "faults"):
            super().carry_out(command)
        elif command.verb == "faults":
            self._faults_by_name(panel, command.argument)
        elif command.verb == "sort":
            self.sort_by(panel, command.argument)
        elif command.verb == "filter":
            error = panel.set_filter(command.argument)
            if error is not None:
                raise error
        elif not command.argument:
            self.call_later(self.action_columns)
        else:
            self._columns_by_name(panel, command.argument.replace(",", " ").split())

    @staticmethod
    def _faults_by_name(panel: ListPanel, how: str) -> None:
        match how.lower():
            case "":
                panel.toggle_faults()
            case "first":
                panel.toggle_faults_first()
            case _:
                raise QueryError(f"faults alone, or faults first; not {how!r}", column=7)

    def _columns_by_name(self, panel: ListPanel, names: list[str]) -> None:
        found = [panel.noun.named(name) for name in names]
        if None in found:
            raise QueryError(f"no field {names[found.index(None)]!r} in {panel.noun.title}", column=8)
        names = [name for name in found if name is not None]
        taste = self.console.taste.of(panel.noun.kind)
        taste.columns = names
        _show_columns(panel, Columns(tuple(names), taste.widths))
        self.console.keep()

    def step_back(self) -> bool:
        """Take back the last narrowing of the list. False: there is none, so leave the view."""
        panel = self.panel
        if panel is None:
            return False
        if panel.filter_text:
            panel.set_filter("")
        elif panel.grid.faults_only:
            panel.toggle_faults()
        elif panel.grid.marked:
            panel.grid.clear_marks()
        else:
            return False
        return True

    def action_back(self) -> None:
        if not self.step_back():
            super().action_back()

    # ---- what the lists say

    @on(Grid.Selected)
    def _selected(self) -> None:
        self.show_keys()

    @on(Grid.Opened)
    def _opened(self, event: Grid.Opened) -> None:
        event.stop()
        self.open_row(event.row)

    def open_row(self, row: Any) -> None:
        """Go to what a row is about."""
        subject = self.panel.subject_of(row) if self.panel is not None else None
        if subject is not None:
            self.console.go(Place("detail", subject))


def _show_columns(panel: ListPanel, columns: Columns | None) -> None:
    names = columns.names if columns is not None else ()
    panel.grid.choose_columns(names or None)
    widths = columns.widths if columns is not None else {}
    for field in panel.noun.fields:
        panel.grid.size_column(field.name, widths.get(field.name))


class OneList(ListScreen):
    """All objects of one kind, on the whole screen."""

    def compose_body(self) -> Iterable[Widget]:
        yield self.make_panel()

    def make_panel(self) -> ListPanel:
        return ListPanel(self.console, BY_VIEW[self.place.view], filter_text=self.place.filter, id="only")

    def on_mount(self) -> None:
        panel = self.panel
        panel.grid.focus()
        if panel.filter_error is not None:
            self.say(f"filter: {panel.filter_error.message}", "bad")

    @property
    def panel(self) -> ListPanel:
        return self.query_one("#only", ListPanel)

    @property
    def title_text(self) -> str:
        return self.panel.noun.title

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.panel.noun.kind,)

    def show_fleet(self, snapshot: FleetSnapshot, changes: Changes | None) -> None:
        self.panel.show_fleet(snapshot, changes)
