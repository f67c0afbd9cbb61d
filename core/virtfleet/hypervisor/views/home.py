"""What a VM's metadata says of the hosts that it left when they were drained."""

from __future__ import annotations

from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model.text import clean

MOVE = "urn:virtfleet:move:1"
PREFIX = "virtfleet-move"
_MOST = 16


def homes(xml: str | None) -> tuple[str, ...]:
    """Of our element as libvirt gives it; nonsense says nothing."""
    if not xml:
        return ()
    try:
        return names(parse(xml))
    except ValueError:
        return ()


def names(element: Element | None) -> tuple[str, ...]:
    """The hosts, in the order in which it left them."""
    if element is None:
        return ()
    found = (
        clean(each.get("from", ""), 200) for each in element if str(each.tag).rpartition("}")[2] == "drained"
    )
    return tuple(name for name in found if name)[:_MOST]
