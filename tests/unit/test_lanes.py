"""A call that never returns is freed by closing the socket under it, and only its lane notices."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from virtfleet.errors import DeadlineError, HostError, NotFoundError, UnreachableError
from virtfleet.hypervisor import happenings
from virtfleet.hypervisor.doors import Door
from virtfleet.hypervisor.lanes import Lane, Runner


def no_stuck() -> None:
    raise AssertionError("the lane could not be freed")


def open_test() -> libvirt.virConnect:
    return libvirt.open("test:///default")


@pytest.fixture
def black_hole() -> Iterator[socket.socket]:
    """A server that accepts and never answers: a frozen libvirtd."""
    server = socket.create_server(("127.0.0.1", 0))
    yield server
    server.close()


async def test_calls_run_one_after_another_on_one_connection() -> None:
    lane = Lane("t", open_test, door=None, on_stuck=no_stuck)
    names = await asyncio.gather(*(lane.call(lambda conn: conn.getHostname(), 5) for _ in range(5)))
    assert len(set(names)) == 1
    assert lane.generation == 1
    await lane.close()


async def test_what_libvirt_reports_is_translated() -> None:
    lane = Lane("t", open_test, door=None, on_stuck=no_stuck)
    with pytest.raises(NotFoundError, match="Domain not found"):
        await lane.call(lambda conn: conn.lookupByName("nobody"), 5)
    assert await lane.call(lambda conn: conn.numOfDomains(), 5) == 1
    assert lane.generation == 1, "an error of a call is no reason to connect anew"
    await lane.close()


async def test_a_call_that_never_answers_is_freed_and_the_lane_goes_on(
    black_hole: socket.socket, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    door = Door(tmp_path / "d.sock", lambda: socket.create_connection(black_hole.getsockname()))
    uri = f"qemu+unix:///system?socket={door.path}"
    lane = Lane("t", lambda: libvirt.open(uri), door=door, on_stuck=no_stuck)
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=r"no answer on lane t within 0\.3 s"):
        await lane.call(lambda conn: conn.getLibVersion(), 0.3)
    assert time.monotonic() - started < 5
    with pytest.raises((DeadlineError, HostError)):
        await lane.call(lambda conn: conn.getLibVersion(), 0.3)
    await lane.close()
    door.close()


async def test_without_a_door_a_stuck_call_is_reported() -> None:
    stuck = asyncio.Event()
    release = threading.Event()
    lane = Lane("t", open_test, door=None, on_stuck=stuck.set)
    with pytest.raises(DeadlineError):
        await lane.call(lambda conn: release.wait(10), 0.1)
    assert stuck.is_set()
    release.set()
    await lane.close()


async def test_a_missed_deadline_is_forgiven_while_a_person_is_asked() -> None:
    asking = True

    def patience() -> bool:
        return asking

    release = threading.Event()
    lane = Lane("t", open_test, door=None, on_stuck=no_stuck, patience=patience)
    call = asyncio.ensure_future(lane.call(lambda conn: release.wait(10), 0.1))
    await asyncio.sleep(0.5)
    assert not call.done()
    release.set()
    assert await call is True
    asking = False
    await lane.close()


async def test_a_runner_starts_no_thread_before_it_has_work() -> None:
    before = threading.active_count()
    runner = Runner("idle")
    assert threading.active_count() == before
    assert await runner.submit(lambda: 42) == 42
    runner.close()


async def test_a_call_after_the_end_fails_at_once_and_blames_nobody() -> None:
    lane = Lane("t", open_test, door=None, on_stuck=no_stuck)
    assert await lane.call(lambda conn: conn.numOfDomains(), 5) == 1
    await lane.close()
    with pytest.raises(UnreachableError, match="closed"):
        await lane.call(lambda conn: conn.numOfDomains(), 5)


async def test_a_cancelled_call_without_a_door_is_left_to_its_deadline() -> None:
    release = threading.Event()
    lane = Lane("t", open_test, door=None, on_stuck=no_stuck)
    call = asyncio.ensure_future(lane.call(lambda conn: release.wait(10), 10))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.wait({call})
    assert lane.busy
    after = asyncio.ensure_future(lane.call(lambda conn: conn.numOfDomains(), 0.5))
    await asyncio.sleep(0.7)
    assert not after.done(), "its own time counts from when the lane is free"
    release.set()
    assert await after == 1
    await lane.close()


async def test_what_holds_the_connection_is_let_go_before_it_is_closed() -> None:
    happenings.start_event_loop()
    heard: list[object] = []
    connections: list[libvirt.virConnect] = []

    def listen(conn: libvirt.virConnect) -> None:
        lane.before_drop(happenings.Registration(conn, heard.append).undo)
        connections.append(conn)

    lane = Lane("t", open_test, door=None, on_stuck=no_stuck)
    await lane.call(listen, 5)
    await lane.close()
    await asyncio.sleep(0.2)
    with pytest.raises(libvirt.libvirtError):
        connections[0].getHostname()


async def test_text_that_is_not_utf8_is_the_hosts_fault() -> None:
    lane = Lane("t", open_test, door=None, on_stuck=no_stuck)
    with pytest.raises(HostError, match="not UTF-8"):
        await lane.call(lambda conn: b"\xff".decode(), 5)
    assert await lane.call(lambda conn: conn.numOfDomains(), 5) == 1
    await lane.close()
