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

    seers: tuple[tuple[HostView, frozenset[str]], ...]
    """Each host that sees its storage, with the names of its pools there."""
    names: frozenset[str]
    paths: frozenset[str]


def volume_of(disk: VmDisk, host: HostView) -> Volume | None:
    """The volume that a disk is; None: it is none of a pool that is known."""
    if not disk.source:
        return None
    for volume in host.volumes:
        if disk.type == "volume" and disk.source == f"{volume.pool}/{volume.name}":
            return volume
        if volume.path and volume.path == disk.source:
            return volume
    return None


def volume_named(host: HostView, pool: str, name: str) -> Volume | None:
    return next((each for each in host.volumes if (each.pool, each.name) == (pool, name)), None)


def pool_named(host: HostView, name: str) -> Pool | None:
    return next((each for each in host.pools if each.name == name), None)


def is_shared(volume: Volume, host: HostView) -> bool:
    """Whether other hosts may see it: its storage is not known to be this host's alone."""
    pool = pool_named(host, volume.pool)
    return pool is not None and bool(pool.identity) and not pool.identity.startswith(_LOCAL)


def everywhere(volume: Volume, host: HostView, snapshot: FleetSnapshot) -> Volumes:
    """The volume on all hosts that see it."""
    pool = pool_named(host, volume.pool)
    identity = pool.identity if pool is not None else ""
    seers: list[tuple[HostView, frozenset[str]]] = []
    paths = {volume.path} - {""}
    for each in snapshot.hosts.values():
        if each.name == host.name:
            own = {other.name for other in each.pools if identity and other.identity == identity}
            seers.append((each, frozenset(own | {volume.pool})))
            continue
        pools = frozenset(other.name for other in each.pools if identity and other.identity == identity)
        if pools:
            seers.append((each, pools))
            paths |= {
                other.path
                for other in each.volumes
                if other.name == volume.name and other.pool in pools and other.path
            }
    return Volumes(tuple(seers), frozenset({volume.name}), frozenset(paths))


def is_on(disk: VmDisk, volume: Volumes, pools: frozenset[str]) -> bool:
    """Whether a disk of a VM on a host with these pools of the storage is that volume."""
    source = disk.source
    if not source:
        return False
    if disk.type == "volume":
        pool, _, name = source.partition("/")
        return pool in pools and name in volume.names
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
    if not is_shared(volume, host):
        return []
    pool = pool_named(host, volume.pool)
    identity = pool.identity if pool is not None else ""
    return [
        each.name
        for each in snapshot.hosts.values()
        if not each.state.answers
        and (not each.pools or any(other.identity == identity for other in each.pools))
    ]
