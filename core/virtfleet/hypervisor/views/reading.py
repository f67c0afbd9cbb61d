"""The few ways in which the views read an element. None of them raises."""

from __future__ import annotations

from collections.abc import Iterator

from virtfleet.hypervisor.views.safexml import Element
from virtfleet.model.text import clean

_UNITS = {
    "": 1,
    "b": 1,
    "byte": 1,
    "bytes": 1,
    **{letter: 1024**power for power, letter in enumerate("kmgtpe", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgtpe", 1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgtpe", 1)},
}
"""libvirt's units: `KiB` and a bare `k` are powers of 1024, `KB` of 1000; case does not matter."""

LARGEST = 2**63 - 1
"""The largest number that crosses the wire to the engine; sizes stop there."""


def children(element: Element | None, *names: str) -> Iterator[Element]:
    """Direct children of these names; nothing of a missing element."""
    return iter(()) if element is None else element.iterchildren(*names)


def child(element: Element | None, *path: str) -> Element | None:
    """First descendant along `path`."""
    for name in path:
        if element is None:
            return None
        element = next(element.iterchildren(name), None)
    return element


def attribute(element: Element | None, *names: str) -> str:
    """First of these attributes that is there and not empty, cleaned; "" without one."""
    if element is not None:
        for name in names:
            value = element.get(name)
            if value:
                return clean(value)
    return ""


def content(element: Element | None, limit: int = 1024) -> str:
    """Text of an element, cleaned and without the space around it."""
    return clean((element.text or "").strip(), limit) if element is not None else ""


def integer(text: str) -> int | None:
    """A decimal number of 64 bits (Python also takes `1_0` and Arabic digits; libvirt does not)."""
    number = _decimal(text)
    return number if number is not None and -LARGEST <= number <= LARGEST else None


def _decimal(text: str) -> int | None:
    text = text.strip()
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= 20 else None


def size(element: Element | None, unit: str = "bytes") -> int | None:
    """Bytes of `<memory unit='KiB'>8</memory>`, exact; `unit` is what holds where none is written."""
    if element is None:
        return None
    number = _decimal(element.text or "")
    factor = _UNITS.get((element.get("unit") or unit).strip().lower())
    if number is None or number < 0 or factor is None or number * factor > 2**64:
        return None
    exact: int = number * factor
    return min(exact, LARGEST)
