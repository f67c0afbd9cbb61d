"""One object as a card for a person: a line for each field that is known, its value in words.

Apart from the tables because only `show` pays for the words (query/words.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from virtfleet.headless.table import BOLD, GAP, RESET, Style
from virtfleet.query.field import Field
from virtfleet.query.words import describe


def card(row: Any, fields: Sequence[Field[Any]], style: Style) -> list[str]:
    """The lines, without line breaks: name and value. Unknown fields are left out."""
    known = [(field, text) for field in fields if (text := _known(field, row)) is not None]
    width = max((len(field.name) for field, _ in known), default=0)
    name = f"{BOLD}{{:<{width}}}{RESET}" if style.colour else f"{{:<{width}}}"
    return [f"{name.format(field.name)}{GAP}{text}" for field, text in known]


def _known(field: Field[Any], row: Any) -> str | None:
    value = field.get(row)
    if value is None or value in ("", ()):
        return None
    return describe(value, field.unit)
