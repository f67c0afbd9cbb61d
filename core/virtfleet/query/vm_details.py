"""The fields of how a VM is made: its description, devices and settings. They stand behind those of
`virtfleet.query.vms`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from virtfleet.model import VmDisk, VmGraphics, VmInfo
from virtfleet.query.field import Field, Unit
from virtfleet.query.numbers import ranges
from virtfleet.query.rows import VmRow

T = TypeVar("T")


def word_of(get: Callable[[VmInfo], T]) -> Callable[[VmRow], T | None]:
    """A getter over the description; None where it is empty."""
    return lambda row: get(row.vm.info) or None


def _unique(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))


def _disk(disk: VmDisk) -> str:
    return f"{disk.target}={disk.source}" if disk.source else disk.target


def _display(graphics: VmGraphics) -> str:
    if graphics.socket:
        return f"{graphics.type}+unix://{graphics.socket}"
    if graphics.port is None or graphics.port < 0:
        return graphics.type
    listen = f"[{graphics.listen}]" if ":" in graphics.listen else graphics.listen
    return f"{graphics.type}://{listen}:{graphics.port}"


def _pinned(row: VmRow) -> tuple[str, ...]:
    return tuple(f"{ranges(pin.vcpus)}={ranges(pin.cpus)}" for pin in row.vm.info.pinned)


DETAILS: tuple[Field[VmRow], ...] = (
    Field(
        "memory_max",
        "MEM MAX",
        Unit.BYTES,
        "Memory it may grow to.",
        word_of(lambda i: i.memory_max),
        priority=8,
    ),
    Field(
        "vcpus_max",
        "VCPU MAX",
        Unit.COUNT,
        "Virtual CPUs it may grow to.",
        word_of(lambda i: i.vcpus_max),
        priority=8,
    ),
    Field("uuid", "UUID", Unit.TEXT, "Its UUID.", lambda row: row.vm.info.uuid, width=36, priority=9),
    Field("title", "TITLE", Unit.TEXT, "Short title.", word_of(lambda i: i.title), width=20, priority=8),
    Field(
        "description",
        "DESCRIPTION",
        Unit.TEXT,
        "Free description.",
        word_of(lambda i: i.description),
        width=30,
        priority=9,
    ),
    Field(
        "persistent",
        "PERSISTENT",
        Unit.BOOL,
        "Whether it is still defined when it is off.",
        lambda row: row.vm.info.persistent,
        width=10,
        priority=9,
    ),
    Field(
        "autostart",
        "AUTO",
        Unit.BOOL,
        "Whether it starts with its host.",
        lambda row: row.vm.info.autostart,
        width=4,
        priority=8,
    ),
    Field(
        "agent",
        "AGENT",
        Unit.BOOL,
        "Guest agent: yes if connected, no if silent, unknown if it has none.",
        lambda row: row.vm.info.agent,
        width=5,
        priority=8,
    ),
    Field("arch", "ARCH", Unit.TEXT, "Its architecture.", word_of(lambda i: i.arch), width=8, priority=9),
    Field(
        "machine",
        "MACHINE",
        Unit.TEXT,
        "Its machine type.",
        word_of(lambda i: i.machine),
        width=16,
        priority=9,
    ),
    Field(
        "os_type",
        "TYPE",
        Unit.TEXT,
        "hvm, exe (LXC), xen, linux.",
        word_of(lambda i: i.os_type),
        width=5,
        priority=9,
    ),
    Field("firmware", "FIRMWARE", Unit.TEXT, "bios or efi.", word_of(lambda i: i.firmware), priority=9),
    Field(
        "cpu_mode",
        "CPU MODE",
        Unit.TEXT,
        "How its CPU is chosen.",
        word_of(lambda i: i.cpu_mode),
        width=16,
        priority=9,
    ),
    Field(
        "cpu_model",
        "CPU MODEL",
        Unit.TEXT,
        "Model it is shown.",
        word_of(lambda i: i.cpu_model),
        width=16,
        priority=9,
    ),
    Field(
        "disks",
        "DISKS",
        Unit.LIST,
        "Its disks as target=source.",
        lambda row: tuple(_disk(disk) for disk in row.vm.info.disks),
        width=30,
        priority=9,
    ),
    Field(
        "networks",
        "NETWORKS",
        Unit.LIST,
        "Networks, bridges and devices that it is plugged into.",
        lambda row: _unique([nic.source for nic in row.vm.info.nics]),
        width=14,
        priority=8,
    ),
    Field(
        "macs",
        "MAC",
        Unit.LIST,
        "Hardware addresses of its network cards.",
        lambda row: _unique([nic.mac for nic in row.vm.info.nics]),
        width=17,
        priority=9,
    ),
    Field(
        "displays",
        "DISPLAY",
        Unit.LIST,
        "Its screens as seen from its host: vnc://127.0.0.1:5900.",
        lambda row: tuple(_display(each) for each in row.vm.info.graphics),
        width=22,
        priority=9,
    ),
    Field(
        "pinned",
        "PINNED",
        Unit.LIST,
        "vCPUs that may run on some CPUs of the host alone: 0=4 1=5, or 0-3=0-15.",
        _pinned,
        width=12,
        priority=9,
    ),
    Field(
        "pci",
        "PCI",
        Unit.LIST,
        "Addresses of the host's PCI devices that it is given whole.",
        lambda row: row.vm.info.pci,
        width=12,
        priority=9,
    ),
    Field(
        "consoles",
        "CONSOLES",
        Unit.COUNT,
        "Serial or paravirtual consoles it has.",
        lambda row: row.vm.info.consoles,
        priority=9,
    ),
    Field(
        "snapshots",
        "SNAPS",
        Unit.COUNT,
        "Snapshots it has.",
        lambda row: row.vm.info.snapshots,
        width=5,
        priority=8,
    ),
    Field(
        "managed_save",
        "SAVED",
        Unit.BOOL,
        "Whether its memory is saved and comes back with its next start.",
        lambda row: row.vm.info.managed_save,
        width=5,
        priority=9,
    ),
    Field(
        "protected",
        "PROTECTED",
        Unit.BOOL,
        "Whether it refuses to be destroyed.",
        lambda row: row.vm.info.protected,
        width=9,
        priority=9,
    ),
    Field(
        "tied",
        "TIED",
        Unit.LIST,
        "What ties it to its host, so that it can't be moved: a USB device, a vGPU, the host's TPM.",
        lambda row: row.vm.info.tied,
        width=20,
        priority=9,
    ),
    Field(
        "drained_from",
        "LEFT",
        Unit.LIST,
        "Hosts that it left when they were drained, the last one at the end.",
        lambda row: row.vm.info.drained_from,
        width=12,
        priority=9,
    ),
    Field(
        "ha_priority",
        "HA",
        Unit.COUNT,
        "Order of evacuation when its host dies.",
        lambda row: row.vm.info.ha_priority,
        width=4,
        priority=9,
    ),
)
