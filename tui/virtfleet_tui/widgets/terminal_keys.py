"""From a key to the bytes that a terminal sends for it (VT220 and xterm). Pure."""

from __future__ import annotations

import re

ESCAPE_KEY = "ctrl+right_square_bracket"
"""Takes the keys back from the guest."""

_PLAIN = {
    "enter": b"\r",
    "tab": b"\t",
    "backspace": b"\x7f",
    "escape": b"\x1b",
    "space": b" ",
    "shift+tab": b"\x1b[Z",
    "shift+space": b" ",
    "shift+enter": b"\r",
    "shift+backspace": b"\x7f",
    "ctrl+space": b"\x00",
    "ctrl+@": b"\x00",
    "ctrl+at": b"\x00",
    "ctrl+backslash": b"\x1c",
    "ctrl+right_square_bracket": b"\x1d",
    "ctrl+circumflex_accent": b"\x1e",
    "ctrl+underscore": b"\x1f",
    "ctrl+backspace": b"\x08",
}
_CURSOR = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
_NUMBERED = {
    "insert": 2, "delete": 3, "pageup": 5, "pagedown": 6, "f5": 15, "f6": 17, "f7": 18, "f8": 19, "f9": 20,
    "f10": 21, "f11": 23, "f12": 24,
}  # fmt: skip
_FUNCTION = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}
_MODIFIERS = {"shift": 1, "alt": 2, "ctrl": 4}
_UNTYPEABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def key_bytes(key: str, character: str | None, *, application: bool = False) -> bytes:
    """What the guest gets for a key by Textual's name, if anything. `application`: the arrows' other form."""
    if key in _PLAIN:
        return _PLAIN[key]
    *modifiers, name = key.split("+") if key != "+" else [key]
    pressed = {each for each in modifiers if each in _MODIFIERS}
    if name in _CURSOR or name in _NUMBERED or name in _FUNCTION:
        return _special(name, sum(_MODIFIERS[each] for each in pressed), application)
    if pressed == {"ctrl"} and len(name) == 1 and name.isascii() and name.isalpha():
        return bytes([ord(name.lower()) & 0x1F])
    if "alt" in pressed:
        rest = "+".join([*(each for each in modifiers if each != "alt"), name])
        inner = key_bytes(rest, character or (name if len(name) == 1 else None), application=application)
        return b"\x1b" + inner if inner else b""
    if character and character.isprintable():
        return character.encode()
    return b""


def _special(name: str, modifiers: int, application: bool) -> bytes:
    if name in _NUMBERED:
        return f"\x1b[{_NUMBERED[name]}{f';{modifiers + 1}' if modifiers else ''}~".encode()
    final = _CURSOR.get(name) or _FUNCTION[name]
    if modifiers:
        return f"\x1b[1;{modifiers + 1}{final}".encode()
    return f"\x1b{'O' if application or name in _FUNCTION else '['}{final}".encode()


def paste_bytes(text: str, *, bracketed: bool) -> bytes:
    """Pasted text as if typed: without control characters, so that nothing in it ends the brackets."""
    plain = _UNTYPEABLE.sub("", text).replace("\r\n", "\n").replace("\n", "\r")
    return f"\x1b[200~{plain}\x1b[201~".encode() if bracketed else plain.encode()
