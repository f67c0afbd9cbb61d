"""Nothing is lost between engine and screen, and the screen is told no more often than it can bear."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.message import Message
from textual.message_pump import MessagePump

from tui.console import console
from tui.feeder import Feeder, event, host, small_fleet, vm
from virtfleet.model.action import TagVm, VmRef
from virtfleet.model.job import JobState
from virtfleet_tui.bridge import PORTION, Bridge, FleetChanged, JobsChanged
from virtfleet_tui.hands import CALM, PATIENCE, Hands


class Sink(MessagePump):
    """Keeps what is posted to it, and handles it when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[FleetChanged] = []
        self.jobs: list[JobsChanged] = []

    def post_message(self, message: Message) -> bool:
        if isinstance(message, FleetChanged):
            self.posted.append(message)
        elif isinstance(message, JobsChanged):
            self.jobs.append(message)
        return True


async def test_one_message_at_a_time_carries_everything() -> None:
    feeder, sink = small_fleet(), Sink()
    bridge = Bridge(feeder, sink, pace=0.001)
    bridge.open()
    for _ in range(50):
        feeder.change("hv01", latency_p95=0.2)
    await asyncio.sleep(0.02)
    assert len(sink.posted) == 1
    assert set(sink.posted[0].changes.hosts) == {"hv01"}
    feeder.change("hv02", latency_p95=0.3)
    feeder.happen(event("hv02"))
    await asyncio.sleep(0.02)
    assert len(sink.posted) == 1, "the first is not handled yet"
    bridge.handled()
    await asyncio.sleep(0.02)
    assert set(sink.posted[1].changes.hosts) == {"hv02"}
    assert sink.posted[1].changes.events
    assert sink.posted[1].snapshot is feeder.snapshot
    bridge.close()
    feeder.change("hv01", latency_p95=0.1)
    bridge.handled()
    await asyncio.sleep(0.02)
    assert len(sink.posted) == 2
    assert feeder.subscribers == 0


async def test_very_many_changes_come_in_portions_and_lose_nothing() -> None:
    feeder, sink = Feeder(*(host(f"hv{n:03}") for n in range(2 * PORTION + 5))), Sink()
    bridge = Bridge(feeder, sink, pace=0.001)
    bridge.open()
    for name in feeder.snapshot.hosts:
        feeder.change(name, latency_p95=0.2)
    feeder.happen(event("hv000"))
    told: list[set[str]] = []
    while not bridge.is_idle:
        await asyncio.sleep(0.002)
        if len(sink.posted) > len(told):
            assert not sink.posted[-1].changes.events or len(told) == 2, "events go with the last"
            told.append(set(sink.posted[-1].changes.hosts))
            feeder.change("hv000", latency_p95=0.3 + len(told)) if len(told) == 1 else None
            bridge.handled()
    assert [len(each) for each in told] == [PORTION, PORTION, 5, 1]
    assert set.union(*told) == set(feeder.snapshot.hosts)
    bridge.close()


async def test_news_wait_a_moment_while_keys_are_pressed() -> None:
    clock = [100.0]
    hands = Hands(lambda: clock[0])
    assert hands.wait(100.0) == 0
    hands.moved()
    assert hands.wait(100.0) == pytest.approx(CALM)
    clock[0] += CALM / 2
    assert hands.wait(100.0) == pytest.approx(CALM / 2)
    clock[0] += PATIENCE
    hands.moved()
    assert hands.wait(100.0) == 0, "a key that is held stops nothing"
    assert hands.wait(clock[0]) == pytest.approx(CALM)


async def test_the_app_starts_and_stops_the_engine(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path):
        assert (feeder.started, feeder.stopped, feeder.subscribers) == (1, 0, 3)
    assert (feeder.started, feeder.stopped, feeder.subscribers) == (1, 1, 0)


async def test_vms_come_change_and_go(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        grid = hands.overview.panel_of("vms").grid
        assert grid.total == 20
        feeder.push(host("hv01", [vm(1, cpu=77), vm(99, name="newcomer")]))
        await hands.settle()
        assert grid.total == 14
        changed = grid.get(("hv01", vm(1).uuid))
        assert changed is not None
        assert changed.vm.stats.cpu_pct == 77
        assert "newcomer" in await hands.until("newcomer")


async def test_what_a_covered_view_missed_is_there_when_it_returns(tmp_path: Path) -> None:
    feeder = small_fleet()
    async with console(feeder, tmp_path) as hands:
        await hands.command("events")
        feeder.push(host("hv01", []))
        await hands.settle()
        await hands.press("escape")
        assert hands.overview.panel_of("vms").grid.total == 12


async def test_deltas_before_the_first_paint_are_harmless(tmp_path: Path) -> None:
    feeder = small_fleet()
    started = feeder.start

    async def start() -> None:
        await started()
        feeder.push(host("hv09", [vm(900, name="early")]))

    feeder.start = start  # type: ignore[method-assign]
    async with console(feeder, tmp_path) as hands:
        await hands.settle()
        assert hands.overview.panel_of("hosts").grid.total == 5


async def test_back_from_the_shell_all_is_painted_again(tmp_path: Path) -> None:
    async with console(small_fleet(), tmp_path) as hands:
        assert not hands.screen._repaint_required
        hands.app.app_resume_signal.publish(hands.app)
        assert hands.screen._repaint_required


async def test_many_changes_of_jobs_are_one_message_with_the_last_of_each() -> None:
    feeder, sink = small_fleet(), Sink()
    row = feeder.snapshot.hosts["hv01"].vms[0]
    plan = await feeder.plan(TagVm(vm=VmRef("hv01", row.uuid, row.name), add=("web",)))
    bridge = Bridge(feeder, sink, pace=600.0)
    bridge.open()
    jobs = [await feeder.apply(plan) for _ in range(5)]
    for job in jobs:
        await feeder.jobs.wait(job.id)
    assert sink.jobs == []
    assert not bridge.is_idle
    bridge._post_jobs()
    (message,) = sink.jobs
    assert [(job.id, job.state) for job in message.jobs] == [(job.id, JobState.DONE) for job in jobs]
    bridge.close()
    assert feeder.subscribers == 0
    await feeder.stop()
