"""What an operator wants done: one small serialisable value per verb, for batch files, journal and audit.

An action says what, never how; `actions/` makes a `Plan` of it. Secrets and
big files are not in it: a `FileRef` names a local file and the hash that it had.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from virtfleet.model.action_base import Bytes, Count, _Action, _VmAction
from virtfleet.model.action_base import FileRef as FileRef
from virtfleet.model.action_base import VmRef as VmRef
from virtfleet.model.action_hosts import DisableHost as DisableHost
from virtfleet.model.action_hosts import DrainHosts as DrainHosts
from virtfleet.model.action_hosts import EnableHost as EnableHost
from virtfleet.model.action_hosts import UndrainHosts as UndrainHosts
from virtfleet.model.action_moving import MigrateVm as MigrateVm
from virtfleet.model.action_moving import SettleVm as SettleVm
from virtfleet.model.action_storage import PoolAction
from virtfleet.model.action_volumes import (
    AttachVolume,
    CloneVolume,
    CreateVolume,
    DeleteVolume,
    DetachVolume,
    DownloadVolume,
    ExtendVolume,
    UploadVolume,
)

# ---------------------------------------------------------------- power


class StartVm(_VmAction, frozen=True, kw_only=True, tag="vm.start"):
    """From shut off, or from its saved state if there is one."""

    paused: bool = False
    discard_saved: bool = False
    """Boot anew although a saved state exists; it is lost."""


class ShutdownVm(_VmAction, frozen=True, kw_only=True, tag="vm.shutdown"):
    """Asks the guest: by ACPI, then by its agent; powers off only when `force`."""

    wait: float = 60.0
    """Seconds the guest may take; after that the job fails and says so, or forces."""
    force: bool = False


class RebootVm(_VmAction, frozen=True, kw_only=True, tag="vm.reboot"):
    """Asks the guest to reboot."""


class ResetVm(_VmAction, frozen=True, kw_only=True, tag="vm.reset"):
    """The reset button: the guest is not asked."""


class PowerOffVm(_VmAction, frozen=True, kw_only=True, tag="vm.poweroff"):
    """Pulls the plug: the guest is not asked."""


class SuspendVm(_VmAction, frozen=True, kw_only=True, tag="vm.suspend"):
    """Stops its CPUs; it stays in memory."""


class ResumeVm(_VmAction, frozen=True, kw_only=True, tag="vm.resume"):
    pass


class SaveVm(_VmAction, frozen=True, kw_only=True, tag="vm.save"):
    """Memory to the host's disk (managed save), and off."""


class RestoreVm(_VmAction, frozen=True, kw_only=True, tag="vm.restore"):
    """Start from the saved state; refused when there is none."""


# ---------------------------------------------------------------- what it is


class SetAutostart(_VmAction, frozen=True, kw_only=True, tag="vm.autostart"):
    on: bool = True


class RenameVm(_VmAction, frozen=True, kw_only=True, tag="vm.rename"):
    name: str


class ResizeVm(_VmAction, frozen=True, kw_only=True, tag="vm.resize"):
    """By flavor, or by numbers; what is not given stays."""

    flavor: str = ""
    vcpus: Count | None = None
    memory: Bytes | None = None


class TagVm(_VmAction, frozen=True, kw_only=True, tag="vm.tag"):
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class DescribeVm(_VmAction, frozen=True, kw_only=True, tag="vm.describe"):
    """None: leave as it is."""

    title: str | None = None
    description: str | None = None


class AssignVm(_VmAction, frozen=True, kw_only=True, tag="vm.assign"):
    """To a project, with an empty name to none; `group` likewise. None: leave as it is."""

    project: str | None = None
    group: str | None = None


class ProtectVm(_VmAction, frozen=True, kw_only=True, tag="vm.protect"):
    """A protected VM refuses to be deleted, powered off, reset or reverted."""

    on: bool = True


class EditVm(_VmAction, frozen=True, kw_only=True, tag="vm.edit"):
    """Define it from this XML; refused when its XML is no longer the one that was edited."""

    xml: str
    was: str
    """The mark of the definition that the editor was given."""


class DeleteVm(_VmAction, frozen=True, kw_only=True, tag="vm.delete"):
    """Definition, snapshots, NVRAM and saved state; and of its disks those named in `volumes`."""

    volumes: Literal["none", "own"] | tuple[str, ...] = "none"
    """`own`: every disk that no other VM and no other image stands on; else targets: vda, vdb."""
    force: bool = False
    """Power it off first if it runs."""


# ---------------------------------------------------------------- snapshots, devices


class CreateSnapshot(_VmAction, frozen=True, kw_only=True, tag="vm.snapshot.create"):
    name: str
    description: str = ""
    disk_only: bool = False
    """Without memory, into overlay files (external); default: internal, with memory if it runs."""
    quiesce: bool = False
    """Have the guest agent freeze its filesystems meanwhile; refused without an agent."""


class RevertSnapshot(_VmAction, frozen=True, kw_only=True, tag="vm.snapshot.revert"):
    snapshot: str


class DeleteSnapshot(_VmAction, frozen=True, kw_only=True, tag="vm.snapshot.delete"):
    snapshot: str
    children: bool = False


class InsertMedia(_VmAction, frozen=True, kw_only=True, tag="vm.media.insert"):
    pool: str
    volume: str
    target: str = ""
    """Drive: sda; empty: the first CD-ROM drive."""


class EjectMedia(_VmAction, frozen=True, kw_only=True, tag="vm.media.eject"):
    target: str = ""


class AttachNic(_VmAction, frozen=True, kw_only=True, tag="vm.nic.attach"):
    network: str = ""
    bridge: str = ""
    """Exactly one of network and bridge."""
    model: str = ""
    """Empty: virtio, where the VM's other devices are."""
    mac: str = ""
    """Empty: made by us, unused in the fleet as far as is known."""


class DetachNic(_VmAction, frozen=True, kw_only=True, tag="vm.nic.detach"):
    mac: str


# ---------------------------------------------------------------- create, clone


class Seed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What cloud-init in the guest is told, by a NoCloud disk."""

    ssh_keys: tuple[str, ...] = ()
    """Public keys, whole lines."""
    user_data: FileRef | None = None
    network_config: FileRef | None = None
    hostname: str = ""
    """Empty: the VM's name."""
    user: str = ""
    """Who gets the keys; empty: the image's user, else the distribution's default."""


class CreateVm(_Action, frozen=True, kw_only=True, tag="vm.create"):
    """One VM. From an image, an installer ISO, given XML, or (containers) a root folder or tarball."""

    name: str
    host: str = ""
    """Empty: chosen, with the reason."""
    zone: str = ""
    flavor: str = ""
    vcpus: Count | None = None
    memory: Bytes | None = None
    disk: Bytes | None = None
    """Of the first disk; None: the flavor's, or the image's own size."""
    image: str = ""
    """Name of an image of the fleet file, a local path, an http(s) URL, or POOL/VOLUME on the host."""
    checksum: str = ""
    """sha256:HEX that the image must have."""
    copy: bool = False
    """A full copy of the image instead of an overlay on it."""
    iso: str = ""
    """Install from this: local path, http(s) URL, or POOL/VOLUME."""
    xml: FileRef | None = None
    """Define this XML as it is (name and UUID are ours)."""
    root: str = ""
    """Container: a folder on the host, or a local tarball to unpack there."""
    pool: str = ""
    """For its disks; empty: chosen on the host, with the reason."""
    networks: tuple[str, ...] = ()
    """One NIC each: NETWORK, or bridge:NAME; empty: none."""
    firmware: Literal["", "bios", "efi"] = ""
    seed: Seed | None = None
    project: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    protected: bool = False
    autostart: bool = False
    start: bool = True
    ready: Literal["running", "address", "ssh"] = "running"
    """When the job is done: it runs; an address is known; the guest's SSH server answers."""
    ready_within: float = 300.0
    """Seconds that this may take."""


class CloneVm(_VmAction, frozen=True, kw_only=True, tag="vm.clone"):
    """A copy on the same host: new UUID, MACs and seed."""

    name: str
    linked: bool = False
    """Overlays on the original's disks, which then must not be written to: only of a VM that is off."""
    pool: str = ""
    start: bool = False
    seed: Seed | None = None
    """None: a seed like the original's, with the new name, if it had one of ours."""


Action = (
    StartVm
    | ShutdownVm
    | RebootVm
    | ResetVm
    | PowerOffVm
    | SuspendVm
    | ResumeVm
    | SaveVm
    | RestoreVm
    | SetAutostart
    | RenameVm
    | ResizeVm
    | TagVm
    | DescribeVm
    | AssignVm
    | ProtectVm
    | EditVm
    | DeleteVm
    | CreateSnapshot
    | RevertSnapshot
    | DeleteSnapshot
    | InsertMedia
    | EjectMedia
    | AttachNic
    | DetachNic
    | CreateVm
    | CloneVm
    | DisableHost
    | EnableHost
    | DrainHosts
    | UndrainHosts
    | MigrateVm
    | SettleVm
    | CreateVolume
    | DeleteVolume
    | CloneVolume
    | ExtendVolume
    | UploadVolume
    | DownloadVolume
    | AttachVolume
    | DetachVolume
    | PoolAction
)


def verb_of(action: Action) -> str:
    """Its tag: vm.start, vm.create ..."""
    return str(type(action).__struct_config__.tag)
