"""A short form: a few values that a verb needs, each with its explanation, checked as they are typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Static

from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.styles.themes import say
from virtfleet_tui.widgets.tick import Tick

Values = dict[str, str]
"""What was typed, by name; a tick is "yes" or empty."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a form."""

    name: str
    title: str
    doc: str = ""
    value: str = ""
    tick: bool = False
    """Yes or no instead of text."""
    choices: Sequence[str] = ()
    """Suggested while typing; → takes the suggestion."""
    check: Callable[[str], str] = lambda text: ""
    """What is wrong with a value; empty: nothing."""


class FormDialog(Dialog[Values]):
    """Answers with the values when they are all right. `check` judges them together."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
    ]

    def __init__(
        self,
        title: str,
        entries: Sequence[Entry],
        *,
        done: str = "Go on",
        check: Callable[[Mapping[str, str]], str] = lambda values: "",
    ) -> None:
        super().__init__()
        self._title = title
        self._entries = entries
        self._done = done
        self._check = check

    def compose(self) -> ComposeResult:
        width = max(len(entry.title) for entry in self._entries)
        with Vertical(classes="dialog form") as box:
            box.border_title = say(self._title)
            box.border_subtitle = say("enter goes on, esc leaves")
            with VerticalScroll(id="form-lines", can_focus=False):
                for entry in self._entries:
                    with Horizontal(classes="form-line"):
                        yield Static(
                            say(f"{entry.title:<{width}}  "), markup=False, classes="form-title", shrink=True
                        )
                        if entry.tick:
                            yield Tick(
                                say(entry.doc), value=bool(entry.value), id=f"form-{entry.name}", compact=True
                            )
                        else:
                            yield Input(
                                entry.value,
                                placeholder=entry.doc,
                                id=f"form-{entry.name}",
                                compact=True,
                                suggester=SuggestFromList(entry.choices, case_sensitive=False)
                                if entry.choices
                                else None,
                            )
            yield Static("", markup=False, id="form-wrong")
            with Horizontal(classes="buttons"):
                yield Button(self._done, id="form-done", compact=True)
                yield Button("Leave it", id="form-leave", compact=True)

    def on_mount(self) -> None:
        width = max(len(entry.title) for entry in self._entries) + 2
        for title in self.query(".form-title"):
            title.styles.width = width
        self.query_one(f"#form-{self._entries[0].name}").focus()

    @property
    def values(self) -> Values:
        found: Values = {}
        for entry in self._entries:
            if entry.tick:
                found[entry.name] = "yes" if self.query_one(f"#form-{entry.name}", Tick).value else ""
            else:
                found[entry.name] = self.query_one(f"#form-{entry.name}", Input).value.strip()
        return found

    def wrong(self) -> str:
        """What is wrong with the values; empty: nothing."""
        values = self.values
        for entry in self._entries:
            if not entry.tick and (problem := entry.check(values[entry.name])):
                return f"{entry.title}: {problem}"
        return self._check(values)

    def _show_wrong(self, text: str) -> None:
        self.query_one("#form-wrong", Static).update(say((text, "warning")))

    @on(Input.Changed)
    def _typed(self) -> None:
        values = self.values
        problems = [
            f"{entry.title}: {problem}"
            for entry in self._entries
            if not entry.tick and values[entry.name] and (problem := entry.check(values[entry.name]))
        ]
        self._show_wrong(problems[0] if problems else "")

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        """Enter in the last line is done; before that it goes to the next."""
        last = [entry for entry in self._entries if not entry.tick][-1]
        if event.input.id == f"form-{last.name}":
            self._finish()
        else:
            self.focus_next()

    @on(Button.Pressed, "#form-done")
    def _finish(self) -> None:
        problem = self.wrong()
        if problem:
            self._show_wrong(problem)
        else:
            self.dismiss(self.values)

    @on(Button.Pressed, "#form-leave")
    def _leave(self) -> None:
        self.dismiss(None)
