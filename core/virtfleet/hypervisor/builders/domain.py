"""A domain's XML from a `VmSpec`: the best that the host offers, virtio before all else. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lxml import etree

from virtfleet.errors import RefusedError
from virtfleet.hypervisor.builders.offers import Offers
from virtfleet.hypervisor.builders.tying import tie
from virtfleet.hypervisor.views import vmdata
from virtfleet.hypervisor.views.safexml import Element
from virtfleet.model.spec import DiskSpec, NicSpec, VmSpec

_KIB = 1024
_AGENT = "org.qemu.guest_agent.0"
_X86 = ("x86_64", "i686")


def domain_xml(
    spec: VmSpec, offer: Offers, paths: Mapping[tuple[str, str], str], claim: vmdata.Claim | None
) -> str:
    """`paths`: of the disks' volumes, by (pool, volume). RefusedError: the host does not offer it."""
    root = etree.Element("domain", type=offer.kind)
    _add(root, "name", spec.name)
    _add(root, "uuid", spec.uuid)
    if spec.title:
        _add(root, "title", spec.title)
    if spec.description:
        _add(root, "description", spec.description)
    _metadata(root, spec, claim)
    _add(root, "memory", str(max(1, spec.memory // _KIB)), unit="KiB")
    _add(root, "currentMemory", str(max(1, spec.memory // _KIB)), unit="KiB")
    _add(root, "vcpu", str(spec.vcpus))
    if spec.kind == "container":
        _container(root, spec, offer)
    else:
        _machine(root, spec, offer, paths)
        tie(root, spec.tied)
    return str(etree.tostring(root, encoding="unicode", pretty_print=True))


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    made = etree.SubElement(parent, tag, attributes)
    if text:
        made.text = text
    return made


def _metadata(root: Element, spec: VmSpec, claim: vmdata.Claim | None) -> None:
    ours = vmdata.made(
        {"project": spec.project, "flavor": spec.flavor, "group": spec.group},
        spec.tags,
        protected=spec.protected,
        kept_free=spec.tied.kept_free,
    )
    if ours is None and claim is None:
        return
    metadata = _add(root, "metadata")
    if ours is not None:
        metadata.append(vmdata.namespaced(ours, vmdata.VM, vmdata.PREFIX))
    if claim is not None:
        metadata.append(vmdata.namespaced(vmdata.claim_xml(claim), vmdata.JOB, vmdata.JOB_PREFIX))


def _container(root: Element, spec: VmSpec, offer: Offers) -> None:
    os = _add(root, "os")
    _add(os, "type", "exe")
    _add(os, "init", spec.init)
    _life(root)
    devices = _add(root, "devices")
    if offer.emulator:
        _add(devices, "emulator", offer.emulator)
    system = _add(devices, "filesystem", type="mount", accessmode="passthrough")
    _add(system, "source", dir=spec.root)
    _add(system, "target", dir="/")
    for nic in spec.nics:
        _nic(devices, nic, "")
    _add(devices, "console", type="pty")


def _machine(root: Element, spec: VmSpec, offer: Offers, paths: Mapping[tuple[str, str], str]) -> None:
    if spec.firmware == "efi" and not offer.efi:
        raise RefusedError("the host has no UEFI firmware for guests", cure="install OVMF there, or use BIOS")
    os = _add(root, "os")
    if spec.firmware == "efi":
        os.set("firmware", "efi")
    kind = _add(os, "type", "hvm", arch=spec.arch or offer.arch)
    if offer.machine:
        kind.set("machine", offer.machine)
    if offer.arch in _X86:
        features = _add(root, "features")
        _add(features, "acpi")
        _add(features, "apic")
    if offer.cpu and spec.arch in ("", offer.arch):
        _add(root, "cpu", mode=offer.cpu)
    _add(root, "clock", offset="utc")
    _life(root)
    devices = _add(root, "devices")
    if offer.emulator:
        _add(devices, "emulator", offer.emulator)
    taken: dict[str, int] = {}
    for order, disk in enumerate(spec.disks, 1):
        _disk(devices, disk, offer, paths[disk.pool, disk.volume], taken, order)
    virtio = "virtio" if "virtio" in offer.buses else ""
    for nic in spec.nics:
        _nic(devices, nic, virtio)
    _add(_add(devices, "serial", type="pty"), "target", port="0")
    _add(_add(devices, "console", type="pty"), "target", type="serial", port="0")
    if offer.kind in ("kvm", "qemu") and virtio:
        _add(_add(devices, "channel", type="unix"), "target", type="virtio", name=_AGENT)
        _add(devices, "memballoon", model="virtio")
        if offer.rng:
            _add(_add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    if offer.vnc:
        _add(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
        if offer.video:
            _add(_add(devices, "video"), "model", type=offer.video)


def _life(root: Element) -> None:
    _add(root, "on_poweroff", "destroy")
    _add(root, "on_reboot", "restart")
    _add(root, "on_crash", "destroy")


def _disk(
    devices: Element, disk: DiskSpec, offer: Offers, path: str, taken: dict[str, int], order: int
) -> None:
    bus = disk.bus or _bus(disk, offer)
    prefix = {"virtio": "vd", "ide": "hd"}.get(bus, "sd")
    letter = "abcdefghijklmnopqrstuvwxyz"[taken.setdefault(prefix, 0)]
    taken[prefix] += 1
    made = _add(devices, "disk", type="file", device=disk.device)
    _add(made, "driver", name="qemu", type=disk.format)
    _add(made, "source", file=path)
    _add(made, "target", dev=f"{prefix}{letter}", bus=bus)
    if disk.device == "cdrom":
        _add(made, "readonly")
    _add(made, "boot", order=str(order))


def _bus(disk: DiskSpec, offer: Offers) -> str:
    wanted = ("sata", "scsi", "ide") if disk.device == "cdrom" else ("virtio", "sata", "scsi", "ide")
    return next((bus for bus in wanted if bus in offer.buses), wanted[0])


def _nic(devices: Element, nic: NicSpec, virtio: str) -> None:
    made = _add(devices, "interface", type="network" if nic.network else "bridge")
    _add(made, "mac", address=nic.mac)
    if nic.network:
        _add(made, "source", network=nic.network)
    else:
        _add(made, "source", bridge=nic.bridge)
    if model := nic.model or virtio:
        _add(made, "model", type=model)
