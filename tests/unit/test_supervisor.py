"""The supervisor: rows of all hosts come before anything else of any."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from virtfleet.fleet.assembly import blank
from virtfleet.fleet.supervisor import Supervisor
from virtfleet.hypervisor import wire


def supervisor(count: int) -> Supervisor:
    def ignore(*_: Any) -> None:
        pass

    hosts = [
        (wire.WorkerSettings(f"hv{n}", "test:///default", settle=2.0), blank(f"hv{n}", "", "", (), 2.0))
        for n in range(count)
    ]
    return Supervisor(
        hosts, zygote=None, log_file=None, on_change=ignore, on_event=ignore, on_sample=ignore,
        on_pools=ignore, on_prompt=ignore, on_prompt_gone=ignore, on_worker_lost=ignore,
    )  # fmt: skip


async def test_a_host_waits_with_its_pools_until_the_others_have_their_rows() -> None:
    made = supervisor(101)
    hosts = list(made.hosts.values())
    for host in hosts[1:]:
        made.enqueue(host)
    first = made.patient(hosts[0].settings)
    assert (first.rows_first, first.settle) == (4.0, 2.0)


async def test_a_host_that_comes_back_alone_and_a_command_that_asks_once_do_not_wait() -> None:
    made = supervisor(3)
    hosts = list(made.hosts.values())
    assert made.patient(hosts[0].settings).rows_first == 0.0
    made.enqueue(hosts[1])
    once = wire.WorkerSettings("hv0", "test:///default", groups=("pools",))
    assert made.patient(once) is once


async def test_what_a_worker_is_told_has_the_wait_in_it(monkeypatch: Any) -> None:
    made = supervisor(6)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    monkeypatch.setattr(made, "fork", lambda: (1, ours))
    hosts = list(made.hosts.values())
    for host in hosts[1:]:
        made.enqueue(host)
    starting = asyncio.ensure_future(hosts[0].start())
    await asyncio.sleep(0.05)
    (body,) = wire.Frames().feed(theirs.recv(65536))
    told = wire.decode_to_worker(body)
    assert isinstance(told, wire.Configure)
    assert told.settings.rows_first == 0.2
    hosts[0].stop()
    await starting
    theirs.close()
