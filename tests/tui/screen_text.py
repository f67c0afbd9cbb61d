"""The screen as plain text, so that a test can say what an operator reads."""

from __future__ import annotations

from typing import Any

from textual.app import App


def screen_lines(app: App[Any]) -> list[str]:
    """What is on the terminal, one string a line, without colours and without blanks at the end."""
    # Textual has no public way to ask for this; it is wrapped here once.
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


def screen_text(app: App[Any]) -> str:
    """The same as one text."""
    return "\n".join(screen_lines(app))
