"""Hosts that libvirt itself reaches: credentials come from the person at the console."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from virtfleet.config.settings import FleetSettings, HostSettings
from virtfleet.engine import Engine
from virtfleet.model import HostState

NODE = """<node>
  <auth><user password="sesame">alibaba</user></auth>
  <domain type="test"><name>cave</name><memory>1024</memory><os><type>hvm</type></os></domain>
</node>"""


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FleetSettings:
    """One host of the test driver that wants a user name and a password."""
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        folder = tmp_path / variable
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))
    node = tmp_path / "node.xml"
    node.write_text(NODE)
    return FleetSettings(hosts={"hv1": HostSettings(name="hv1", uri=f"test://{node}")})


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_credentials_are_asked_for_inside(guarded: FleetSettings) -> None:
    engine = Engine(guarded, interactive=True)
    await engine.start()
    try:
        await until(lambda: len(engine.prompts.pending) == 1)
        first = engine.prompts.pending[0]
        assert not first.secret
        assert engine.snapshot.hosts["hv1"].state is HostState.ASKING
        engine.prompts.answer(first.id, "alibaba")
        await until(lambda: any(each.secret for each in engine.prompts.pending))
        engine.prompts.answer(engine.prompts.pending[0].id, "sesame")
        await until(lambda: engine.snapshot.hosts["hv1"].state is HostState.UP)
        assert [vm.name for vm in engine.snapshot.hosts["hv1"].vms] == ["cave"]
    finally:
        await engine.stop()


async def test_without_a_person_it_is_refused_and_not_retried(guarded: FleetSettings) -> None:
    engine = Engine(guarded, interactive=False)
    await engine.start()
    try:
        await until(lambda: engine.snapshot.hosts["hv1"].state is HostState.REFUSED)
        assert "authentication" in engine.snapshot.hosts["hv1"].reason.lower()
        since = engine.snapshot.hosts["hv1"].since
        await asyncio.sleep(3)
        assert engine.snapshot.hosts["hv1"].since == since
    finally:
        await engine.stop()
