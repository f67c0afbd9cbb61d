"""Who uses a pool: VMs with disks in it and volumes that stand on its volumes, on every host that sees it.

When in doubt it counts as used: GlusterFS mounted on one host and spoken by
QEMU itself on another is one storage, and nothing proves it, so there a file
of the same name is enough.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import NamedTuple

from virtfleet.actions import storage
from virtfleet.model import FleetSnapshot, HostView, Pool, VmDisk, Volume

_LOCAL = "local:"
_MAYBE_ALIKE = ("gluster", "netfs")


class Use(NamedTuple):
    text: str
    """web-02@hv1, or default/web-02.qcow2."""
    host: str
    active: bool
    """A VM that is on."""


class _Seen(NamedTuple):
    """The storage as one host sees it."""

    host: HostView
    pools: frozenset[str]
    folders: tuple[str, ...]


def seers(host: HostView, pool: Pool, snapshot: FleetSnapshot) -> list[tuple[HostView, Pool]]:
    """All pools of the storage, this one first."""
    found = [(host, pool)]
    for each in snapshot.hosts.values():
        for other in each.pools:
            if (each.name, other.uuid) == (host.name, pool.uuid):
                continue
            if other.identity == pool.identity or (other.uuid == pool.uuid and same_machine(host, each)):
                found.append((each, other))
    return found


def same_machine(one: HostView, other: HostView) -> bool:
    """Whether two hosts of the fleet are one machine by two drivers (QEMU and LXC): their pools are one."""
    return (
        one.facts is not None
        and other.facts is not None
        and bool(one.facts.hostname)
        and one.facts.hostname == other.facts.hostname
    )


def silent(host: HostView, pool: Pool, snapshot: FleetSnapshot) -> list[str]:
    """Hosts that see it, or may, and do not answer."""
    return storage.silent_seers(Volume(pool=pool.name, name=""), host, snapshot)


def volumes_of(host: HostView, pool: Pool) -> list[Volume]:
    return [each for each in host.volumes if each.pool == pool.name]


def uses(host: HostView, pool: Pool, snapshot: FleetSnapshot) -> list[Use]:
    """Everything that stands on what is in it, each once."""
    members = seers(host, pool, snapshot)
    volumes = [volume for at, each in members for volume in volumes_of(at, each)]
    paths = {volume.path for volume in volumes} - {""}
    names = {volume.name for volume in volumes}
    found: dict[str, Use] = {}
    for seen in _seen(members):
        for vm in seen.host.vms:
            if any(_is_in(disk, seen, pool, paths) for disk in vm.info.disks):
                use = Use(f"{vm.name}@{seen.host.name}", seen.host.name, vm.state.active)
                found.setdefault(use.text, use)
        pools = seen.pools
        for other in seen.host.volumes:
            if other.pool not in pools and other.backing in paths:
                text = f"{other.pool}/{other.name}"
                found.setdefault(text, Use(text, seen.host.name, False))
    for use in _doubtful(pool, names, snapshot):
        found.setdefault(use.text, use)
    return list(found.values())


def _seen(members: list[tuple[HostView, Pool]]) -> Iterator[_Seen]:
    by_host: dict[str, list[tuple[HostView, Pool]]] = {}
    for host, pool in members:
        by_host.setdefault(host.name, []).append((host, pool))
    for each in by_host.values():
        folders = {pool.target.rstrip("/") for _, pool in each if pool.target.startswith("/")}
        outside = tuple(f"{folder}/" for folder in folders if folder and not _is_dev(folder))
        yield _Seen(each[0][0], frozenset(pool.name for _, pool in each), outside)


def _is_dev(path: str) -> bool:
    return path == "/dev" or path.startswith("/dev/")


def _is_in(disk: VmDisk, seen: _Seen, pool: Pool, paths: set[str]) -> bool:
    source = disk.source
    if not source:
        return False
    if disk.type == "volume":
        return source.partition("/")[0] in seen.pools
    if disk.type == "network":
        return _is_of_server(source, pool)
    return source in paths or any(source.startswith(folder) for folder in seen.folders)


def _is_of_server(source: str, pool: Pool) -> bool:
    """Whether a network disk (rbd:pool/image, gluster:volume/file, iscsi:IQN/LUN) is of a pool's source.

    Servers are not compared: the same one has many names.
    """
    protocol, _, name = source.partition(":")
    kind = "iscsi" if pool.type == "iscsi-direct" else pool.type
    if protocol != kind:
        return False
    if kind == "rbd":
        its = pool.source.partition("@")[0]
    elif kind == "gluster":
        its = pool.source.rpartition(":")[2].partition("/")[0]
    elif kind == "iscsi":
        its = pool.source.rpartition("/")[2]
    else:
        return False
    return bool(its) and (name == its or name.startswith(f"{its}/"))


def _doubtful(pool: Pool, names: set[str], snapshot: FleetSnapshot) -> Iterator[Use]:
    if pool.type not in _MAYBE_ALIKE and pool.identity.startswith(_LOCAL):
        return
    if not names:
        return
    for host in snapshot.hosts.values():
        for vm in host.vms:
            if any(_may_be(disk, host, names) for disk in vm.info.disks):
                yield Use(f"{vm.name}@{host.name}", host.name, vm.state.active)


def _may_be(disk: VmDisk, host: HostView, names: set[str]) -> bool:
    """Whether a disk is on GlusterFS or a file that several hosts may see, and called like a volume."""
    if posixpath.basename(disk.source) not in names:
        return False
    if disk.type == "network":
        return disk.source.startswith("gluster:")
    volume = storage.volume_of(disk, host)
    return volume is not None and not storage.identity_of(volume, host).startswith(_LOCAL)
