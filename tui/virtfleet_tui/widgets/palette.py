"""Few colours, by meaning, and text that fits its place: what every line-drawn widget needs.

A widget that paints puts `MEANING_CLASSES` into its COMPONENT_CLASSES and
`MEANING_CSS` into its DEFAULT_CSS; themes and NO_COLOR then work by
themselves. Colour is never the only sign of anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from textual.color import Color
from textual.widget import Widget

from virtfleet.model.text import clean

Meaning = str
"""One of MEANINGS, or "" for the terminal's plain text."""
Piece = tuple[str, Meaning]
"""Text and what it means. Never markup."""
Cell = str | Sequence[Piece]

MEANINGS = ("good", "busy", "warning", "bad", "muted", "accent", "gauge", "track")
"""The first five are states. `accent` tells lines of a plot apart; `gauge` and `track` are the filled and the
empty part of a bar that has nothing to report."""
MEANING_CLASSES = {f"meaning--{name}" for name in MEANINGS}
MEANING_CSS = """
    & > .meaning--good { color: $text-success; }
    & > .meaning--busy { color: $text-primary; }
    & > .meaning--warning { color: $text-warning; }
    & > .meaning--bad { color: $text-error; text-style: bold; }
    & > .meaning--muted { color: $text-muted; }
    & > .meaning--accent { color: $text-accent; }
    & > .meaning--gauge { color: $primary; }
    & > .meaning--track { color: $foreground 25%; }
"""


class Palette:
    """Rich styles of a widget's component classes, mixed once: fields over lines over the widget.

    Made anew in `notify_style_update`; looking up is a dictionary access.
    """

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._mixed: dict[tuple[str, ...], Style] = {}

    def style(self, *layers: str) -> Style:
        """`layers` are component classes, lowest first; "" is skipped."""
        style = self._mixed.get(layers)
        if style is None:
            style = self._mixed[layers] = self._mix(layers)
        return style

    def _mix(self, layers: Iterable[str]) -> Style:
        widget = self._widget
        _, _, back, fore = widget.colors
        auto: float | None = None
        style = Style.null()
        for layer in layers:
            if not layer:
                continue
            rules = widget.get_component_styles(layer)
            if rules.has_rule("background"):
                back = _over(back, rules.background)
            if rules.has_rule("auto_color") and rules.auto_color:
                auto = rules.color.a
            elif rules.has_rule("color"):
                fore, auto = rules.color, None
            if rules.has_rule("text_style"):
                style += rules.text_style
        if auto is not None:
            fore = back.get_contrast_text(auto)
        return style + Style.from_color(_over(back, fore).rich_color, back.rich_color)


def _over(back: Color, top: Color) -> Color:
    """A colour on another; the terminal's own colours cannot be mixed, so they win."""
    if top.ansi is not None or back.ansi is not None:
        return back if top.a == 0 else top
    return back + top


def meaning_class(meaning: Meaning) -> str:
    """The component class of a meaning; "" for plain text and for words nobody declared."""
    return f"meaning--{meaning}" if meaning in MEANINGS else ""


def fit(text: str, width: int, right: bool = False) -> str:
    """Exactly `width` cells of harmless text: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    if not text.isprintable():
        text = clean(text)
    length = len(text) if text.isascii() else cell_len(text)
    if length == width:
        return text
    if length < width:
        return " " * (width - length) + text if right else text + " " * (width - length)
    cut = set_cell_size(text, width - 1).rstrip() + "…"  # half of a wide glyph leaves a blank
    return cut + " " * (width - cell_len(cut))


def width_of(cell: Cell) -> int:
    """Cells that a cell takes when nothing is cut."""
    return cell_len(cell) if isinstance(cell, str) else sum(cell_len(text) for text, _ in cell)


def fit_pieces(pieces: Sequence[Piece], width: int, right: bool = False) -> list[Piece]:
    """The same for text in several meanings."""
    out: list[Piece] = []
    left = width
    for text, meaning in pieces:
        if not text.isprintable():
            text = clean(text)
        length = len(text) if text.isascii() else cell_len(text)
        if length > left:
            if left > 0:
                out.append((fit(text, left), meaning))
            elif out:  # what was shown last has to say that something follows
                before, its_meaning = out[-1]
                out[-1] = (fit(before + "…", cell_len(before)), its_meaning)
            return out
        out.append((text, meaning))
        left -= length
    if left > 0:
        out.insert(0, (" " * left, "")) if right else out.append((" " * left, ""))
    return out


def centred(lines: Sequence[str], width: int, height: int, y: int) -> str:
    """Line `y` of a text that stands in the middle of a `width` × `height` area."""
    first = max(0, (height - len(lines)) // 2)
    if not first <= y < first + len(lines):
        return " " * width
    text = fit(lines[y - first], min(width, cell_len(lines[y - first])))
    return fit(" " * ((width - cell_len(text)) // 2) + text, width)


def wrapped(text: str, width: int) -> list[str]:
    """Words of a text broken into lines of at most `width` cells; its own line breaks stay."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in clean(paragraph).split(" "):
            if line and cell_len(line) + 1 + cell_len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines
