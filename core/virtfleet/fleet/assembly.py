"""Folds the messages of one worker into the successive `HostView`s of its host.

Pure but for its own memory: it is given what came and when, and gives back
the new view and the groups of values that changed.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import deque

from msgspec.structs import replace

from virtfleet.hypervisor import wire
from virtfleet.model import Freshness, HostState, HostView, Pool, PoolState, Vm, VmInfo, Volume

LATENCY_WINDOW = 60.0
"""Seconds over which the p95 of the calls is taken."""
SLOW_ABOVE = 1.0
"""Seconds of p95 above which a host counts as slow; it is well again below 0.7 of that."""
_ENOUGH = 5
"""Calls below which a p95 says nothing: the first one of a connection is always slow."""
_MOST_CALLS = 600
"""Calls that a p95 is taken of; libvirt's slowness shows in far fewer."""
_RATE_WINDOW = 30.0
_WARM_UP = 3
"""Samples after which the cost of watching is told: the first ones include reading everything once."""

_NOTHING: frozenset[str] = frozenset()
_STATS = frozenset({"stats"})


class Assembly:
    def __init__(self, view: HostView, slow_above: float = SLOW_ABOVE) -> None:
        self.view = view
        self._slow_above = slow_above
        self._infos: dict[str, VmInfo] = {}
        self._volumes: dict[str, dict[str, Volume]] = {}
        self._round: dict[str, set[str]] = {}
        self._listed: set[str] = set()
        """Pools whose volumes were all listed, at least once."""
        self._latencies: deque[tuple[float, float]] = deque()
        """When, and how long, of the calls of the window."""
        self._ordered: list[float] = []
        """The same without their times, in order, for sorting them anew with each sample costs far more."""
        self._samples = 0
        self._calls: deque[tuple[float, int]] = deque()
        self._called = 0
        """Calls of all that is in `_calls`."""

    def fold(self, message: wire.FromWorker) -> frozenset[str]:
        """Takes one message in; returns the groups that changed, as in `Delta.groups`."""
        match message:
            case wire.Sample():
                return self._sample(message)
            case wire.Status():
                return self.state(message.state, message.reason, message.cure)
            case wire.Vms():
                return self._vms(message)
            case wire.Facts():
                self.view = replace(self.view, facts=message.facts, simulated=message.simulated)
                return frozenset({"facts"})
            case wire.Pools():
                return self._pools(message)
            case wire.Volumes():
                return self._volume_part(message)
            case wire.Marks(maintenance):
                self.view = replace(self.view, maintenance=maintenance)
                # Before anything is known of the host itself this is no news: it is told with that.
                return frozenset({"state"} if self.view.state is not HostState.CONNECTING else ())
            case wire.Networks():
                fresh = replace(self.view.freshness, networks=message.taken)
                self.view = replace(self.view, networks=message.networks, freshness=fresh)
                return frozenset({"networks"})
            case _:
                return _NOTHING

    def state(self, state: HostState, reason: str = "", cure: str = "") -> frozenset[str]:
        """Puts the host into a state; the same state with another reason keeps its `since`."""
        view = self.view
        if state is HostState.UP and view.state is HostState.SLOW:
            return _NOTHING
        if (state, reason, cure) == (view.state, view.reason, view.cure):
            return _NOTHING
        since = view.since if state is view.state else time.time()
        self.view = replace(view, state=state, reason=reason, cure=cure, since=since)
        return frozenset({"state"})

    def _sample(self, sample: wire.Sample) -> frozenset[str]:
        info_of = self._infos.get
        vms = tuple([Vm(info, stats) for stats in sample.vms if (info := info_of(stats.uuid)) is not None])
        view = self.view
        groups = _STATS if len(vms) == len(view.vms) else _STATS | {"vms"}
        p95 = self._p95(sample.taken, sample.latencies)
        state, reason = view.state, view.reason
        if state is HostState.UP and p95 > self._slow_above:
            state, reason = HostState.SLOW, f"95 % of its calls take up to {p95:.1f} s"
        elif state is HostState.SLOW and p95 < 0.7 * self._slow_above:
            state, reason = HostState.UP, ""
        since = view.since
        if state is not view.state:
            groups |= {"state"}
            since = time.time()
        self.view = replace(
            view,
            vms=vms,
            stats=sample.host,
            state=state,
            reason=reason,
            since=since,
            latency_p95=p95,
            calls_per_s=self._rate(sample),
            freshness=replace(view.freshness, stats=sample.taken),
        )
        return groups

    def _p95(self, now: float, latencies: tuple[float, ...]) -> float:
        """Of the last minute, these calls taken in."""
        window, ordered = self._latencies, self._ordered
        for latency in latencies:
            window.append((now, latency))
            insort(ordered, latency)
        while window and (window[0][0] < now - LATENCY_WINDOW or len(window) > _MOST_CALLS):
            del ordered[bisect_left(ordered, window.popleft()[1])]
        return ordered[int(0.95 * (len(ordered) - 1))] if len(ordered) >= _ENOUGH else 0.0

    def _rate(self, sample: wire.Sample) -> float | None:
        calls = self._calls
        self._samples += 1
        if self._samples <= _WARM_UP:
            return None
        calls.append((sample.taken, sample.calls))
        self._called += sample.calls
        while len(calls) > 2 and calls[0][0] < sample.taken - _RATE_WINDOW:
            self._called -= calls.popleft()[1]
        first, count = calls[0]
        return (self._called - count) / (sample.taken - first) if sample.taken > first else None

    def _vms(self, message: wire.Vms) -> frozenset[str]:
        if message.full:
            self._infos = {info.uuid: info for info in message.changed}
        else:
            for uuid in message.gone:
                self._infos.pop(uuid, None)
            for info in message.changed:
                self._infos[info.uuid] = info
        infos = self._infos
        vms = tuple(
            vm if infos[vm.uuid] is vm.info else Vm(infos[vm.uuid], vm.stats)
            for vm in self.view.vms
            if vm.uuid in infos
        )
        self.view = replace(self.view, vms=vms)
        return frozenset({"vms"})

    def _pools(self, message: wire.Pools) -> frozenset[str]:
        view = self.view
        names = {pool.name for pool in message.pools}
        for name in self._volumes.keys() - names:
            del self._volumes[name]
        self._listed &= names
        fresh = replace(view.freshness, pools=message.taken)
        if fresh.volumes is None and self._all_listed(message.pools):
            fresh = replace(fresh, volumes=message.taken)
        self.view = replace(view, pools=message.pools, freshness=fresh, volumes=self._all_volumes())
        return frozenset({"pools"})

    def _volume_part(self, message: wire.Volumes) -> frozenset[str]:
        known = self._volumes.setdefault(message.pool, {})
        if message.first:
            self._round[message.pool] = set()
        seen = self._round.setdefault(message.pool, set())
        for volume in message.volumes:
            known[volume.name] = volume
            seen.add(volume.name)
        if not message.last and not message.volumes:
            return _NOTHING
        fresh = self.view.freshness
        if message.last:
            for name in known.keys() - seen:
                del known[name]
            del self._round[message.pool]
            self._listed.add(message.pool)
            if fresh.pools is not None and self._all_listed(self.view.pools):
                fresh = replace(fresh, volumes=message.taken)
        self.view = replace(self.view, volumes=self._all_volumes(), freshness=fresh)
        return frozenset({"volumes"})

    def _all_listed(self, pools: tuple[Pool, ...]) -> bool:
        """Whether the volumes of all running pools are known."""
        return all(pool.name in self._listed or pool.state is not PoolState.RUNNING for pool in pools)

    def _all_volumes(self) -> tuple[Volume, ...]:
        return tuple(volume for pool in self._volumes.values() for volume in pool.values())


def blank(name: str, uri: str, zone: str, traits: tuple[str, ...], interval: float) -> HostView:
    """A host of which nothing is known yet."""
    return HostView(
        name=name,
        uri=uri,
        zone=zone,
        traits=traits,
        interval=interval,
        since=time.time(),
        freshness=Freshness(),
    )
