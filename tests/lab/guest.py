"""What runs on the lab's hosts: QEMU guests with an operating system, empty ones for counting, containers.

The definitions a host starts with are kept in its folder: they are the baseline that `lab.heal` goes
back to.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab import image, settings
from lab.errors import LabError
from lab.host import LabHost
from lab.run import run

QEMU = "qemu:///system"
LXC = "lxc:///system"

_DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
{boot}
  </os>
  <features><acpi/><apic/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
{devices}
    <controller type='usb' model='none'/>
    <memballoon model='{balloon}'/>
  </devices>
</domain>
"""

_BOOT_DISK = "    <boot dev='hd'/>"
_BOOT_DIRECT = f"""\
    <kernel>/srv/boot/vmlinuz</kernel>
    <initrd>/srv/boot/initrd</initrd>
    <cmdline>{image.COMMAND_LINE}</cmdline>"""

_OS_DEVICES = """\
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='network'>
      <mac address='{mac}'/>
      <source network='default'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='pty'><log file='{console}'/></serial>
    <console type='pty'><target type='serial'/></console>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"""

_CONTAINER = """\
<domain type='lxc'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type>exe</type><init>/init</init></os>
  <features><privnet/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <filesystem type='mount'><source dir='{root}'/><target dir='/'/></filesystem>
    <console type='pty'/>
  </devices>
</domain>
"""

_CONTAINER_INIT = """\
#!/bin/sh
hostname {name}
echo "container {name} is up"
while :; do /bin/sleep 60; done
"""


@dataclass(frozen=True)
class Guest:
    """One guest of the baseline."""

    name: str
    uri: str
    """The driver it belongs to, QEMU or LXC."""
    running: bool
    xml: str
    disk: str = ""
    """Path on the host of the disk made for it; empty without one."""
    digest: str = ""
    """Of the definition as libvirt completed it, to see whether a test changed it."""


def mac(host: LabHost, number: int) -> str:
    """A hardware address that no other guest of any lab has."""
    return f"52:54:00:{host.record.slot:02x}:{host.record.index(host.name):02x}:{number:02x}"


def console_log(name: str) -> str:
    """Where, on its host, all that a guest says on its serial console is kept."""
    return f"/var/log/libvirt/qemu/{name}-console.log"


def console_text(host: LabHost, name: str) -> str:
    """What a guest with an operating system has said on its serial console since it was made."""
    try:
        return host.inside(console_log(name)).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def address(host: LabHost, name: str) -> str | None:
    """The address a guest has by DHCP, None as long as it has none."""
    found = re.search(r"(\d+\.\d+\.\d+\.\d+)/", host.virsh(f"domifaddr {name}"))
    return found.group(1) if found else None


def _domain(
    host: LabHost,
    name: str,
    *,
    boot: str,
    devices: str,
    memory: int,
    balloon: str,
    running: bool,
    disk: str = "",
) -> Guest:
    xml = _DOMAIN.format(
        name=name, uuid=settings.stable_uuid(host.record, name), memory=memory, vcpus=1, boot=boot,
        devices=devices, balloon=balloon,
    )  # fmt: skip
    return Guest(name, QEMU, running, xml, disk)


def os_guest(
    host: LabHost,
    name: str,
    number: int,
    disk: str,
    *,
    memory: int = 96,
    running: bool = True,
    direct: bool = True,
) -> Guest:
    """A guest that boots to a login on its serial console.

    `disk`: its disk, a path on the host. `direct`: QEMU loads the kernel (5 s to the login, and half the work
    for the machine); else the guest boots from its disk as real ones do (10 s).
    """
    devices = _OS_DEVICES.format(disk=disk, mac=mac(host, number), console=console_log(name))
    return _domain(
        host, name, boot=_BOOT_DIRECT if direct else _BOOT_DISK, devices=devices, memory=memory,
        balloon="virtio", running=running, disk=disk,
    )  # fmt: skip


def empty_guest(host: LabHost, name: str, *, memory: int = 16, running: bool = True) -> Guest:
    """A guest without disk, network or operating system: the cheapest thing that counts as a VM."""
    return _domain(
        host, name, boot=_BOOT_DISK, devices="    <serial type='pty'/>", memory=memory, balloon="none",
        running=running,
    )  # fmt: skip


def container(host: LabHost, name: str) -> Guest:
    """An LXC container from a busybox root, which is made here."""
    root = host.folder / "srv" / "containers" / name
    for path in ("bin", "dev", "proc", "sys", "tmp", "etc"):
        (root / path).mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in ("sh", "sleep", "hostname", "ls", "cat", "echo", "ps"):
        link = root / "bin" / applet
        if not link.is_symlink():
            link.symlink_to("busybox")
    (root / "init").write_text(_CONTAINER_INIT.format(name=name))
    (root / "init").chmod(0o755)
    xml = _CONTAINER.format(
        name=name, uuid=settings.stable_uuid(host.record, name), root=f"/srv/containers/{name}"
    )
    return Guest(name, LXC, True, xml)


def baseline(host: LabHost) -> list[Guest]:
    """The guests the host was given when the lab was built."""
    try:
        raw = json.loads((host.folder / "guests.json").read_text())
    except FileNotFoundError:
        return []
    return [Guest(**entry) for entry in raw]


def populate(host: LabHost, guests: Sequence[Guest]) -> None:
    """Define the guests, start those that should run, and remember them as the host's baseline."""
    made = []
    for uri in (QEMU, LXC):
        chosen = [each for each in guests if each.uri == uri]
        if not chosen:
            continue
        for each in chosen:
            _leave(host, each)
        defined = [f"define /tmp/{each.name}.xml" for each in chosen]
        started = [f"start {each.name}" for each in chosen if each.running]
        try:
            host.virsh(*defined, *started, uri=uri, timeout=60 + 5 * len(chosen))
        except LabError as error:
            if uri == QEMU:
                raise
            # A lab without containers is still a lab: control groups differ too much between machines.
            host.warn(f"no LXC container: {error}")
            continue
        step_back(host)
        found = definitions(host, uri, [each.name for each in chosen])
        made += [replace(each, digest=digest(xml)) for each, xml in zip(chosen, found, strict=True)]
    (host.folder / "guests.json").write_text(json.dumps([asdict(each) for each in made]))


def step_back(host: LabHost) -> None:
    """Let the host's daemons run before its guests: an emulated boot takes all the processor it gets."""
    for pid in host.pids("qemu-system-x86_64"):
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PGRP, os.getpgid(pid), 10)


def define(host: LabHost, each: Guest) -> None:
    """Define a guest as the baseline has it."""
    _leave(host, each)
    host.virsh(f"define /tmp/{each.name}.xml", uri=each.uri)


def _leave(host: LabHost, each: Guest) -> None:
    """Put the definition where the host's virsh can read it: its /tmp is a folder of ours."""
    (host.folder / "tmp" / f"{each.name}.xml").write_text(each.xml)


def definitions(host: LabHost, uri: str, names: Sequence[str]) -> list[str]:
    """The persistent definitions of some guests, in one call."""
    if not names:
        return []
    text = host.virsh(*(f"dumpxml --inactive {name}" for name in names), uri=uri)
    return [part + "</domain>" for part in text.split("</domain>")[: len(names)]]


def digest(definition: str) -> str:
    """What tells one definition from another, blank space aside."""
    return hashlib.sha256(" ".join(definition.split()).encode()).hexdigest()


def install_boot_files(host: LabHost, built: image.GuestImage) -> None:
    """Put the kernel where guests with a direct boot expect it, on every host alike: they may migrate."""
    folder = host.folder / "srv" / "boot"
    folder.mkdir(exist_ok=True)
    for source in (built.kernel, built.initrd):
        target = folder / source.name
        if target.exists():
            continue
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copy(source, target)


def copy_disk(host: LabHost, source: Path, target: str) -> None:
    """Give a guest a disk of its own: a copy at `target`, a path on the host (which is on)."""
    run(["cp", "--sparse=always", str(source), str(host.inside(target))])
