"""What an operator wants done to storage pools. Secrets are not in it: an action says where one is."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from virtfleet.model.action_base import _Action

HostNames = Annotated[tuple[str, ...], Meta(min_length=1)]


class PoolRef(msgspec.Struct, frozen=True, gc=False):
    """One host's pool and no other: two pools of one name on two hosts are never mixed up."""

    host: str
    uuid: str = ""
    """Empty: the one of that name, as in files that people write."""
    name: str = ""

    @property
    def label(self) -> str:
        return f"{self.name or self.uuid}@{self.host}"


PoolRefs = Annotated[tuple[PoolRef, ...], Meta(min_length=1)]


class PoolSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a pool's storage comes from; which of it is needed, its type says."""

    hosts: tuple[str, ...] = ()
    """Servers: NAME, ADDRESS or either with :PORT."""
    path: str = ""
    """Exported folder; of gluster a folder in the volume."""
    name: str = ""
    """Volume group, Ceph pool, Gluster volume, ZFS pool."""
    devices: tuple[str, ...] = ()
    """Block devices of the host; of iSCSI the target's IQN."""
    format: str = ""
    """ext4, nfs, glusterfs, lvm2, gpt ... Empty: the type's own."""
    initiator: str = ""
    """Of iSCSI: the IQN under which the host logs in."""
    adapter: str = ""
    """Of scsi: host5."""


class PoolAuth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user: str
    secret: str
    """Where it is: env:NAME, file:PATH (mode 0600) or prompt. Never the secret itself."""


class CreatePool(_Action, frozen=True, kw_only=True, tag="pool.create"):
    """The same pool on one host or several: defined, started, and from then on with its host."""

    name: str
    hosts: HostNames
    type: str
    """dir, fs, netfs, logical, disk, iscsi, iscsi-direct, scsi, mpath, gluster, rbd, zfs."""
    target: str = ""
    """Folder on the host; empty: the type has none, or a usual one."""
    source: PoolSource = PoolSource()
    auth: PoolAuth | None = None
    build: Literal["folder", "new", "overwrite"] = "folder"
    """`folder`: the target's folder if it lacks. `new`: also the filesystem, volume group or label, where
    there is no data. `overwrite`: the same over whatever is there."""
    start: bool = True
    autostart: bool = True


class _PoolAction(_Action, frozen=True, kw_only=True):
    pools: PoolRefs
    """Pools of one storage, one for each host that it is done on; or several storages."""


class StartPool(_PoolAction, frozen=True, kw_only=True, tag="pool.start"):
    pass


class StopPool(_PoolAction, frozen=True, kw_only=True, tag="pool.stop"):
    """Its data stay. Refused while VMs run that would lose their disks."""


class RefreshPool(_PoolAction, frozen=True, kw_only=True, tag="pool.refresh"):
    """Have libvirt look what is in it, on every host that sees it."""


class AutostartPool(_PoolAction, frozen=True, kw_only=True, tag="pool.autostart"):
    on: bool = True


class BuildPool(_PoolAction, frozen=True, kw_only=True, tag="pool.build"):
    """Makes what the pool is to stand on: folder, filesystem, volume group, label. It must be inactive."""

    overwrite: bool = False
    """Also over data that is there; it is lost."""


class ResizePool(_PoolAction, frozen=True, kw_only=True, tag="pool.resize"):
    """Lets it use all that its device has, or one device more."""

    device: str = ""
    """Of a volume group: to be added. Empty: the devices it has have grown."""


class DeletePool(_PoolAction, frozen=True, kw_only=True, tag="pool.delete"):
    """`refuse`: only when it is empty, or when its data are not its hosts' own and others keep them."""

    volumes: Literal["refuse", "keep", "delete"] = "refuse"


PoolAction = (
    CreatePool | StartPool | StopPool | RefreshPool | AutostartPool | BuildPool | ResizePool | DeletePool
)
