"""Who stands on a volume: VMs and other volumes, on every host that sees its storage.

A storage may be seen from several hosts, under another path on each; a path
on two hosts may be two different storages. Pools with the same identity are
the same storage, and a volume is known by every path under which one of them
has it. When in doubt a volume counts as used.
"""

from __future__ import annotations

from typing import NamedTuple

from virtfleet.model import FleetSnapshot, HostView, Pool, Vm, VmDisk, Volume

_LOCAL = "local:"


class User(NamedTuple):
    """What stands on a volume."""

    text: str
    """web-02@hv1, or default/web-02.qcow2."""
    vm: bool


class Volumes(NamedTuple):
    """One volume as all hosts see it."""

    name: str
    seers: tuple[tuple[HostView, frozenset[str]], ...]
    """Each host that sees its storage, with the names of its pools there."""
    paths: frozenset[str]


class Dependant(NamedTuple):
    """A volume that stands on a disk of a VM, and so is ruined by what the VM writes there."""

    target: str
    """Of the disk: vda."""
    overlay: str
    """POOL/NAME."""
    users: tuple[str, ...]
    """NAME@HOST of the VMs that have it; none: nobody that is known."""


def volume_of(disk: VmDisk, host: HostView) -> Volume | None:
    """The volume that a disk is; None: it is none of a pool that is known."""
    for volume in host.volumes:
        if disk.type == "volume" and disk.source == f"{volume.pool}/{volume.name}":
            return volume
        if volume.path and volume.path == disk.source:
            return volume
    return None


def volume_named(host: HostView, pool: str, name: str) -> Volume | None:
    return next((each for each in host.volumes if (each.pool, each.name) == (pool, name)), None)


def identity_of(volume: Volume, host: HostView) -> str:
    """Of its storage; empty: unknown."""
    pool: Pool | None = next((each for each in host.pools if each.name == volume.pool), None)
    return pool.identity if pool is not None else ""


def _is_same_folder(ours: Pool, here: HostView, other: Pool, there: HostView) -> bool:
    """Whether two local pools may be one folder of one machine, which calls itself the same on both.

    Two machines may do so, too; then a volume counts as used that is not, which harms nothing.
    """
    name = here.facts.hostname if here.facts is not None else ""
    return (
        here is not there
        and bool(name and ours.target)
        and there.facts is not None
        and there.facts.hostname == name
        and other.target == ours.target
        and ours.identity.startswith(_LOCAL)
        and other.identity.startswith(_LOCAL)
    )


def everywhere(volume: Volume, host: HostView, snapshot: FleetSnapshot) -> Volumes:
    """The volume on all hosts that see it; another connection to the same machine (LXC beside QEMU) sees it,
    too."""
    ours = next((each for each in host.pools if each.name == volume.pool), None)
    identity = ours.identity if ours is not None else ""
    seers: list[tuple[HostView, frozenset[str]]] = []
    paths = {volume.path} - {""}
    for each in snapshot.hosts.values():
        pools = frozenset(
            other.name
            for other in each.pools
            if (identity and other.identity == identity)
            or (ours is not None and _is_same_folder(ours, host, other, each))
        )
        if each.name == host.name:
            pools |= {volume.pool}
        if pools:
            seers.append((each, pools))
            paths |= {
                other.path
                for other in each.volumes
                if other.name == volume.name and other.pool in pools and other.path
            }
    return Volumes(volume.name, tuple(seers), frozenset(paths))


def is_on(disk: VmDisk, volume: Volumes, pools: frozenset[str]) -> bool:
    """Whether a disk of a VM on a host with these pools of the storage is that volume."""
    source = disk.source
    if not source:
        return False
    if disk.type == "volume":
        pool, _, name = source.partition("/")
        return pool in pools and name == volume.name
    if source in volume.paths:
        return True
    if disk.type == "network":  # rbd:pool/image, gluster:volume/file; pools have it with a server before it
        name = source.partition(":")[2]
        return bool(name) and any(path == name or path.endswith(f"/{name}") for path in volume.paths)
    return False


def vms_on(volume: Volume, host: HostView, snapshot: FleetSnapshot) -> list[tuple[HostView, Vm]]:
    """The VMs that have it among their disks."""
    found = everywhere(volume, host, snapshot)
    return [
        (seer, vm)
        for seer, pools in found.seers
        for vm in seer.vms
        if any(is_on(disk, found, pools) for disk in vm.info.disks)
    ]


def seen_from(seer: HostView, volume: Volume, host: HostView, snapshot: FleetSnapshot) -> Volume | None:
    """A volume of `host` as another host has it; None: that one does not see it."""
    for view, pools in everywhere(volume, host, snapshot).seers:
        if view.name == seer.name:
            return next((x for x in view.volumes if x.pool in pools and x.name == volume.name), None)
    return None


def writers(volume: Volume, host: HostView, snapshot: FleetSnapshot) -> list[tuple[HostView, Vm]]:
    """The VMs that run and may write to it."""
    found = everywhere(volume, host, snapshot)
    return [
        (seer, vm)
        for seer, pools in found.seers
        for vm in seer.vms
        if vm.state.active and any(is_on(disk, found, pools) and not disk.readonly for disk in vm.info.disks)
    ]


def overlays_of(volume: Volume, host: HostView, snapshot: FleetSnapshot) -> list[tuple[HostView, Volume]]:
    """The volumes whose backing file it is, each once."""
    found = everywhere(volume, host, snapshot)
    seen: dict[str, tuple[HostView, Volume]] = {}
    for seer, _ in found.seers:
        for each in seer.volumes:
            if each.backing in found.paths and each.path not in found.paths:
                seen.setdefault(each.name, (seer, each))
    return list(seen.values())


def user_of(volume: Volume, host: HostView, but: str, snapshot: FleetSnapshot) -> User | None:
    """What stands on a volume beside the VM `but` of its host; None: nothing that is known."""
    for seer, vm in vms_on(volume, host, snapshot):
        if (seer.name, vm.uuid) != (host.name, but):
            return User(f"{vm.name}@{seer.name}", True)
    for _, overlay in overlays_of(volume, host, snapshot):
        return User(f"{overlay.pool}/{overlay.name}", False)
    return None


def silent_seers(volume: Volume, host: HostView, snapshot: FleetSnapshot) -> list[str]:
    """Hosts that see its storage, or may, and do not answer: what their VMs use is not known now."""
    identity = identity_of(volume, host)
    if not identity or identity.startswith(_LOCAL):
        return []
    return [
        each.name
        for each in snapshot.hosts.values()
        if not each.state.answers
        and (not each.pools or any(other.identity == identity for other in each.pools))
    ]


def dependants(host: HostView, vm: Vm, snapshot: FleetSnapshot) -> list[Dependant]:
    """What stands on the disks that a VM writes to, but for its own overlays."""
    found = []
    for disk in vm.info.disks:
        if disk.device != "disk" or disk.readonly or (volume := volume_of(disk, host)) is None:
            continue
        for seer, overlay in overlays_of(volume, host, snapshot):
            users = vms_on(overlay, seer, snapshot)
            others = [(at, user) for at, user in users if (at.name, user.uuid) != (host.name, vm.uuid)]
            if others or not users:
                names = tuple(f"{user.name}@{at.name}" for at, user in others)
                found.append(Dependant(disk.target, f"{overlay.pool}/{overlay.name}", names))
    return found
