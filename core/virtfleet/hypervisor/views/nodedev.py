"""A node device's XML as `PciDevice`."""

from __future__ import annotations

import re

from virtfleet.hypervisor.views.reading import attribute, child, children, content, integer, pci_address
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model import PciDevice

_BRIDGE = "06"
"""Class of bridges: they belong to the host and can't be handed out."""


def pci_device(xml: str) -> PciDevice | None:
    """None: no PCI device, or one that can't be handed to a VM. ValueError: not a node device's XML."""
    root = parse(xml)
    if root.tag != "device":
        raise ValueError("not a node device's XML")
    found = next((each for each in children(root, "capability") if each.get("type") == "pci"), None)
    if found is None:
        return None
    parts = {each.get("type"): each for each in children(found, "capability")}
    class_code = _digits(content(child(found, "class")), 6)
    if "pci-bridge" in parts or "cardbus-bridge" in parts or class_code.startswith(_BRIDGE):
        return None
    address = _address(found)
    vendor = _digits(attribute(child(found, "vendor"), "id"), 4)
    product = _digits(attribute(child(found, "product"), "id"), 4)
    if not (address and vendor and product):
        return None
    cell = integer(attribute(child(found, "numa"), "node"))
    group = integer(attribute(child(found, "iommuGroup"), "number"))
    return PciDevice(
        address=address,
        vendor=vendor,
        product=product,
        class_code=class_code,
        numa=cell if cell is not None and cell >= 0 else None,
        driver=content(child(root, "driver", "name"), 64),
        iommu_group=group if group is not None and group >= 0 else None,
        physical=pci_address(child(parts.get("phys_function"), "address")),
    )


def _address(capability: Element) -> str:
    """Here, unlike in a domain, libvirt writes the numbers as decimal ones, one element each."""
    names = ("domain", "bus", "slot", "function")
    numbers = [integer(content(child(capability, name))) for name in names]
    limits = (0xFFFFFFFF, 0xFF, 0x1F, 7)
    if any(each is None or not 0 <= each <= most for each, most in zip(numbers, limits, strict=True)):
        return ""
    domain, bus, slot, function = numbers
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _digits(text: str, count: int) -> str:
    """0x10DE as 10de; "" for what is no such number."""
    digits = text.strip().lower().removeprefix("0x").rjust(count, "0")
    return digits if text and re.fullmatch(rf"[0-9a-f]{{{count}}}", digits) else ""
