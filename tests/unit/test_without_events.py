"""A driver that has no events (ESX's, for one): what it knows of VMs is looked at again in turn."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.hypervisor import happenings, wire
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.session import Session
from virtfleet.hypervisor.turns import AT_ONCE, Turns

NODE = """<node>
  <domain type="test"><name>test</name><memory>1024</memory><os><type>hvm</type></os></domain>
  <network><name>default</name><bridge name="virbr0"/>
    <ip address="192.168.122.1" netmask="255.255.255.0"/></network>
  <pool type="dir"><name>heap</name><target><path>/heap</path></target></pool>
</node>"""


@given(st.lists(st.text(), unique=True), st.floats(0.1, 300.0), st.integers(0, 1000))
def test_everybody_gets_a_turn(names: list[str], interval: float, earlier: int) -> None:
    turns = Turns()
    turns.take([str(n) for n in range(earlier)], interval)
    seen: set[str] = set()
    rounds = 0
    while len(seen) < len(names):
        taken = turns.take(names, interval)
        assert 0 < len(taken) <= AT_ONCE
        assert len(set(taken)) == len(taken)
        seen.update(taken)
        rounds += 1
    assert rounds <= len(names)
    assert rounds * interval <= 60.0 + interval or rounds <= -(-len(names) // AT_ONCE)


def test_nobody_there() -> None:
    assert Turns().take([], 2.0) == []


@asynccontextmanager
async def serving(
    folder: Path, node: str = NODE, uri: str = ""
) -> AsyncIterator[tuple[Session, list[wire.FromWorker]]]:
    """A session with the test driver, and all that it tells."""
    happenings.start_event_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    told: list[wire.FromWorker] = []

    async def read() -> None:
        frames = wire.Frames()
        while data := await asyncio.get_running_loop().sock_recv(theirs, 1 << 18):
            told.extend(wire.decode_from_worker(body) for body in frames.feed(data))

    (folder / "node.xml").write_text(node)
    uri = uri or f"test://{folder}/node.xml"  # its state is this connection's own
    settings = wire.WorkerSettings(
        "h", uri, interval=0.1, networks_interval=0.2, pools_interval=0.1, runtime_dir=str(folder)
    )
    session = Session(settings, Port(ours), lambda: None)
    tasks = [asyncio.ensure_future(session.run()), asyncio.ensure_future(read())]
    try:
        yield session, told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ours.close()
        theirs.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def refuse(*_: Any) -> int:
    raise libvirt.libvirtError("this function is not supported by the connection driver")


@pytest.mark.parametrize("events", [True, False])
async def test_a_change_is_seen_with_and_without_events(
    events: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not events:
        for name in ("domainEventRegisterAny", "networkEventRegisterAny", "storagePoolEventRegisterAny"):
            monkeypatch.setattr(libvirt.virConnect, name, refuse)
    async with serving(tmp_path) as (session, told):
        await until(lambda: any(isinstance(each, wire.Vms) for each in told))
        lanes = session.lanes
        assert lanes is not None

        def rename(conn: libvirt.virConnect) -> None:
            what, where = libvirt.VIR_DOMAIN_METADATA_TITLE, libvirt.VIR_DOMAIN_AFFECT_CURRENT
            conn.lookupByName("test").setMetadata(what, "another", None, None, where)  # type: ignore[arg-type]

        await lanes.long.call(rename, 5)
        await until(
            lambda: any(
                info.title == "another"
                for each in told
                if isinstance(each, wire.Vms)
                for info in each.changed
            )
        )


async def test_a_network_that_stops_silently_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt.virConnect, "networkEventRegisterAny", refuse)
    async with serving(tmp_path) as (session, told):

        def active() -> list[bool]:
            last = [each for each in told if isinstance(each, wire.Networks)]
            return [network.active for network in last[-1].networks] if last else []

        await until(lambda: active() == [True])
        lanes = session.lanes
        assert lanes is not None
        await lanes.long.call(lambda conn: conn.networkLookupByName("default").destroy(), 5)
        told.clear()
        await until(lambda: active() == [False])


async def test_a_pool_that_is_redefined_silently_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt.virConnect, "storagePoolEventRegisterAny", refuse)
    async with serving(tmp_path) as (session, told):

        def autostart() -> list[bool]:
            last = [each for each in told if isinstance(each, wire.Pools)]
            return [pool.autostart for pool in last[-1].pools] if last else []

        await until(lambda: autostart() == [False])
        lanes = session.lanes
        assert lanes is not None
        await lanes.long.call(lambda conn: conn.storagePoolLookupByName("heap").setAutostart(1), 5)
        await until(lambda: autostart() == [True])
