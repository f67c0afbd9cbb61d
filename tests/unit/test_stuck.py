"""Who is suspected of delaying a call, and how often: a slow host is not asked about its VMs each time."""

from __future__ import annotations

import libvirt
import pytest

from virtfleet.hypervisor import domains, stuck
from virtfleet.hypervisor.lanes import Lane, Meter
from virtfleet.hypervisor.stuck import LATE, StuckVms
from virtfleet.model import Severity, VmInfo

UUIDS = ["a", "b", "c"]


def made() -> tuple[StuckVms, Meter, list[tuple[str, bool]], Lane]:
    told: list[tuple[str, bool]] = []
    meter = Meter()
    vms = StuckVms(
        meter, lambda uuid: VmInfo(uuid, uuid), lambda info, is_stuck: told.append((info.name, is_stuck))
    )
    lane = Lane("long", lambda: libvirt.open("test:///default"), door=None, on_stuck=lambda: None)
    return vms, meter, told, lane


async def test_asking_in_vain_is_not_repeated() -> None:
    vms, meter, told, lane = made()
    assert not await vms.delays(LATE - 0.1, [lane], UUIDS)
    assert meter.calls == 0, "the call is not late"
    assert not await vms.delays(LATE, [lane], UUIDS)
    asked = meter.calls
    assert asked > 0
    assert not await vms.delays(LATE + 1, [lane], UUIDS)
    assert meter.calls == asked
    assert not await vms.delays(LATE, [], UUIDS), "no lane is free"
    assert told == []
    await lane.close()


async def test_the_first_time_and_the_end_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test driver has no monitors that could be stuck: libvirt's word is put in its mouth."""
    vms, _, told, lane = made()
    monkeypatch.setattr(domains, "stuck", lambda conn, uuid, meter, after: uuid == "b")
    assert await vms.delays(LATE, [lane], UUIDS)
    assert await vms.delays(LATE, [lane], UUIDS), "somebody is: it may be asked again"
    assert [uuid in vms for uuid in UUIDS] == [False, True, False]
    vms.answered("a")
    vms.answered("b")
    vms.answered("b")
    assert told == [("b", True), ("b", False)]
    assert await vms.find(lane, ["b"])
    vms.forget("b")
    assert "b" not in vms
    await lane.close()


def test_what_the_events_say() -> None:
    info = VmInfo("u", "web1")
    assert (stuck.event(info, True).what, stuck.event(info, True).severity) == (
        "monitor stuck",
        Severity.ERROR,
    )
    assert stuck.event(info, False).what == "monitor answers again"
