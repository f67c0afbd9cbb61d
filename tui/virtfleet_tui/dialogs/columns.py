"""`C`: which columns a list shows, in what order, how wide. The list behind it follows every change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from virtfleet.query.field import Field
from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.styles.themes import say

_NARROWEST, _WIDEST = 3, 120


class Columns(NamedTuple):
    names: tuple[str, ...]
    widths: dict[str, int]


class ColumnsDialog(Dialog[Columns]):
    """`preview` is called with each change. Escape gives back what was there before."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "show_or_hide", "show", show=False),
        Binding("j", "move_cursor(1)", "down", show=False),
        Binding("k", "move_cursor(-1)", "up", show=False),
        Binding("J,shift+down", "shift(1)", "later", show=False),
        Binding("K,shift+up", "shift(-1)", "earlier", show=False),
        Binding("plus,right,l", "widen(1)", "wider", show=False),
        Binding("minus,left,h", "widen(-1)", "narrower", show=False),
        Binding("0", "reset", "reset", show=False),
    ]

    def __init__(
        self,
        title: str,
        fields: Sequence[Field[Any]],
        shown: Sequence[str],
        widths: dict[str, int],
        preview: Callable[[Columns | None], None],
    ) -> None:
        super().__init__()
        self._title = title
        self._fields = {field.name: field for field in fields}
        self._shown = list(shown)
        self._widths = dict(widths)
        self._preview = preview
        self._order = [*self._shown, *(name for name in self._fields if name not in self._shown)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog columns") as box:
            box.border_title = say(f"Columns of {self._title}")
            box.border_subtitle = say("enter keeps, esc leaves as it was")
            yield OptionList(markup=False, compact=True)
            yield Static(
                say(
                    ("space", "accent"),
                    (" show/hide  ", "muted"),
                    ("J K", "accent"),
                    (" move  ", "muted"),
                    ("+ -", "accent"),
                    (" width  ", "muted"),
                    ("0", "accent"),
                    (" as it fits", "muted"),
                ),
                markup=False,
            )

    def on_mount(self) -> None:
        self._fill(0)
        self.query_one(OptionList).focus()

    @property
    def result(self) -> Columns:
        return Columns(tuple(name for name in self._order if name in self._shown), dict(self._widths))

    def _fill(self, at: int) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(self._line(name), id=name) for name in self._order)
        options.highlighted = at

    def _line(self, name: str) -> Any:
        field = self._fields[name]
        sign = ("✓ ", "good") if name in self._shown else ("  ", "")
        width = self._widths.get(name, field.width)
        own = "accent" if name in self._widths else "muted"
        return say(sign, f"{field.title:<12}", (f"{width:>4}  ", own), (field.doc, "muted"))

    @property
    def _at(self) -> int:
        return self.query_one(OptionList).highlighted or 0

    def _changed(self, at: int) -> None:
        self._fill(at)
        self._preview(self.result)

    def action_move_cursor(self, step: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if step > 0 else options.action_cursor_up()

    def action_show_or_hide(self) -> None:
        name = self._order[self._at]
        if name not in self._shown:
            self._shown.append(name)
        elif len(self._shown) > 1:
            self._shown.remove(name)
        self._changed(self._at)

    def action_shift(self, step: int) -> None:
        at, to = self._at, self._at + step
        if 0 <= to < len(self._order):
            self._order[at], self._order[to] = self._order[to], self._order[at]
            self._changed(to)

    def action_widen(self, step: int) -> None:
        name = self._order[self._at]
        width = self._widths.get(name, self._fields[name].width) + step
        self._widths[name] = min(max(width, _NARROWEST), _WIDEST)
        self._changed(self._at)

    def action_reset(self) -> None:
        """As many as fit, in their own order and width."""
        self._preview(None)
        self.dismiss(Columns((), {}))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.result)
