"""A late call is judged by lanes that are free, and by the transport."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import libvirt
import pytest

from virtfleet.hypervisor import vitals as vitals_module
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.asking import Asker
from virtfleet.hypervisor.lanes import Lane
from virtfleet.hypervisor.reach import Direct
from virtfleet.hypervisor.vitals import Vitals
from virtfleet.model import HostState


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def lane(name: str) -> Lane:
    return Lane(name, lambda: libvirt.open("test:///default"), door=None, on_stuck=lambda: None)


async def judged(uri: str, probes: list[Lane], released: threading.Event) -> list[HostState]:
    """The states that are told of a host whose first call takes 2 s."""
    told: list[HostState] = []
    reach = Direct(wire.WorkerSettings("h", uri), Asker("h", lambda _: None, lambda _: None))
    vitals = Vitals(reach, probes, lambda state, *_: told.append(state), lambda: False)
    monitor = lane("monitor")

    def slowly(conn: libvirt.virConnect) -> int:
        time.sleep(2)
        return conn.numOfDomains()

    assert await vitals.call(monitor, slowly) == 1
    released.set()
    for each in (monitor, *probes):
        await each.close()
    vitals.close()
    return told


async def test_a_lane_at_work_is_no_sign_of_a_hung_host(
    released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals_module, "FIRST", 0.2)
    monkeypatch.setattr(vitals_module, "PROBE", 0.5)
    long, storage = lane("long"), lane("storage")
    work = asyncio.ensure_future(long.call(lambda conn: released.wait(10), 20))
    await asyncio.sleep(0.05)
    assert await judged("qemu+tls://far/system", [long, storage], released) == [HostState.UP]
    assert await work is True


@pytest.mark.parametrize(
    ("uri", "state"),
    [("qemu+tls://far/system", HostState.UNREACHABLE), ("qemu:///system", HostState.HUNG)],
)
async def test_what_never_answered_is_unreachable_far_away_and_hung_at_home(
    uri: str, state: HostState, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals_module, "FIRST", 0.2)
    monkeypatch.setattr(vitals_module, "PROBE", 0.3)
    probe = Lane("probe", lambda: released.wait(10) and None, door=None, on_stuck=lambda: None)  # type: ignore[arg-type, return-value]
    assert await judged(uri, [probe], released) == [state, HostState.UP]
