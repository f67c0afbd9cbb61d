"""The file in which operators say what is to be known of a host: how it is read, and what it says.

    /var/lib/virtfleet/host.json
    {"disabled": {"by": "ann@desk", "since": 1764042000.5, "reason": "new kernel"}, "draining": {...}}

It lies on the host, so that all see the same. Who can write there is not to be
trusted more than the host is: what is too long, no file or no such JSON is
told as a problem, and kept when the file is written anew. Keys that we do not
know are kept as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from virtfleet.model import Maintenance, Mark
from virtfleet.model.text import clean

FOLDER = "/var/lib/virtfleet"
NAME = "host.json"
LIMIT = 16384
"""Bytes: far more than it ever needs, and little enough for one argument of a program."""
KEYS = ("disabled", "draining")
_LONGEST = 500
_FARTHEST = 1e11
"""Unix time that is still a date to be shown."""

COPY = f'; head -c {LIMIT + 1} "$f"'
LOOK = (
    'if test -L "$f"; then echo odd; elif test -f "$f"; then if test -r "$f"; then echo file'
    f'{COPY}; else echo unreadable; fi; elif test -e "$f"; then echo odd; else echo absent; fi'
)
"""What a shell prints of the file $f: a word, and then what is in it. It stands in scripts without single
quotes. More than LIMIT is cut, and told by its length."""


class Found(NamedTuple):
    """What lies there."""

    kind: str
    """file, absent; odd: no ordinary file; unreadable: not for us."""
    text: str = ""

    @property
    def digest(self) -> str:
        """By which it is known whether it is still the same."""
        if self.kind != "file":
            return self.kind
        return hashlib.sha256(self.text.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def harmless(self) -> str:
        """The text, with what is no UTF-8 replaced."""
        return self.text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def found(printed: str) -> Found:
    """What `LOOK` printed."""
    kind, _, text = printed.partition("\n")
    return Found(kind, text) if kind in ("file", "absent", "unreadable", "odd") else Found("odd")


def content(seen: Found) -> dict[str, Any]:
    """What is in it, as plain data; nothing when there is no file. ValueError: why it can't be understood."""
    if seen.kind == "absent":
        return {}
    if seen.kind == "unreadable":
        raise ValueError(f"{NAME} may not be read by us")
    if seen.kind != "file":
        raise ValueError(f"{NAME} is no ordinary file")
    if len(seen.text) > LIMIT:
        raise ValueError(f"{NAME} is larger than {LIMIT >> 10} KiB")
    try:
        value = msgspec.json.decode(seen.harmless)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{NAME} is no JSON: {clean(str(error), 120)}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{NAME} is no JSON object")
    for key in KEYS:
        _mark(value, key)
    return value


def maintenance(seen: Found, *, shared: bool = True) -> Maintenance:
    """What it says, or why that is not known."""
    try:
        value = content(seen)
    except ValueError as error:
        return Maintenance(problem=str(error), shared=shared)
    return Maintenance(disabled=_mark(value, "disabled"), draining=_mark(value, "draining"), shared=shared)


def mark_of(value: object, key: str = "mark") -> Mark | None:
    """A mark from plain data; None for null. ValueError: it is none."""
    return _mark({key: value}, key)


def _mark(value: Mapping[str, Any], key: str) -> Mark | None:
    """ValueError: what stands under `key` says nothing."""
    given = value.get(key)
    if given is None:
        return None
    accepted = f"{NAME}: {key} must be null or have by, since and reason"
    if not isinstance(given, dict):
        raise ValueError(accepted)
    by, since, reason = given.get("by"), given.get("since"), given.get("reason", "")
    if not isinstance(by, str) or not isinstance(reason, str):
        raise ValueError(accepted)
    if isinstance(since, bool) or not isinstance(since, int | float) or not 0 <= since <= _FARTHEST:
        raise ValueError(f"{NAME}: since of {key} is no Unix time")
    return Mark(clean(by, _LONGEST), float(since), clean(reason, _LONGEST))


def plain(mark: Mark | None) -> dict[str, Any] | None:
    return None if mark is None else msgspec.to_builtins(mark)


def written(value: Mapping[str, Any], change: Mapping[str, Mark | None]) -> str:
    """The text of the file with these marks; None takes one away. ValueError: it would be too large."""
    after = {key: each for key, each in value.items() if key not in change}
    after |= {key: plain(mark) for key, mark in change.items() if mark is not None}
    text = msgspec.json.format(msgspec.json.encode(after), indent=2).decode() + "\n"
    if len(text.encode()) > LIMIT:
        raise ValueError(f"{NAME} would be larger than {LIMIT >> 10} KiB")
    return text
