"""What one row of each panel or listing stands for.

An object alone does not know its host; a row does. Rows are made from a
snapshot on demand and thrown away; `key` stays equal over time for the same
object, so that a selection can hold on to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from virtfleet.model import FleetSnapshot, HostView, Network, Pool, Vm, Volume
from virtfleet.query.volume_users import VolumeUsers


class HostRow(NamedTuple):
    host: HostView

    @property
    def key(self) -> Hashable:
        return self.host.name


class VmRow(NamedTuple):
    host: HostView
    vm: Vm

    @property
    def key(self) -> Hashable:
        return (self.host.name, self.vm.uuid)


class PoolRow(NamedTuple):
    """One storage, once, however many hosts have a pool on it. `members` is never empty."""

    identity: str
    members: tuple[tuple[HostView, Pool], ...]

    @property
    def key(self) -> Hashable:
        return self.identity


class VolumeRow(NamedTuple):
    """A volume, once per storage. `pool_identity` tells volumes of the same name apart."""

    host: HostView
    volume: Volume
    pool_identity: str
    users: VolumeUsers | None = None
    """Of the whole fleet; None: not known."""

    @property
    def key(self) -> Hashable:
        return (self.pool_identity, self.volume.name)


class NetworkRow(NamedTuple):
    host: HostView
    network: Network

    @property
    def key(self) -> Hashable:
        return (self.host.name, self.network.uuid)


Row = HostRow | VmRow | PoolRow | VolumeRow | NetworkRow


def host_rows(snapshot: FleetSnapshot) -> Iterator[HostRow]:
    return (HostRow(host) for host in snapshot.hosts.values())


def vm_rows(snapshot: FleetSnapshot) -> Iterator[VmRow]:
    return (VmRow(host, vm) for host in snapshot.hosts.values() for vm in host.vms)


def network_rows(snapshot: FleetSnapshot) -> Iterator[NetworkRow]:
    return (NetworkRow(host, net) for host in snapshot.hosts.values() for net in host.networks)


def pool_rows(snapshot: FleetSnapshot) -> Iterator[PoolRow]:
    members: dict[str, list[tuple[HostView, Pool]]] = {}
    for host in snapshot.hosts.values():
        for pool in host.pools:
            members.setdefault(pool.identity, []).append((host, pool))
    return (PoolRow(identity, tuple(each)) for identity, each in members.items())


def volume_rows(snapshot: FleetSnapshot) -> Iterator[VolumeRow]:
    seen: set[tuple[str, str]] = set()
    users = VolumeUsers(snapshot)
    for host in snapshot.hosts.values():
        identities = {pool.name: pool.identity for pool in host.pools}
        for volume in host.volumes:
            identity = identities.get(volume.pool, f"local:{host.name}:{volume.pool}")
            row = VolumeRow(host, volume, identity, users)
            key = (row.pool_identity, volume.name)
            if key not in seen:
                seen.add(key)
                yield row
