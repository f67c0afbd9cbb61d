"""Devices that a VM is given whole: which of a host's free ones answer its aliases. Pure.

An alias is a vendor and a product; two aliases may mean the same devices. How
near the devices must be to the NUMA cells of the guest is Nova's policy:

    legacy      on one of those cells, or on none that is known
    required    on one of those cells
    preferred   anywhere, on one of those cells if there are such
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from virtfleet.config.extra_specs import Affinity, PciRequest
from virtfleet.config.settings import PciAlias

HOST = "host"
"""Who has a device that the host itself works with."""


class PciNeed(msgspec.Struct, frozen=True):
    alias: str
    count: int
    vendor: str
    """Four hexadecimal digits, small letters."""
    product: str


class HostPci(msgspec.Struct, frozen=True):
    address: str
    """0000:3b:00.0"""
    vendor: str
    product: str
    numa: int | None = None
    """The cell it is on; None: not known."""
    user: str = ""
    """Who has it: the UUID of a VM, defined is enough, or HOST. Empty: it is free."""


def needs(requests: Iterable[PciRequest], aliases: Mapping[str, PciAlias]) -> tuple[PciNeed, ...]:
    """What the requests mean. KeyError: an alias that the fleet file does not have."""
    return tuple(
        PciNeed(
            each.alias, each.count, aliases[each.alias].vendor.lower(), aliases[each.alias].product.lower()
        )
        for each in requests
    )


def fit(
    wanted: Sequence[PciNeed],
    devices: Iterable[HostPci],
    *,
    affinity: Affinity = "legacy",
    cells: Collection[int] | None = None,
) -> tuple[str, ...] | None:
    """Addresses of the devices for `wanted`, in its order; None: there are not enough.

    `cells`: the host's NUMA cells that the guest is on; None: it may be on all of them.
    """
    free = list(_near(devices, affinity, cells))
    taken: list[str] = []
    for need in wanted:
        found = [each for each in free if _is(each, need)][: need.count]
        if len(found) < need.count:
            return None
        taken += [each.address for each in found]
        free = [each for each in free if each not in found]
    return tuple(taken)


def why(
    wanted: Sequence[PciNeed],
    devices: Iterable[HostPci],
    *,
    affinity: Affinity = "legacy",
    cells: Collection[int] | None = None,
) -> str:
    """Which devices `fit` misses, with numbers; empty: none."""
    known = list(devices)
    near = list(_near(known, affinity, cells))
    spent: dict[tuple[str, str], int] = {}
    for need in wanted:
        kind = (need.vendor, need.product)
        before = spent.get(kind, 0)
        spent[kind] = before + need.count
        if sum(_is(each, need) for each in near) >= spent[kind]:
            continue
        there = [each for each in known if _is(each, need)]
        free = sum(not each.user for each in there)
        text = (
            f"needs {spent[kind]} × {need.alias} ({need.vendor}:{need.product}), {free} free of {len(there)}"
        )
        if own := sum(each.user == HOST for each in there):
            text += f", {own} driven by the host (not vfio-pci)"
        fitting = sum(_is(each, need) for each in near)
        return text if fitting == free else f"{text}, {fitting} at the NUMA cells of the guest"
    return ""


def _is(device: HostPci, need: PciNeed) -> bool:
    return device.vendor.lower() == need.vendor and device.product.lower() == need.product


def _near(devices: Iterable[HostPci], affinity: Affinity, cells: Collection[int] | None) -> Iterator[HostPci]:
    """The free devices that may be used, the nearest first, else in the order of their addresses."""
    free = sorted((each for each in devices if not each.user), key=lambda each: each.address)
    if cells is None:
        return iter(free)
    if affinity == "preferred":
        return iter(sorted(free, key=lambda each: (each.numa not in cells, each.numa is not None)))
    return (each for each in free if each.numa in cells or (each.numa is None and affinity == "legacy"))
