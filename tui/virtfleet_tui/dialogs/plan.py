"""The plan, before anything is done: steps, reasons, effects; what can't be done, and why.

The safe choice is first and has the focus. What loses data wants the name
typed (for several objects their number). Escape goes back and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Input, Static

from virtfleet.model.plan import Danger, Plan
from virtfleet.query import plans
from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.styles.themes import say
from virtfleet_tui.widgets.hanging import Hanging, Line

_IN_FULL = 3
"""So many plans are shown with all their lines; of more, the titles and what to mind."""
_MEANING = {"step": "", "reason": "muted", "warning": "warning", "effect": "muted"}
_MARKS = _MEANING | {"step": "muted"}


def title_line(plan: Plan) -> Line:
    """What it does, with the sign of it."""
    return Line(say((f"{plans.sign(plan)} ", "bold")), say((plan.title, "bold")))


def plan_lines(plan: Plan) -> list[tuple[str, Line]]:
    """Its steps, what to mind, why, and what it changes; each with its kind."""
    return [
        (
            line.kind,
            Line(say((f"{line.mark:>3}  ", _MARKS[line.kind])), say((line.text, _MEANING[line.kind]))),
        )
        for line in plans.lines(plan)
    ]


class PlanDialog(Dialog[bool]):
    """True: do it. `refused`: what was asked for too and can't be done, each with the reason."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "app.focus_previous", "previous", show=False),
        Binding("right,l", "app.focus_next", "next", show=False),
        Binding("up,k", "scroll(-1)", "up", show=False),
        Binding("down,j", "scroll(1)", "down", show=False),
        Binding("pageup", "scroll(-10)", "page up", show=False),
        Binding("pagedown", "scroll(10)", "page down", show=False),
        Binding("w", "explain", "which host", show=False),
    ]

    def __init__(
        self,
        found: Sequence[Plan],
        refused: Sequence[tuple[str, str]] = (),
        explain: Callable[[], None] | None = None,
    ) -> None:
        """`explain`: shows which hosts could have the new VM, and why not the others."""
        super().__init__()
        self._explain = explain
        self._plans = [plan for plan in found if plan.steps]
        self._idle = [plan for plan in found if not plan.steps]
        self._refused = refused
        lost = [plan for plan in self._plans if plan.danger is Danger.IRREVERSIBLE]
        self._typed = "" if not lost else lost[0].name if len(lost) == 1 else str(len(lost))
        self._several = len(lost) > 1

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog plan") as box:
            box.border_title = say(self._head())
            box.border_subtitle = say(
                "esc does nothing" if self._explain is None else "w which host and why, esc does nothing"
            )
            with VerticalScroll(id="plan-lines", can_focus=False):
                yield Hanging(self._lines(), id="plan-text")
            if self._typed:
                what = "how many objects this is about" if self._several else "the name"
                yield Static(
                    say(("Data will be lost for good. ", "bad"), f"Type {what} to go on: {self._typed}"),
                    markup=False,
                )
                yield Input(id="plan-name", compact=True)
            with Horizontal(classes="buttons"):
                if self._plans:
                    yield Button("Leave it", id="leave", compact=True)
                    yield Button(self._deed(), id="do", compact=True, disabled=bool(self._typed))
                else:
                    yield Button("Close", id="leave", compact=True)

    def on_mount(self) -> None:
        self.query_one("#plan-name" if self._typed else "#leave").focus()

    def _head(self) -> str:
        if len(self._plans) == 1 and not self._refused and not self._idle:
            return self._plans[0].title
        if not self._plans:
            return "This can't be done" if self._refused else "Nothing to do"
        words = ["1 plan" if len(self._plans) == 1 else f"{len(self._plans)} plans"]
        words += [f"{len(self._refused)} can't be done"] if self._refused else []
        words += [f"{len(self._idle)} with nothing to do"] if self._idle else []
        return ", ".join(words)

    def _deed(self) -> str:
        return "Do it" if len(self._plans) == 1 else f"Do these {len(self._plans)}"

    def _lines(self) -> list[Line]:
        alone = len(self._plans) == 1 and not self._refused and not self._idle
        # What can't be done is first: below a hundred plans nobody would see it.
        lines = [Line(say(("✖ ", "bad")), say((name, "bold"), f"  {why}")) for name, why in self._refused]
        for plan in self._plans:
            if not alone:
                lines.append(title_line(plan))
            full = len(self._plans) <= _IN_FULL
            lines += [line for kind, line in plan_lines(plan) if full or kind == "warning"]
        for plan in self._idle:
            why = "; ".join(reason.text for reason in plan.reasons)
            lines.append(
                Line(say(("= ", "muted")), say((f"{plan.title}{'  ' if why else ''}{why}", "muted")))
            )
        return lines

    def action_explain(self) -> None:
        if self._explain is not None:
            self._explain()

    def action_scroll(self, lines: int) -> None:
        self.query_one("#plan-lines", VerticalScroll).scroll_relative(y=lines, animate=False)

    @on(Input.Changed, "#plan-name")
    def _name_typed(self, event: Input.Changed) -> None:
        self.query_one("#do", Button).disabled = event.value.strip() != self._typed

    @on(Input.Submitted, "#plan-name")
    def _name_entered(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._typed:
            self.dismiss(True)
        else:
            self.query_one(".dialog").border_subtitle = say(f"that is not {self._typed}; esc does nothing")

    @on(Button.Pressed, "#leave")
    def _left(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#do")
    def _agreed(self) -> None:
        if not self._typed or self.query_one("#plan-name", Input).value.strip() == self._typed:
            self.dismiss(True)
