"""A question that only a person can answer, about one host by name: an unknown key, a passphrase, a password.

For an unknown host key the safe choice is first and has the focus: enter
alone trusts nobody. Escape declines, which refuses the host until somebody
reconnects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Static

from virtfleet.model import Prompt, PromptKind
from virtfleet.model.text import clean_lines
from virtfleet_tui.dialogs.base import Dialog
from virtfleet_tui.styles.themes import say

_FOOT = "enter takes what is lit, tab goes on, esc declines: the host stays out"
_HEADS = {
    PromptKind.HOST_KEY: "Is this really {host}?",
    PromptKind.PASSPHRASE: "Passphrase for {host}",
    PromptKind.PASSWORD: "Password for {host}",
    PromptKind.INTERACTIVE: "{host} asks",
}


class Answer(NamedTuple):
    prompt_id: int
    text: str | None
    """None: declined."""

    def __repr__(self) -> str:
        return f"Answer(prompt_id={self.prompt_id})"


class AskDialog(Dialog[Answer]):
    def __init__(self, prompt: Prompt, sharing: Sequence[str] = (), more: int = 0) -> None:
        super().__init__()
        self.prompt = prompt
        self._sharing = [host for host in sharing if host != prompt.host]
        self._more = more

    def compose(self) -> ComposeResult:
        prompt = self.prompt
        with Vertical(classes="dialog ask") as box:
            box.border_title = say(_HEADS[prompt.kind].format(host=prompt.host))
            if self._more:
                box.border_subtitle = say(f"{self._more} more after this")
            yield Static(say(("host  ", "muted"), (prompt.host, "bold")), markup=False)
            if prompt.retry:
                yield Static(say(("The last answer was wrong. Try again.", "warning")), markup=False)
            yield Static(say(clean_lines(prompt.text)), markup=False, id="ask-text")
            if self._sharing:
                others = ", ".join(self._sharing[:4])
                rest = len(self._sharing) - 4
                tail = f" and {rest} more" if rest > 0 else ""
                yield Static(say((f"The answer also serves {others}{tail}.", "muted")), markup=False)
            if prompt.kind is PromptKind.HOST_KEY:
                yield Static(
                    say(
                        (
                            "Compare it with the key shown on the host's own console before you trust it.",
                            "muted",
                        )
                    ),
                    markup=False,
                )
                with Horizontal(classes="buttons"):
                    yield Button("Do not connect", id="decline", compact=True)
                    yield Button("Trust and remember", id="accept", compact=True)
            else:
                yield Input(password=prompt.secret, id="ask-input", compact=True)
                with Horizontal(classes="buttons"):
                    yield Button("Answer", id="accept", compact=True)
                    yield Button("Decline", id="decline", compact=True)
            yield Static(
                say((_FOOT, "muted")),
                markup=False,
            )

    def on_mount(self) -> None:
        first = "#decline" if self.prompt.kind is PromptKind.HOST_KEY else "#ask-input"
        self.query_one(first).focus()

    def _answer(self, text: str | None) -> None:
        self.dismiss(Answer(self.prompt.id, text))

    def action_leave(self) -> None:
        self._answer(None)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._answer(event.value)

    @on(Button.Pressed, "#decline")
    def _declined(self) -> None:
        self._answer(None)

    @on(Button.Pressed, "#accept")
    def _accepted(self) -> None:
        if self.prompt.kind is PromptKind.HOST_KEY:
            self._answer("yes")
        else:
            self._answer(self.query_one("#ask-input", Input).value)
