"""What a host offers to a VM: read from libvirt's domain capabilities. Pure, over their XML."""

from __future__ import annotations

from typing import NamedTuple

from virtfleet.hypervisor.views.safexml import Element, parse


class Offers(NamedTuple):
    """What of it matters when a VM is made."""

    kind: str = "qemu"
    """libvirt's domain type: kvm, qemu, test, lxc, xen."""
    arch: str = "x86_64"
    machine: str = ""
    """Empty: the driver has none to choose from."""
    emulator: str = ""
    cpu: str = ""
    """host-passthrough, host-model, maximum, or empty: the driver's own."""
    buses: frozenset[str] = frozenset()
    """For disks."""
    efi: bool = False
    vnc: bool = False
    video: str = ""
    rng: bool = False
    channel: bool = True


def offers(xml: str) -> Offers:
    """From virConnectGetDomainCapabilities. ValueError: not that."""
    root = parse(xml)
    if root.tag != "domainCapabilities":
        raise ValueError("not domain capabilities")
    kind = _text(root, "domain") or "qemu"
    devices = root.find("devices")
    disks = _values(devices, "disk", "bus")
    video = _values(devices, "video", "modelType")
    return Offers(
        kind=kind,
        arch=_text(root, "arch") or "x86_64",
        machine=_text(root, "machine"),
        emulator=_text(root, "path"),
        cpu=_cpu(root, kind),
        buses=frozenset(disks),
        efi="efi" in _values(root, "os", "firmware"),
        vnc="vnc" in _values(devices, "graphics", "type"),
        video=next((each for each in ("virtio", "vga", "qxl", "cirrus") if each in video), ""),
        rng="random" in _values(devices, "rng", "backendModel"),
    )


def _cpu(root: Element, kind: str) -> str:
    supported = {
        str(mode.get("name")) for mode in root.iterfind("cpu/mode") if mode.get("supported") == "yes"
    }
    # A guest that may be moved must not see more than other hosts have, but emulated nothing is the host's.
    wanted = ("host-model", "host-passthrough") if kind == "kvm" else ("maximum",)
    return next((each for each in wanted if each in supported), "")


def _values(root: Element | None, device: str, name: str) -> list[str]:
    found = root.find(device) if root is not None else None
    if found is None or found.get("supported") == "no":
        return []
    return [
        value.text or ""
        for each in found.iterfind("enum")
        if each.get("name") == name
        for value in each.iterfind("value")
    ]


def _text(root: Element, name: str) -> str:
    found = root.find(name)
    return (found.text or "").strip() if found is not None else ""
