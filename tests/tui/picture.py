"""A picture of the console, for people and for reviews: SVG drawn to PNG without a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import resvg_py
from textual.app import App

_FONTS = "/usr/share/fonts"
_BRAILLE_TEXT = re.compile(r">[^<>]*[\u2801-\u28ff][^<>]*<")


def save_png(app: App[Any], path: Path | str, zoom: float = 1.0) -> Path:
    """Write what the app shows now to `path` (.png) and return it. `zoom` 1: cells of 12 by 24 pixels."""
    # The exported SVG names a web font first; without it resvg would take whatever comes.
    svg = app.export_screenshot().replace("Fira Code", "DejaVu Sans Mono")
    # DejaVu's braille is wider than its blanks, so that a curve with blanks in it would be drawn crooked.
    svg = _BRAILLE_TEXT.sub(lambda match: match[0].replace("&#160;", "\N{BRAILLE PATTERN BLANK}"), svg)
    png = bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg,
            font_dirs=[_FONTS],
            monospace_family="DejaVu Sans Mono",
            skip_system_fonts=True,
            zoom=zoom,
        )
    )
    target = Path(path)
    target.write_bytes(png)
    return target
