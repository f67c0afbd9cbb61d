"""The fleet at one moment: a mapping of hosts that is never changed, only replaced.

A sample copies the mapping (3 µs at 500 hosts) and puts one new `HostView`
into it. Nothing fleet-wide is rebuilt per sample; who needs an index builds it
from the snapshot it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from virtfleet.model.host import HostFacts, HostState, HostStats
from virtfleet.model.network import Network
from virtfleet.model.storage import Pool, Volume
from virtfleet.model.vm import Vm


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
    facts: HostFacts | None = None
    stats: HostStats | None = None
    vms: tuple[Vm, ...] = ()
    pools: tuple[Pool, ...] = ()
    volumes: tuple[Volume, ...] = ()
    networks: tuple[Network, ...] = ()
    freshness: Freshness = Freshness()
    latency_p95: float | None = None
    """Seconds, of the libvirt calls of the last minute."""
    calls_per_s: float = 0.0
    simulated: bool = False

    def age(self, now: float) -> float | None:
        """Seconds since the last sample; `now` is CLOCK_MONOTONIC. None: there never was one."""
        return None if self.freshness.stats is None else max(0.0, now - self.freshness.stats)

    def is_stale(self, now: float) -> bool:
        """Whether its figures may no longer be true: it does not answer, or two samples are missing."""
        age = self.age(now)
        return not self.state.answers or age is None or age > 2.5 * self.interval


class FleetSnapshot(msgspec.Struct, frozen=True):
    """`hosts` in the order of the fleet file. `generation` grows by one with every change."""

    generation: int
    hosts: Mapping[str, HostView]

    def with_host(self, view: HostView) -> FleetSnapshot:
        hosts = dict(self.hosts)
        hosts[view.name] = view
        return FleetSnapshot(self.generation + 1, MappingProxyType(hosts))


EMPTY = FleetSnapshot(0, MappingProxyType({}))


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What one change touched: `groups` of state, facts, stats, vms (a VM came, went or changed its
    description), pools, volumes, networks."""

    generation: int
    host: str
    groups: frozenset[str]
