"""A picture of the console, for people and for reviews: SVG drawn to PNG without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import resvg_py
from textual.app import App

_FONTS = "/usr/share/fonts"


def save_png(app: App[Any], path: Path | str) -> Path:
    """Write what the app shows now to `path` (.png) and return it."""
    # The exported SVG names a web font first; without it resvg would take whatever comes.
    svg = app.export_screenshot().replace("Fira Code", "DejaVu Sans Mono")
    png = bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg,
            font_dirs=[_FONTS],
            monospace_family="DejaVu Sans Mono",
            skip_system_fonts=True,
        )
    )
    target = Path(path)
    target.write_bytes(png)
    return target
