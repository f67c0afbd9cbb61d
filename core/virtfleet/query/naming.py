"""The order in which people expect names: hv2 before hv10, case ignored.

Keys are plain strings, because sorting 10,000 of them must be cheap, and are
remembered, because names come back with every sample.
"""

from __future__ import annotations

import re
from functools import lru_cache

_DIGITS = re.compile("[0-9]+")


def _counted(run: re.Match[str]) -> str:
    """A run of digits led by its length, so that a longer number compares greater."""
    digits = run[0].lstrip("0") or "0"
    return f"{len(digits):04d}{digits}"


@lru_cache(maxsize=32768)
def natural_key(text: str) -> str:
    """What to sort by instead of `text`. Names equal but for case and leading zeros get equal keys."""
    folded = text.casefold()
    return _DIGITS.sub(_counted, folded)
