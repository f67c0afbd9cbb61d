"""Hosts that never answer, a person who is away, our own sleep: the rest goes on and nobody is blamed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from virtfleet.config.demo import demo_fleet
from virtfleet.config.settings import HostSettings, SshOptions
from virtfleet.engine import Engine
from virtfleet.model import HostState

CLI = [sys.executable, "-m", "virtfleet_tui"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        folder = tmp_path / variable
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root / 'core'}:{root / 'tui'}")


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    yield server.getsockname()[1]
    server.close()


async def test_ten_of_thirty_hosts_never_answer(black_hole: int) -> None:
    fleet = demo_fleet(hosts=20, vms=100)
    silent = {
        f"dead{n}": HostSettings(
            name=f"dead{n}",
            uri=f"qemu+ssh://root@127.0.0.1:{black_hole}/system",
            ssh=SshOptions(connect_timeout=3.0, config="", agent=False),
        )
        for n in range(10)
    }
    engine = Engine(replace(fleet, hosts={**silent, **fleet.hosts}), interactive=False)
    await engine.start()
    try:
        await engine.settled(hosts=list(fleet.hosts), timeout=60)
        assert {engine.snapshot.hosts[name].state for name in fleet.hosts} == {HostState.UP}
        assert sum(len(host.vms) for host in engine.snapshot.hosts.values()) == 100
        await engine.settled(timeout=60)
        assert {engine.snapshot.hosts[name].state for name in silent} == {HostState.UNREACHABLE}
        reasons = {engine.snapshot.hosts[name].reason for name in silent}
        assert all("127.0.0.1" in reason for reason in reasons), reasons
    finally:
        await engine.stop()


async def test_our_own_sleep_blames_nobody() -> None:
    """Stopped as by Ctrl-Z and continued: everybody is still up, and the samples go on."""
    watch = await asyncio.create_subprocess_exec(
        *CLI, "--demo", "watch", "--output", "json",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, limit=1 << 24,
    )  # fmt: skip
    assert watch.stdout is not None
    try:
        await asyncio.wait_for(watch.stdout.readline(), 30)
        await asyncio.sleep(4)
        stopped = time.time()
        os.kill(watch.pid, signal.SIGSTOP)
        await asyncio.sleep(15)
        os.kill(watch.pid, signal.SIGCONT)
        lines: list[dict[str, Any]] = []
        until = time.monotonic() + 8
        while time.monotonic() < until:
            try:
                line = await asyncio.wait_for(watch.stdout.readline(), 1)
            except TimeoutError:
                continue
            lines.append(json.loads(line))
    finally:
        watch.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(watch.wait(), 10) == 130
    lines = [line for line in lines if line["time"] > stopped]
    hosts = [line["item"] for line in lines if line["kind"] == "host"]
    assert hosts, "it goes on after the sleep"
    assert {host["state"] for host in hosts if "state" in host} <= {"up", "slow"}
    assert not [line for line in lines if line["kind"] == "event" and line["item"]["what"] == "worker ended"]


async def test_a_far_host_that_never_answered_is_unreachable_and_not_hung(black_hole: int) -> None:
    """Over libvirt's own transports nobody can say that the host is well."""
    far = HostSettings(name="far", uri=f"qemu+tcp://127.0.0.1:{black_hole}/system")
    engine = Engine(replace(demo_fleet(hosts=1, vms=1), hosts={"far": far}), interactive=False)
    states: list[HostState] = []
    engine.subscribe(lambda _: states.append(engine.snapshot.hosts["far"].state))
    await engine.start()
    try:
        await engine.settled(timeout=30)
        await asyncio.sleep(1)
        assert engine.snapshot.hosts["far"].state is HostState.UNREACHABLE
        assert HostState.HUNG not in states
    finally:
        await engine.stop()
