"""The few ways in which the views read an element. None of them raises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

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
    return bytes_of(element.text or "", element.get("unit") or unit)


def bytes_of(text: str, unit: str) -> int | None:
    """Bytes of a number of units, exact; None: not a number, or no unit that we know."""
    number = _decimal(text)
    factor = _UNITS.get(unit.strip().lower())
    if number is None or number < 0 or factor is None or number * factor > 2**64:
        return None
    exact: int = number * factor
    return min(exact, LARGEST)


MOST_IN_SET = 8192
"""Linux knows no more CPUs; numbers from here on are nobody's."""


def number_set(element: Element | None, name: str) -> tuple[int, ...]:
    """`0-3,^2,8` of an attribute as 0, 1, 3, 8: CPUs or NUMA cells, sorted; what is odd is passed over."""
    text = element.get(name) if element is not None else None
    return _numbers(text) if text else ()


@lru_cache(maxsize=64)
def _numbers(text: str) -> tuple[int, ...]:
    found = 0
    for part in text[: 8 * MOST_IN_SET].split(","):
        word = part.strip()
        first, dash, last = word.removeprefix("^").partition("-")
        low, high = integer(first), integer(last) if dash else integer(first)
        if low is None or high is None or low < 0:
            continue
        high = min(high, MOST_IN_SET - 1)
        bits = (1 << high + 1) - (1 << low) if low <= high else 0
        found = found & ~bits if word.startswith("^") else found | bits
    return tuple(number for number in range(found.bit_length()) if found >> number & 1)


def pci_address(element: Element | None) -> str:
    """`<address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/>` as 0000:3b:00.0; "" for none."""
    parts = [_hexadecimal(attribute(element, name)) for name in ("domain", "bus", "slot", "function")]
    domain, bus, slot, function = parts
    if bus is None or slot is None or function is None:
        return ""
    return f"{domain or 0:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _hexadecimal(text: str) -> int | None:
    """0x3b, also without the 0x. libvirt takes decimal numbers too, and never writes them."""
    digits = text.strip().lower().removeprefix("0x")
    return int(digits, 16) if re.fullmatch(r"[0-9a-f]{1,8}", digits) else None
