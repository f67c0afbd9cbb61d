"""What placement makes of the whole fleet, reckoned in a thread: projects, groups, room for more, N+1.

At 500 hosts with 20 VMs each this takes 20 to 150 ms: too long for the loop
that paints and takes keys. The ledger is this thread's own; that of the
engine, with which plans are made, stays in the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from virtfleet.model import FleetSnapshot
from virtfleet.model.plan import Plan
from virtfleet.query.placement import GroupRow, ProjectRow

if TYPE_CHECKING:
    from virtfleet.decide.capacity import Deaths, FlavorRoom
    from virtfleet.decide.ledger import Ledger
    from virtfleet_tui.bridge import Fleet

T = TypeVar("T")

FLEET, N_PLUS_1, ZONE, HOST = "fleet", "N+1", "zone", "host"
"""What a PlaceRow is about."""


class Share(NamedTuple):
    """What is promised of what may be, memory in bytes."""

    given: float
    may: float
    """After reserve and allocation ratio; of hosts that tell."""

    @property
    def percent(self) -> float | None:
        return 100.0 * self.given / self.may if self.may else None


class PlaceRow(NamedTuple):
    """Somewhere VMs may be, and how many more of each flavor fit there."""

    scope: str
    name: str
    zone: str
    fits: Mapping[str, int]
    """By flavor. Of N+1: so many, and the death of any one host can still be borne."""
    homeless: int
    """VMs that would find no place elsewhere; of several hosts: whichever of them died, summed up."""
    fatal: int
    """Hosts whose death leaves VMs without a place; of a host 0 or 1."""
    vcpus: Share
    memory: Share

    @property
    def key(self) -> tuple[str, str]:
        return (self.scope, self.name)


class HomelessRow(NamedTuple):
    """A VM that would find no place if its host died."""

    host: str
    uuid: str
    name: str
    vcpus: int
    memory: int
    flavor: str
    project: str
    group: str

    @property
    def key(self) -> tuple[str, str]:
        return (self.host, self.uuid)


class Capacity(NamedTuple):
    places: list[PlaceRow]
    homeless: list[HomelessRow]


class Reckoner:
    """One of a console."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ledger: Ledger | None = None
        self._busy = threading.Lock()

    async def projects(self) -> list[ProjectRow]:
        snapshot, settings = self._fleet.snapshot, self._fleet.settings

        def work() -> list[ProjectRow]:
            from virtfleet.decide import report

            return report.projects(snapshot, settings)

        return await asyncio.to_thread(work)

    async def groups(self) -> list[GroupRow]:
        snapshot, settings = self._fleet.snapshot, self._fleet.settings

        def work() -> list[GroupRow]:
            from virtfleet.decide import report

            return report.groups(snapshot, settings)

        return await asyncio.to_thread(work)

    async def capacity(self) -> Capacity:
        """Room everywhere, now and after the death of any one host."""
        flavors = self._fleet.settings.flavors

        def work(ledger: Ledger) -> Capacity:
            from virtfleet.decide import capacity

            now = time.monotonic()
            deaths = capacity.deaths(ledger, flavors, now)
            return _capacity(ledger, capacity.room(ledger, flavors, now), deaths)

        return await self._with_ledger(work)

    async def room_on(self, host: str) -> dict[str, int]:
        """By flavor, how many more VMs fit on a host; empty: there is no such host, or no flavors."""
        flavors = self._fleet.settings.flavors

        def work(ledger: Ledger) -> dict[str, int]:
            from virtfleet.decide import capacity

            row = ledger.rows.get(host)
            if row is None:
                return {}
            found = capacity.room(ledger, flavors, time.monotonic())
            return {each.flavor: int(each.by_host[row]) for each in found}

        return await self._with_ledger(work)

    async def _with_ledger(self, work: Callable[[Ledger], T]) -> T:
        snapshot = self._fleet.snapshot
        plans = [job.plan for job in self._fleet.jobs.active]

        def in_thread() -> T:
            # Who asked may have gone meanwhile and another one ask: the thread goes on, so the lock is its.
            with self._busy, self._as_of(snapshot, plans) as ledger:
                return work(ledger)

        return await asyncio.to_thread(in_thread)

    @contextmanager
    def _as_of(self, snapshot: FleetSnapshot, plans: Sequence[Plan]) -> Iterator[Ledger]:
        """The ledger of a fleet, with what jobs that are running will take."""
        from virtfleet.actions.placing import promised_by
        from virtfleet.decide.ledger import Ledger

        if self._ledger is None:
            self._ledger = Ledger(self._fleet.settings)
        self._ledger.follow(snapshot)
        with self._ledger.beside([each for plan in plans for each in promised_by(plan)]):
            yield self._ledger


def _capacity(ledger: Ledger, room: Sequence[FlavorRoom], deaths: Deaths) -> Capacity:
    infos = {info.uuid: info for row in range(len(ledger)) for info in ledger.infos(row)}
    homeless = [
        HomelessRow(
            each.host,
            each.uuid,
            each.name,
            each.vcpus,
            each.memory,
            infos[each.uuid].flavor,
            infos[each.uuid].project,
            infos[each.uuid].group,
        )
        for each in deaths.homeless
    ]
    lost: dict[str, int] = {}
    for each in homeless:
        lost[each.host] = lost.get(each.host, 0) + 1

    def place(scope: str, name: str, zone: str, fits: Mapping[str, int], rows: Sequence[int]) -> PlaceRow:
        gone = [lost[ledger.names[row]] for row in rows if ledger.names[row] in lost]
        return PlaceRow(scope, name, zone, fits, sum(gone), len(gone), *_shares(ledger, rows))

    everywhere = range(len(ledger))
    found = [
        place(FLEET, "now", "", {each.flavor: each.total for each in room}, everywhere),
        place(N_PLUS_1, "any host dies", "", deaths.after, everywhere),
    ]
    zones: dict[str, list[int]] = {}
    for row, host in enumerate(ledger.hosts):
        zones.setdefault(host.zone, []).append(row)
    if list(zones) != [""]:
        for zone, rows in zones.items():
            fits = {each.flavor: int(each.by_host[rows].sum()) for each in room}
            found.append(place(ZONE, zone or "(none)", zone, fits, rows))
    for row, (name, host) in enumerate(zip(ledger.names, ledger.hosts, strict=True)):
        fits = {each.flavor: int(each.by_host[row]) for each in room}
        found.append(place(HOST, name, host.zone, fits, [row]))
    return Capacity(found, homeless)


def _shares(ledger: Ledger, rows: Sequence[int]) -> tuple[Share, Share]:
    import numpy as np

    here = list(rows)
    shares = []
    for may, given in ((ledger.vcpus, ledger.vcpus_used), (ledger.memory, ledger.memory_used)):
        known = ~np.isnan(may[here])
        shares.append(Share(float(given[here][known].sum()), float(may[here][known].sum())))
    return shares[0], shares[1]
