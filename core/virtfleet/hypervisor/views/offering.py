"""What a host offers to guests: kinds, machine types, CPU models, firmware. From capabilities and domain
capabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from virtfleet.hypervisor.views.reading import attribute, child, children, content
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model import GuestKind
from virtfleet.model.text import clean

_MOST = 512
"""Names of one sort that are kept: QEMU 9 has some 90 machine types and 130 CPU models."""
_MOST_KINDS = 64
_LONGEST = 64


class Offering(msgspec.Struct, frozen=True):
    """What domain capabilities tell of guests of the host's own architecture."""

    cpu_modes: tuple[str, ...] = ()
    host_model: str = ""
    cpu_models: tuple[str, ...] = ()
    firmwares: tuple[str, ...] = ()
    pool_types: tuple[str, ...] = ()
    """From pool capabilities."""


def offering(xml: str) -> Offering:
    """Reads domain capabilities; an empty or broken one gives the defaults."""
    try:
        root = parse(xml)
    except ValueError:
        return Offering()
    if root.tag != "domainCapabilities":
        return Offering()
    modes = {
        attribute(mode, "name"): mode for mode in children(child(root, "cpu"), "mode") if _supported(mode)
    }
    arch = content(child(root, "arch"))
    firmwares = _names(
        content(value, _LONGEST)
        for each in children(child(root, "os"), "enum")
        if each.get("name") == "firmware"
        for value in children(each, "value")
    )
    if arch in ("x86_64", "i686") and "bios" not in firmwares:
        firmwares = ("bios", *firmwares)  # libvirt lists what has a descriptor; a PC has its BIOS anyway
    return Offering(
        cpu_modes=_names(modes),
        host_model=content(child(modes.get("host-model"), "model"), _LONGEST),
        cpu_models=_sorted(
            content(model, _LONGEST)
            for model in children(modes.get("custom"), "model")
            if attribute(model, "usable") != "no"
        ),
        firmwares=firmwares,
    )


def pool_types(xml: str) -> tuple[str, ...]:
    """Types of pools that are supported, from pool capabilities; () for what is no such XML."""
    try:
        root = parse(xml)
    except ValueError:
        return ()
    if root.tag != "storagepoolCapabilities":
        return ()
    return _names(attribute(each, "type") for each in children(root, "pool") if _supported(each))


def guests(capabilities: Element | None) -> tuple[GuestKind, ...]:
    """The <guest>s of a capabilities XML."""
    found: list[GuestKind] = []
    for guest in children(capabilities, "guest"):
        for arch in children(guest, "arch"):
            name = attribute(arch, "name")
            if not name or len(found) >= _MOST_KINDS:
                continue
            domains = list(children(arch, "domain"))
            found.append(
                GuestKind(
                    arch=name[:_LONGEST],
                    os_type=content(child(guest, "os_type"), _LONGEST),
                    domains=_names(attribute(each, "type") for each in domains),
                    machines=_sorted(name for each in (arch, *domains) for name in _machines(each)),
                )
            )
    return tuple(found)


def features(cpu_xml: str) -> tuple[str, ...]:
    """Names of a <cpu>'s features, sorted; () for what is no such XML."""
    try:
        return cpu_features(parse(cpu_xml))
    except ValueError:
        return ()


def cpu_features(cpu: Element | None) -> tuple[str, ...]:
    """The same, of an element: `disable` means that the model has it and this CPU has not."""
    refused = ("disable", "forbid")
    return _sorted(
        attribute(each, "name") for each in children(cpu, "feature") if each.get("policy") not in refused
    )


def _machines(element: Element) -> Iterator[str]:
    """Machine types and what is behind their aliases."""
    for each in children(element, "machine"):
        yield content(each, _LONGEST)
        yield attribute(each, "canonical")


def _supported(element: Element) -> bool:
    return attribute(element, "supported") != "no"


def _names(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(clean(text, _LONGEST) for text in texts if text))[:_MOST]


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text})[:_MOST])
