"""The fleet at one moment: a mapping of hosts that is never changed, only replaced.

A sample copies the mapping (3 µs at 500 hosts) and puts one new `HostView`
into it. Nothing fleet-wide is rebuilt per sample; who needs an index builds it
from the snapshot it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from virtfleet.model.host import HostFacts, HostState, HostStats
from virtfleet.model.maintenance import Maintenance
from virtfleet.model.network import Network
from virtfleet.model.storage import Pool, Volume
from virtfleet.model.vm import Vm

Group = Literal["pools", "volumes", "networks"]
_MISSED = 2.5
"""Intervals after which two samples are missing."""


class Freshness(msgspec.Struct, frozen=True, gc=False):
    """When each group of a host's values was taken, in seconds of CLOCK_MONOTONIC; None: never."""

    stats: float | None = None
    """Host load and VM samples."""
    pools: float | None = None
    volumes: float | None = None
    networks: float | None = None


class HostView(msgspec.Struct, frozen=True, gc=False):
    """All that is known of one hypervisor, with the age of what is known."""

    name: str
    uri: str
    zone: str = ""
    traits: tuple[str, ...] = ()
    state: HostState = HostState.CONNECTING
    reason: str = ""
    """Why it is in this state, for a person."""
    cure: str = ""
    """What to try."""
    since: float = 0.0
    """Unix time at which it entered this state."""
    interval: float = 2.0
    """Seconds between samples."""
    pools_interval: float = 10.0
    volumes_interval: float = 60.0
    networks_interval: float = 30.0
    facts: HostFacts | None = None
    stats: HostStats | None = None
    vms: tuple[Vm, ...] = ()
    pools: tuple[Pool, ...] = ()
    volumes: tuple[Volume, ...] = ()
    networks: tuple[Network, ...] = ()
    freshness: Freshness = Freshness()
    latency_p95: float | None = None
    """Seconds, of the libvirt calls of the last minute."""
    calls_per_s: float | None = None
    """libvirt calls per second that watching it costs; None: not known yet."""
    simulated: bool = False
    maintenance: Maintenance | None = None
    """Whether somebody has disabled it for new VMs, or drains it; None: not read yet."""

    @property
    def closed(self) -> str:
        """Why no new VM may go there, as operators have said; empty: they may."""
        return "" if self.maintenance is None else self.maintenance.closed

    def age(self, now: float) -> float | None:
        """Seconds since the last sample; `now` is CLOCK_MONOTONIC. None: there never was one."""
        return None if self.freshness.stats is None else max(0.0, now - self.freshness.stats)

    def is_stale(self, now: float) -> bool:
        """Whether its figures may no longer be true: it does not answer, or two samples are missing."""
        age = self.age(now)
        return not self.state.answers or age is None or age > _MISSED * self.interval

    def is_group_stale(self, group: Group, now: float) -> bool:
        """The same of its pools, volumes or networks, by their own age and interval.

        While a group is read for the first time it is as stale as the host.
        """
        if not self.state.answers:
            return True
        fresh = self.freshness
        if group == "pools":
            taken, interval = fresh.pools, self.pools_interval
        elif group == "volumes":
            taken, interval = fresh.volumes, self.volumes_interval
        else:
            taken, interval = fresh.networks, self.networks_interval
        return self.is_stale(now) if taken is None else now - taken > _MISSED * interval


class FleetSnapshot(msgspec.Struct, frozen=True):
    """`hosts` in the order of the fleet file. `generation` grows by one with every change."""

    generation: int
    hosts: Mapping[str, HostView]

    def with_host(self, view: HostView) -> FleetSnapshot:
        # A proxy's `|` copies the dict behind it as a whole; dict(proxy) asks for key after key: 4 µs against
        # 79 µs at 500 hosts.
        hosts = MappingProxyType(self.hosts) | {view.name: view}
        return FleetSnapshot(self.generation + 1, MappingProxyType(hosts))


EMPTY = FleetSnapshot(0, MappingProxyType({}))


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What one change touched: `groups` of state, facts, stats, vms (a VM came, went or changed its
    description), pools, volumes, networks."""

    generation: int
    host: str
    groups: frozenset[str]
