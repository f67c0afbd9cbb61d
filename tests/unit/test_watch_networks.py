"""What an event says while networks are being read is not lost."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import SimpleNamespace
from typing import Any, cast

import libvirt
import pytest

from virtfleet.hypervisor import wire
from virtfleet.hypervisor.catalogue import Catalogue
from virtfleet.hypervisor.lanes import Lane, Meter
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.watch_networks import NetworkWatch


async def test_an_event_during_the_reading_makes_the_next_one_describe_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    lane = Lane("t", lambda: libvirt.open("test:///default"), door=None, on_stuck=lambda: None)
    vms = SimpleNamespace(catalogue=Catalogue(), tell_changes=lambda: None, told_of={"network"})
    settings = wire.WorkerSettings("h", "test:///default")
    host, meter = cast(Any, SimpleNamespace(neighbours={})), Meter()
    lanes = cast(Any, SimpleNamespace(detail=lane))
    watch = NetworkWatch(settings, lanes, cast(Any, None), cast(Any, vms), host, meter, Port(ours))
    await watch._round()
    meter.take()
    await watch._round()
    steady, _ = meter.take()
    described, go_on = threading.Event(), threading.Event()
    leases = watch._leases

    def late(network: libvirt.virNetwork) -> Any:
        described.set()
        go_on.wait(5)
        return leases(network)

    monkeypatch.setattr(watch, "_leases", late)
    reading = asyncio.ensure_future(watch._round())
    assert await asyncio.to_thread(described.wait, 5)
    watch.poke()
    go_on.set()
    await reading
    meter.take()
    await watch._round()
    calls, _ = meter.take()
    assert calls > steady, "it was described anew"
    await watch._round()
    assert meter.take()[0] == steady
    await lane.close()
    ours.close()
    theirs.close()
