"""What an operator wants done to volumes."""

from __future__ import annotations

from typing import Literal

import msgspec

from virtfleet.model.action_base import Bytes, FileRef, VmRef, _Action


class VolumeRef(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One volume, seen from one host."""

    host: str
    pool: str
    name: str

    @property
    def label(self) -> str:
        return f"{self.pool}/{self.name}@{self.host}"


class _VolumeAction(_Action, frozen=True, kw_only=True):
    volume: VolumeRef


class CreateVolume(_Action, frozen=True, kw_only=True, tag="volume.create"):
    """An empty one, in the pool that is named or in the best of its type."""

    name: str
    size: Bytes
    pool: str = ""
    """Empty: chosen, with the reason; when that fails in the middle, the next is tried."""
    host: str = ""
    type: str = ""
    """Of the fleet file's volume types."""
    format: Literal["", "qcow2", "raw"] = ""
    """Empty: qcow2 where volumes are files, else raw."""
    project: str = ""


class DeleteVolume(_VolumeAction, frozen=True, kw_only=True, tag="volume.delete"):
    """Refused while a VM has it or another volume stands on it."""


class CloneVolume(_VolumeAction, frozen=True, kw_only=True, tag="volume.clone"):
    """A copy on the same host that stands on nothing."""

    name: str
    pool: str = ""
    """Empty: where the original is; with `type` chosen among those of the host."""
    type: str = ""
    format: Literal["", "qcow2", "raw"] = ""
    """Empty: as the original."""
    project: str = ""


class ExtendVolume(_VolumeAction, frozen=True, kw_only=True, tag="volume.extend"):
    """To this size in all; a running VM that has it is told."""

    size: Bytes


class UploadVolume(_Action, frozen=True, kw_only=True, tag="volume.upload"):
    """A local file as a new volume."""

    file: FileRef
    name: str
    pool: str
    host: str
    format: Literal["", "qcow2", "raw", "iso"] = ""
    """What it must be; empty: what its content says."""
    checksum: str = ""
    """sha256:HEX that the file must have."""
    project: str = ""


class DownloadVolume(_VolumeAction, frozen=True, kw_only=True, tag="volume.download"):
    """Into a local file that is not there yet."""

    path: str


class AttachVolume(_VolumeAction, frozen=True, kw_only=True, tag="volume.attach"):
    """As a disk of a VM, now if it runs and from its next boot on."""

    vm: VmRef
    bus: Literal["virtio", "scsi"] = "virtio"
    serial: str = ""
    """By which its guest finds it (/dev/disk/by-id/virtio-SERIAL); empty: made of its name."""
    readonly: bool = False
    shareable: bool = False
    """Others may have it at the same time, and write to it: their guests must know how."""


class DetachVolume(_VolumeAction, frozen=True, kw_only=True, tag="volume.detach"):
    vm: VmRef
