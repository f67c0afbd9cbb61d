"""Text from strangers: names, descriptions and messages that a host or a guest chose.

Everything that enters the model passes through `clean`, once, in the worker:
control and escape characters, bidirectional overrides, lone surrogates and
other invisible tricks become visible or vanish, so that no later reader has
to remember that a VM can be called `\\x1b[2J`.
"""

from __future__ import annotations

import unicodedata

_MAX = 1024
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_DROPPED = {"Cf", "Zl", "Zp"}
_REPLACED = {"Cc", "Cs", "Co", "Cn"}


def clean(text: str, limit: int = _MAX) -> str:
    """One line of harmless text of at most `limit` characters.

    Control characters, surrogates, private and unassigned code points become
    U+FFFD; format characters (bidirectional overrides, zero width) are
    dropped; line breaks and tabs become a space.
    """
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    out: list[str] = []
    for char in text[: limit + 1]:
        if char in "\n\r\t\v\f\x85":
            out.append(" ")
            continue
        category = unicodedata.category(char)
        if category in _DROPPED:
            continue
        out.append(_REPLACEMENT if category in _REPLACED else char)
    if len(text) > limit:
        del out[limit - 1 :]
        out.append("…")
    return "".join(out)


def clean_lines(text: str, limit: int = 1_000_000) -> str:
    """Several lines of harmless text: XML and logs. Line feeds and tabs (as spaces) survive."""
    return "\n".join(clean(line.expandtabs(8), 20_000) for line in text[:limit].split("\n"))
