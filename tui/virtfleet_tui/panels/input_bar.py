"""Where filters, commands and searches are typed: over the last two lines, so that nothing moves.

The line under the input says what can be typed, what may complete it, or what
is wrong and at which column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static

from virtfleet.errors import QueryError
from virtfleet_tui.styles.themes import say

_KEPT = 50


class Line(Input):
    """An input that leaves tab, up and down to the bar."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "complete", show=False),
        Binding("up", "recall(-1)", "older", show=False),
        Binding("down", "recall(1)", "newer", show=False),
        Binding("escape", "cancel", "cancel", show=False),
    ]

    class Complete(Message):
        pass

    class Recall(Message):
        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class Cancel(Message):
        pass

    def action_complete(self) -> None:
        self.post_message(self.Complete())

    def action_recall(self, step: int) -> None:
        self.post_message(self.Recall(step))

    def action_cancel(self) -> None:
        self.post_message(self.Cancel())


class InputBar(Vertical):
    """`ask` opens it for one purpose; it says what was typed, and hides again."""

    class Typed(Message):
        """The text changed. Answer with `complain` if it is wrong."""

        def __init__(self, purpose: str, text: str) -> None:
            super().__init__()
            self.purpose = purpose
            self.text = text

    class Entered(Message):
        def __init__(self, purpose: str, text: str) -> None:
            super().__init__()
            self.purpose = purpose
            self.text = text

    class Cancelled(Message):
        def __init__(self, purpose: str, before: str) -> None:
            super().__init__()
            self.purpose = purpose
            self.before = before

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.purpose = ""
        self._before = ""
        self._hint = ""
        self._complete: Callable[[str], Sequence[str]] | None = None
        self._offers: list[str] = []
        self._recalled: dict[str, list[str]] = {}
        self._at = 0
        self.error: QueryError | None = None

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("", id="input-sign", markup=False)
            yield Line(compact=True, id="input-line", select_on_focus=False)
        yield Static("", id="input-hint", markup=False)

    def on_mount(self) -> None:
        self.display = False

    @property
    def line(self) -> Line:
        return self.query_one(Line)

    @property
    def is_open(self) -> bool:
        return bool(self.purpose)

    def ask(
        self,
        purpose: str,
        sign: str,
        hint: str,
        text: str = "",
        complete: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """Open for `purpose` with `text` to be changed."""
        self.purpose, self._before, self._hint, self._complete = purpose, text, hint, complete
        self._at = len(self._recalled.get(purpose, []))
        self._offers = []
        self.error = None
        self.query_one("#input-sign", Static).update(say((sign, "accent")), layout=False)
        with self.line.prevent(Input.Changed):
            self.line.value = text
        self.line.cursor_position = len(text)
        self.display = True
        self.screen.add_class("-asking")
        self.line.focus()
        self._show_hint()

    def close(self) -> None:
        self.purpose = ""
        self.display = False
        self.screen.remove_class("-asking")

    def complain(self, error: QueryError | None) -> None:
        """Say under the column of the mistake what is wrong; None: it is right."""
        self.error = error
        self._show_hint()

    def _show_hint(self) -> None:
        hint = self.query_one("#input-hint", Static)
        if self.error is not None:
            # The input scrolls when its text is longer than the line: the caret goes with it.
            column = min(self.error.column, len(self.line.value)) - self.line.scroll_offset.x
            width = max(20, self.size.width)
            message = self.error.message
            if column + len(message) + 5 <= width:
                pieces: list[tuple[str, str]] = [(" " * (column + 2), ""), ("^ ", "bad"), (message, "bad")]
            else:
                start = max(0, column + 1 - len(message))
                pieces = [(" " * start, ""), (message[: column + 1], "bad"), (" ^", "bad")]
                if len(message) > column + 1:
                    pieces = [(message, "bad")]
            hint.update(say(*pieces), layout=False)
        elif self._offers:
            hint.update(say(("  ", ""), *_offered(self._offers, self.line.value)), layout=False)
        else:
            hint.update(say(("  " + self._hint, "muted")), layout=False)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if not self.is_open:
            return
        self._offers = list(self._complete(event.value)) if self._complete and event.value else []
        self.error = None
        self._show_hint()
        self.post_message(self.Typed(self.purpose, event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not self.is_open:
            return
        kept = self._recalled.setdefault(self.purpose, [])
        if event.value.strip() and (not kept or kept[-1] != event.value):
            kept.append(event.value)
            del kept[:-_KEPT]
        self.post_message(self.Entered(self.purpose, event.value))

    @on(Line.Cancel)
    def _cancelled(self, event: Line.Cancel) -> None:
        event.stop()
        purpose, before = self.purpose, self._before
        self.close()
        self.post_message(self.Cancelled(purpose, before))

    @on(Line.Complete)
    def _completed(self, event: Line.Complete) -> None:
        event.stop()
        if self._complete is None:
            return
        offers = list(self._complete(self.line.value))
        if not offers:
            return
        common = _common(offers)
        text = common if len(common) > len(self.line.value) else offers[0]
        self.line.value = text
        self.line.cursor_position = len(text)

    @on(Line.Recall)
    def _recall(self, event: Line.Recall) -> None:
        event.stop()
        kept = self._recalled.get(self.purpose, [])
        at = self._at + event.step
        if 0 <= at <= len(kept):
            self._at = at
            self.line.value = kept[at] if at < len(kept) else ""
            self.line.cursor_position = len(self.line.value)

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        # A click elsewhere: what was typed so far stays, as with enter; what is wrong goes, as with escape.
        if not (self.is_open and self.screen.is_current):
            return
        if self.error is None:
            self.post_message(self.Entered(self.purpose, self.line.value))
        else:
            purpose, before = self.purpose, self._before
            self.close()
            self.post_message(self.Cancelled(purpose, before))


def _common(offers: Sequence[str]) -> str:
    first, last = min(offers), max(offers)
    at = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:at]


def _offered(offers: Sequence[str], typed: str) -> list[tuple[str, str]]:
    """The last words of the offers: what is before is typed already."""
    start = typed.rfind(" ") + 1
    words = [offer[start:] for offer in offers[:12]]
    pieces: list[tuple[str, str]] = [(words[0], "accent")]
    pieces += [(f"  {word}", "muted") for word in words[1:]]
    return [*pieces, ("   tab completes", "muted")]
