"""Our two themes. Few colours, each with one meaning: good, busy, warning, bad, muted.

Widgets may use Textual's names for them ($success, $primary, $warning,
$error, $text-muted) or ours ($good, $busy, $warning, $bad, $muted): they are
the same colours. Text keeps a contrast of 4.5:1 or more on its ground.
"""

from __future__ import annotations

from typing import Literal

from textual.content import Content
from textual.theme import Theme

from virtfleet.errors import ConfigError

DARK = "virtfleet-dark"
LIGHT = "virtfleet-light"
SHORT = {"dark": DARK, "light": LIGHT}
"""What people type."""

Meaning = Literal["", "good", "busy", "warning", "bad", "muted", "accent", "bold"]


def _theme(
    name: str,
    *,
    dark: bool,
    ground: tuple[str, str, str],
    text: str,
    good: str,
    busy: str,
    warning: str,
    bad: str,
    muted: str,
    line: str,
    cursor: str,
) -> Theme:
    background, surface, panel = ground
    return Theme(
        name=name,
        dark=dark,
        background=background,
        surface=surface,
        panel=panel,
        foreground=text,
        primary=busy,
        secondary=muted,
        accent=busy,
        success=good,
        warning=warning,
        error=bad,
        variables={
            "good": good,
            "busy": busy,
            "bad": bad,
            "muted": muted,
            "line": line,
            "text-muted": muted,
            "text-success": good,
            "text-warning": warning,
            "text-error": bad,
            "text-primary": busy,
            "text-accent": busy,
            "border": busy,
            "border-blurred": line,
            "block-cursor-background": cursor,
            "block-cursor-foreground": text,
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": panel,
            "block-hover-background": panel,
            "input-selection-background": f"{busy} 40%",
            "scrollbar": line,
            "scrollbar-hover": muted,
            "scrollbar-active": busy,
            "scrollbar-background": background,
            "scrollbar-background-hover": background,
            "scrollbar-background-active": background,
            "scrollbar-corner-color": background,
            "footer-key-foreground": busy,
        },
    )


THEMES = (
    _theme(
        DARK,
        dark=True,
        ground=("#10141a", "#171c24", "#212833"),
        text="#d6dce6",
        good="#7fc98a",
        busy="#6cb2f5",
        warning="#e6b450",
        bad="#f47b82",
        muted="#8993a3",
        line="#3a4454",
        cursor="#2c4a6b",
    ),
    _theme(
        LIGHT,
        dark=False,
        ground=("#fcfcfa", "#f2f2ee", "#e4e5e0"),
        text="#20242b",
        good="#24702e",
        busy="#175ca8",
        warning="#8a5700",
        bad="#b41f30",
        muted="#626973",
        line="#b9bdc2",
        cursor="#c5dcf5",
    ),
)


def theme_named(name: str) -> str | None:
    """The theme that a person calls `name`; None: there is none.

    Textual brings others. They lack colours that our styles name, and nobody has looked at their contrast.
    """
    found = SHORT.get(name.lower(), name)
    return found if found in (DARK, LIGHT) else None


def check(name: str, where: str) -> None:
    """ConfigError: there is no theme of this name. `where`: who asks for it; an empty name asks for none."""
    if name and theme_named(name) is None:
        raise ConfigError(f"{where}: no theme {name!r}", cure="dark or light")


_STYLES = {
    "good": "$success",
    "busy": "$primary",
    "accent": "$primary",
    "warning": "$warning",
    "bad": "$error",
    "muted": "$text-muted",
    "bold": "bold",
}


def say(*pieces: str | tuple[str, str]) -> Content:
    """Text for a widget: strings as they are, never markup, and pieces with their meaning."""
    return Content.assemble(
        *(piece if isinstance(piece, str) else (piece[0], _STYLES.get(piece[1], "")) for piece in pieces)
    )
