"""A console's socket: both ways, one client, held back when nobody reads, and why it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from virtfleet.errors import DeadlineError
from virtfleet.hypervisor import bridge
from virtfleet.hypervisor.bridge import CLOSED, FULL, MOST, NOBODY, Bridge


@pytest.fixture
def path(tmp_path: Path) -> str:
    tmp_path.chmod(0o700)
    return str(tmp_path / "tty.sock")


class Guest:
    """The other side, as the worker's console is."""

    def __init__(self, path: str) -> None:
        self.typed = bytearray()
        self.heard = asyncio.Event()
        self.held: list[bool] = []
        self.failure: Exception | None = None
        self.bridge = Bridge(path, self.send, self.held.append)
        self.running: asyncio.Task[str] | None = None

    async def send(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.typed += data
        self.heard.set()

    async def until_typed(self, data: bytes) -> None:
        while data not in self.typed:
            self.heard.clear()
            await self.heard.wait()


@asynccontextmanager
async def opened(path: str) -> AsyncIterator[tuple[Guest, asyncio.StreamReader, asyncio.StreamWriter]]:
    guest = Guest(path)
    guest.running = asyncio.ensure_future(guest.bridge.run(10))
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield guest, reader, writer
    finally:
        writer.close()
        guest.bridge.end("test")
        await guest.running


async def test_bytes_go_both_ways(path: str) -> None:
    async with opened(path) as (guest, reader, writer):
        guest.bridge.arrived(b"login: ")
        assert await reader.readexactly(7) == b"login: "
        writer.write(b"root\r")
        await guest.until_typed(b"root\r")


async def test_what_the_guest_wrote_before_anybody_came_is_delivered(path: str) -> None:
    guest = Guest(path)
    guest.bridge.arrived(b"booting")
    running = asyncio.ensure_future(guest.bridge.run(10))
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.readexactly(7) == b"booting"
    writer.close()
    assert await running == CLOSED
    assert not Path(path).exists()


async def test_a_console_that_ends_delivers_the_last_words_and_its_reason(path: str) -> None:
    async with opened(path) as (guest, reader, _):
        guest.bridge.arrived(b"Power down")
        guest.bridge.end("it was shut down")
        guest.bridge.end("a later reason")
        assert await reader.read() == b"Power down"
        assert guest.running is not None
        assert await guest.running == "it was shut down"


async def test_a_guest_that_takes_nothing_ends_it(path: str) -> None:
    async with opened(path) as (guest, reader, writer):
        guest.failure = DeadlineError("no answer on lane console1 within 10 s")
        writer.write(b"x")
        assert await reader.read() == b""
        assert guest.running is not None
        assert await guest.running == "no answer on lane console1 within 10 s"


async def test_nobody_comes(path: str) -> None:
    assert await Guest(path).bridge.run(0.01) == NOBODY


async def test_it_ends_before_anybody_comes(path: str) -> None:
    guest = Guest(path)
    guest.bridge.end("gone")
    assert await guest.bridge.run(10) == "gone"


async def test_a_second_client_finds_nothing(path: str) -> None:
    async with opened(path) as (guest, reader, writer):
        writer.write(b"1")
        await guest.until_typed(b"1")
        other_reader, other = await asyncio.open_unix_connection(path)
        other.write(b"2")
        guest.bridge.arrived(b"secret")
        assert await reader.readexactly(6) == b"secret"
        guest.bridge.end("over")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await other_reader.readexactly(1)
        other.close()
        assert bytes(guest.typed) == b"1"


async def test_a_client_that_does_not_read_holds_the_guest(path: str) -> None:
    async with opened(path) as (guest, reader, _):
        sent = 0
        while not guest.held:
            guest.bridge.arrived(b"x" * 8192)
            sent += 8192
            await asyncio.sleep(0)
            assert sent < FULL * 4 + bridge._CHUNK
        assert guest.held == [True]
        await reader.readexactly(sent)
        assert guest.held == [True, False]
        assert guest.bridge.lost == 0


async def test_a_guest_that_cannot_be_held_costs_no_more_than_so_much(path: str) -> None:
    guest = Guest(path)
    for _ in range(6):
        guest.bridge.arrived(b"y" * (MOST // 4))
    assert guest.bridge.lost == MOST // 2
    guest.bridge.close()


async def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ValueError, match="others may enter"):
        Guest(str(tmp_path / "tty.sock"))
