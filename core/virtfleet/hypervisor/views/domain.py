"""A domain's XML as `VmInfo`: QEMU, LXC, Xen, ESX and the test driver alike."""

from __future__ import annotations

from collections.abc import Iterator

from virtfleet.hypervisor.views.home import MOVE, names
from virtfleet.hypervisor.views.pinning import pinning
from virtfleet.hypervisor.views.reading import attribute, child, children, content, integer, size
from virtfleet.hypervisor.views.safexml import Element, parse
from virtfleet.model import VmDisk, VmGraphics, VmInfo, VmNic
from virtfleet.model.text import clean

METADATA = "urn:virtfleet:vm:1"
"""Namespace of what virtfleet keeps in a domain's <metadata>: project, flavor, group, tags, protection."""

_AGENT = "org.qemu.guest_agent.0"
_NS = f"{{{METADATA}}}"
_X86 = ("x86_64", "i686")
_OF_HOST = {
    "usb": "a USB device of its host",
    "scsi": "a SCSI device of its host",
    "scsi_host": "a SCSI adapter of its host",
    "mdev": "a mediated device (vGPU)",
}
_MOST_TIES = 16


def vm_info(
    xml: str,
    *,
    persistent: bool = True,
    autostart: bool = False,
    snapshots: int | None = None,
    managed_save: bool = False,
) -> VmInfo:
    """What a domain is. ValueError: `xml` is no domain's XML; anything else that is odd gives a default.

    Addresses are those that the XML itself sets (LXC); leases, agent and ARP
    are merged in by who asks for them.
    """
    root = parse(xml)
    if root.tag != "domain":
        raise ValueError(f"not a domain's XML: <{clean(str(root.tag), 60)}>")
    os = child(root, "os")
    os_type = child(os, "type")
    devices = child(root, "devices")
    cpu = child(root, "cpu")
    uuid = content(child(root, "uuid"), 64)
    data = child(root, "metadata", f"{_NS}vm")
    tied = pinning(root)
    return VmInfo(
        uuid=uuid,
        name=content(child(root, "name")) or uuid,
        title=content(child(root, "title")),
        description=content(child(root, "description"), 4096),
        persistent=persistent,
        autostart=autostart,
        arch=attribute(os_type, "arch"),
        machine=attribute(os_type, "machine"),
        os_type=content(os_type),
        firmware=_firmware(os, os_type),
        cpu_mode=attribute(cpu, "mode") or ("custom" if child(cpu, "model") is not None else ""),
        cpu_model=content(child(cpu, "model")),
        vcpus_max=max(0, integer(content(child(root, "vcpu"))) or 0),
        memory_max=size(child(root, "memory"), "KiB") or 0,
        disks=(
            *(_disk(disk) for disk in children(devices, "disk")),
            *(_filesystem(each) for each in children(devices, "filesystem")),
        ),
        nics=tuple(_nic(nic) for nic in children(devices, "interface")),
        graphics=tuple(_graphics(each) for each in children(devices, "graphics")),
        consoles=_consoles(devices),
        agent=_agent(devices),
        snapshots=snapshots,
        managed_save=managed_save,
        project=content(child(data, f"{_NS}project")),
        flavor=content(child(data, f"{_NS}flavor")),
        group=content(child(data, f"{_NS}group")),
        tags=tuple(dict.fromkeys(tag for each in children(data, f"{_NS}tag") if (tag := content(each)))),
        protected=_flag(child(data, f"{_NS}protected")),
        drained_from=names(child(root, "metadata", f"{{{MOVE}}}move")),
        ha_priority=integer(content(child(data, f"{_NS}ha-priority"))),
        tied=tuple(dict.fromkeys(_ties(devices)))[:_MOST_TIES],
        **tied._asdict(),
    )


def _ties(devices: Element | None) -> Iterator[str]:
    """Devices that are the host's own, or whose state no hypervisor can carry over. PCI is `pinning`'s."""
    for each in children(devices, "hostdev"):
        kind = attribute(each, "type")
        if attribute(each, "mode") == "capabilities":
            yield "a device of its host"
        elif kind in _OF_HOST:
            yield _OF_HOST[kind]
    for each in children(devices, "interface"):
        if attribute(each, "type") == "vdpa":
            yield "a vDPA network card"
    for each in children(devices, "tpm"):
        if attribute(child(each, "backend"), "type") == "passthrough":
            yield "its host's TPM"
    if child(devices, "shmem") is not None:
        yield "memory shared with its host"


def _flag(element: Element | None) -> bool:
    """An element that is there says yes, unless its text says no."""
    return element is not None and content(element).lower() not in ("no", "false", "0", "off")


def _firmware(os: Element | None, os_type: Element | None) -> str:
    if said := attribute(os, "firmware"):
        return said
    loader = child(os, "loader")
    if attribute(loader, "type") == "pflash":
        return "efi"
    on_pc = content(os_type) == "hvm" and attribute(os_type, "arch") in ("", *_X86)
    return "bios" if on_pc else ""


def _disk(disk: Element) -> VmDisk:
    target = child(disk, "target")
    source = child(disk, "source")
    kind = attribute(disk, "type") or "file"
    return VmDisk(
        target=attribute(target, "dev"),
        device=attribute(disk, "device") or "disk",
        type=kind,
        source=_disk_source(kind, source),
        format=attribute(child(disk, "driver"), "type"),
        bus=attribute(target, "bus"),
        readonly=child(disk, "readonly") is not None,
        shareable=child(disk, "shareable") is not None,
    )


def _disk_source(kind: str, source: Element | None) -> str:
    if source is None:
        return ""
    if kind == "network":
        protocol, name = attribute(source, "protocol"), attribute(source, "name")
        return f"{protocol}:{name}" if protocol else name
    if kind == "volume":
        return f"{attribute(source, 'pool')}/{attribute(source, 'volume')}".strip("/")
    if kind == "nvme":
        address = child(source, "address")
        parts = (attribute(address, key).removeprefix("0x") for key in ("domain", "bus", "slot", "function"))
        return "{}:{}:{}.{}".format(*parts) if address is not None else ""
    return attribute(source, "file", "dev", "dir", "path", "socket")


def _filesystem(each: Element) -> VmDisk:
    """A directory or image handed to the guest: an LXC guest's root has no other form."""
    return VmDisk(
        target=attribute(child(each, "target"), "dir"),
        device="filesystem",
        type=attribute(each, "type") or "mount",
        source=attribute(child(each, "source"), "dir", "file", "dev", "name", "pool", "socket", "usage"),
        format=attribute(child(each, "driver"), "type"),
        readonly=child(each, "readonly") is not None,
    )


def _nic(nic: Element) -> VmNic:
    source = child(nic, "source")
    kind = attribute(nic, "type")
    address = child(source, "address")
    if kind == "hostdev" and address is not None:
        parts = (attribute(address, key).removeprefix("0x") for key in ("domain", "bus", "slot", "function"))
        plugged = "{}:{}:{}.{}".format(*parts)
    else:
        # A running NIC of a network also names the bridge: the network is what the operator chose.
        plugged = attribute(source, "network", "bridge", "dev", "path", "name", "address", "switchid")
    addresses = tuple(found for ip in children(nic, "ip") if (found := attribute(ip, "address")))
    return VmNic(
        mac=attribute(child(nic, "mac"), "address").lower(),
        type=kind,
        source=plugged,
        model=attribute(child(nic, "model"), "type"),
        target=attribute(child(nic, "target"), "dev"),
        addresses=addresses,
        address_source="config" if addresses else "",
    )


def _graphics(each: Element) -> VmGraphics:
    listen = child(each, "listen")
    ports = (integer(attribute(each, name)) for name in ("port", "tlsPort"))
    return VmGraphics(
        type=attribute(each, "type"),
        listen=attribute(each, "listen") or attribute(listen, "address"),
        port=next((port for port in ports if port is not None and 0 < port < 65536), None),
        socket=attribute(each, "socket") or attribute(listen, "socket"),
    )


def _consoles(devices: Element | None) -> int:
    """libvirt repeats the first serial port as a console of target type `serial`: counted once."""
    serials = sum(1 for _ in children(devices, "serial"))
    targets = [attribute(child(each, "target"), "type") for each in children(devices, "console")]
    return max(serials, 1 if "serial" in targets else 0) + sum(1 for target in targets if target != "serial")


def _agent(devices: Element | None) -> bool | None:
    for channel in children(devices, "channel"):
        target = child(channel, "target")
        if attribute(target, "name") == _AGENT:
            return attribute(target, "state") == "connected"
    return None
