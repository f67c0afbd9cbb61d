"""The engine over real worker processes, on libvirt's test driver: life, death and return of workers."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from virtfleet.config import folders
from virtfleet.config.demo import demo_fleet
from virtfleet.config.settings import FleetSettings, HostSettings
from virtfleet.engine import Engine
from virtfleet.errors import NotFoundError, UnreachableError
from virtfleet.model import Delta, HostState


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        folder = tmp_path / variable
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    made = Engine(demo_fleet(hosts=3, vms=12, interval=0.5))
    await made.start()
    await made.settled(timeout=20)
    yield made
    await made.stop()


async def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Waits for a condition; fails when it does not come true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def pid_of(engine: Engine, host: str) -> int:
    supervisor = engine._supervisor
    assert supervisor is not None
    link = supervisor.hosts[host].link
    assert link is not None
    assert link.pid is not None
    return link.pid


async def test_all_rows_are_there_and_stay_fresh(engine: Engine) -> None:
    snapshot = engine.snapshot
    assert [host.state for host in snapshot.hosts.values()] == [HostState.UP] * 3
    assert [len(host.vms) for host in snapshot.hosts.values()] == [4, 4, 4]
    first = snapshot.hosts["hv01"].freshness.stats
    await until(lambda: engine.snapshot.hosts["hv01"].freshness.stats != first)
    assert engine.snapshot.hosts["hv01"].is_stale(time.monotonic()) is False
    assert snapshot.hosts["hv01"].freshness.stats == first, "an old snapshot never changes"


async def test_everything_about_a_host_arrives(engine: Engine) -> None:
    await engine.settled(("facts", "pools", "volumes", "networks"), timeout=20)
    host = engine.snapshot.hosts["hv02"]
    assert host.simulated
    assert host.facts is not None
    assert host.facts.hostname == "hv02.demo"
    assert host.pools
    assert host.volumes
    assert host.networks


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_worker_that_dies_costs_its_host_one_reconnect_and_the_others_nothing(
    engine: Engine, number: signal.Signals
) -> None:
    victim, others = pid_of(engine, "hv01"), {name: pid_of(engine, name) for name in ("hv02", "hv03")}
    states: list[tuple[str, HostState]] = []

    def note(delta: Delta) -> None:
        if "state" in delta.groups:
            states.append((delta.host, engine.snapshot.hosts[delta.host].state))

    engine.subscribe(note)
    rows = engine.snapshot.hosts["hv01"].vms
    os.kill(victim, number)
    await until(lambda: ("hv01", HostState.CONNECTING) in states)
    assert engine.snapshot.hosts["hv01"].vms == rows, "what was known stays on screen, as stale"
    assert engine.snapshot.hosts["hv01"].is_stale(time.monotonic())
    await until(lambda: engine.snapshot.hosts["hv01"].state is HostState.UP)
    assert {host for host, _ in states} == {"hv01"}
    assert {name: pid_of(engine, name) for name in others} == others
    assert any(number.name in event.detail for event in engine.events.recent(20, host="hv01"))


async def test_a_stopped_worker_is_found_out_and_replaced(engine: Engine) -> None:
    victim = pid_of(engine, "hv03")
    os.kill(victim, signal.SIGSTOP)
    await until(lambda: engine.snapshot.hosts["hv03"].is_stale(time.monotonic()))
    await until(lambda: engine.snapshot.hosts["hv03"].state is HostState.CONNECTING, timeout=20)
    await until(lambda: engine.snapshot.hosts["hv03"].state is HostState.UP, timeout=20)
    assert pid_of(engine, "hv03") != victim


async def test_the_zygotes_death_is_survived(engine: Engine) -> None:
    supervisor = engine._supervisor
    assert supervisor is not None
    zygote = supervisor._zygote
    assert zygote is not None
    before = {name: pid_of(engine, name) for name in engine.snapshot.hosts}
    os.kill(zygote.pid, signal.SIGKILL)
    await until(lambda: supervisor._zygote is not zygote)
    stamp = engine.snapshot.hosts["hv01"].freshness.stats
    await until(lambda: engine.snapshot.hosts["hv01"].freshness.stats != stamp)
    assert {name: pid_of(engine, name) for name in before} == before, "workers go on without their zygote"
    os.kill(before["hv02"], signal.SIGKILL)
    await until(lambda: engine.snapshot.hosts["hv02"].state is HostState.CONNECTING)
    await until(lambda: engine.snapshot.hosts["hv02"].state is HostState.UP)


async def test_requests_answer_or_say_why_not(engine: Engine) -> None:
    vm = engine.snapshot.hosts["hv01"].vms[0]
    xml = await engine.request("hv01", "vm.xml", {"uuid": vm.uuid})
    assert f"<name>{vm.name}</name>" in xml
    with pytest.raises(NotFoundError, match="no host 'hv99'"):
        await engine.request("hv99", "vm.xml", {"uuid": vm.uuid})
    with pytest.raises(NotFoundError):
        await engine.request("hv01", "vm.xml", {"uuid": "00000000-0000-0000-0000-000000000000"})


async def test_a_request_to_a_dead_worker_fails_at_once(engine: Engine) -> None:
    os.kill(pid_of(engine, "hv01"), signal.SIGSTOP)
    request = asyncio.ensure_future(engine.request("hv01", "host.capabilities", timeout=20))
    await asyncio.sleep(0.1)
    os.kill(pid_of(engine, "hv01"), signal.SIGKILL)
    with pytest.raises(UnreachableError, match="ended before it answered"):
        await asyncio.wait_for(request, 5)


async def test_nothing_is_left_behind() -> None:
    made = Engine(demo_fleet(hosts=2, vms=4))
    await made.start()
    await made.settled(timeout=20)
    supervisor = made._supervisor
    assert supervisor is not None
    pids = [pid_of(made, name) for name in made.snapshot.hosts]
    assert supervisor._zygote is not None
    pids.append(supervisor._zygote.pid)
    runtime = Path(made._runtime)
    assert runtime.exists()
    await made.stop()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert not runtime.exists()


async def test_disabled_and_impossible_hosts_are_not_waited_for() -> None:
    hosts = {
        "off": HostSettings(name="off", uri="test:///default", disabled="being repaired"),
        "bad": HostSettings(name="bad", uri="qemu+tcp://127.0.0.1:1/system"),
        "good": HostSettings(name="good", uri="test:///default"),
    }
    made = Engine(FleetSettings(hosts=hosts))
    await made.start()
    await made.settled(timeout=20)
    snapshot = made.snapshot
    assert (snapshot.hosts["off"].state, snapshot.hosts["off"].reason) == (
        HostState.DISABLED,
        "being repaired",
    )
    assert snapshot.hosts["bad"].state is HostState.UNREACHABLE
    assert "onnect" in snapshot.hosts["bad"].reason
    assert [vm.name for vm in snapshot.hosts["good"].vms] == ["test"]
    assert not snapshot.hosts["good"].simulated
    await made.stop()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def folder_of(pid: int) -> Path:
    """As an engine in that process would have made it."""
    folder = folders.runtime_dir() / f"{pid}-abcdefgh"
    (folder / "deeper").mkdir(parents=True)
    return folder


def ended_process() -> int:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    return process.pid


async def test_asking_three_times_for_a_connection_makes_one(engine: Engine) -> None:
    supervisor = engine._supervisor
    assert supervisor is not None
    os.kill(pid_of(engine, "hv01"), signal.SIGKILL)
    await until(lambda: supervisor.hosts["hv01"].link is None)
    for _ in range(3):
        engine.reconnect("hv01")
    await until(lambda: engine.snapshot.hosts["hv01"].state is HostState.UP)
    zygote = supervisor._zygote
    assert zygote is not None
    await asyncio.sleep(0.5)
    assert len(children(zygote.pid)) == 3
    assert all(host.link is not None and host.link.pid is not None for host in supervisor.hosts.values())


async def test_a_worker_that_dies_whenever_it_is_up_is_started_ever_more_slowly(engine: Engine) -> None:
    supervisor = engine._supervisor
    assert supervisor is not None
    host = supervisor.hosts["hv01"]
    for failures in (1, 2, 3):
        await until(lambda: engine.snapshot.hosts["hv01"].state is HostState.UP and host.link is not None)
        os.kill(pid_of(engine, "hv01"), signal.SIGKILL)
        await until(lambda: host.link is None)
        assert host._failures == failures
    await until(lambda: engine.snapshot.hosts["hv01"].state is HostState.UP)


async def test_a_subscriber_that_fails_costs_no_host_its_worker(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    before = pid_of(engine, "hv02")

    def fail(delta: Delta) -> None:
        raise KeyError(delta.host)

    unsubscribe = engine.subscribe(fail)
    first = engine.snapshot.hosts["hv02"].freshness.stats
    await until(lambda: engine.snapshot.hosts["hv02"].freshness.stats != first)
    unsubscribe()
    assert pid_of(engine, "hv02") == before
    assert "a subscriber of deltas failed" in caplog.text


def test_folders_of_engines_that_were_killed_are_removed() -> None:
    left, ours = folder_of(ended_process()), folder_of(os.getpid())
    try:
        made = Engine(demo_fleet(hosts=1, vms=1))
        assert not left.exists()
        assert ours.exists()
        asyncio.run(made.stop())
        assert ours.exists()
    finally:
        shutil.rmtree(ours)


async def test_a_big_fleet_may_open_as_many_files_as_the_system_allows(engine: Engine) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= (65_536 if hard == resource.RLIM_INFINITY else min(65_536, hard))
