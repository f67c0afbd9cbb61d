"""Doors: local sockets joined to streams of ours; cutting one frees whoever is blocked on it."""

from __future__ import annotations

import os
import queue
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from unit.sshd import available, running
from virtfleet.errors import AccessError
from virtfleet.hypervisor.doors import MAX_PATH, Door, Upstream
from virtfleet.hypervisor.ssh.connection import SshConnection

Opened = Callable[[Callable[[], Upstream]], Door]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def opened(folder: Path) -> Iterator[Opened]:
    doors: list[Door] = []

    def start(open_upstream: Callable[[], Upstream]) -> Door:
        door = Door(folder / f"door{len(doors)}.sock", open_upstream)
        doors.append(door)
        return door

    yield start
    for door in doors:
        door.close()


def call(door: Door) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    try:
        client.connect(door.path)
    except OSError:
        client.close()
        raise
    return client


def pair(far_ends: queue.SimpleQueue[socket.socket]) -> Callable[[], Upstream]:
    """Opens upstreams whose far ends the test holds."""

    def open_upstream() -> Upstream:
        near, far = socket.socketpair()
        far.settimeout(10)
        far_ends.put(far)
        return near

    return open_upstream


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def read_all(end: socket.socket) -> bytes:
    data = b""
    while more := end.recv(65536):
        data += more
    return data


def test_bytes_go_both_ways_and_ends_are_told(opened: Opened) -> None:
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    door = opened(pair(far_ends))
    with call(door) as client, far_ends.get(timeout=10) as far:
        assert door.connections == 1
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(far) == b"question"
        far.sendall(b"answer")  # after the other direction has ended
        far.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"answer"
        assert eventually(lambda: door.connections == 0)
    assert door.last_error is None


def test_much_data_both_ways_at_once(opened: Opened) -> None:
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    door = opened(pair(far_ends))
    up, down = os.urandom(4 << 20), os.urandom(4 << 20)
    with call(door) as client, far_ends.get(timeout=10) as far:

        def send(end: socket.socket, data: bytes) -> None:
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)

        senders = [threading.Thread(target=send, args=each) for each in ((client, up), (far, down))]
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read_all(far)))
        for thread in (*senders, reader):
            thread.start()
        assert read_all(client) == down
        for thread in (*senders, reader):
            thread.join()
        assert got == [up]


def test_a_client_that_hangs_up_ends_its_upstream(opened: Opened) -> None:
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    door = opened(pair(far_ends))
    client = call(door)
    with far_ends.get(timeout=10) as far:
        client.close()
        assert read_all(far) == b""
        assert eventually(lambda: door.connections == 0)


def test_cut_frees_every_blocked_reader_and_the_door_stays_open(opened: Opened) -> None:
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    door = opened(pair(far_ends))
    clients = [call(door) for _ in range(3)]
    freed: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threads = [threading.Thread(target=lambda end=end: freed.put(end.recv(1))) for end in clients]
    for thread in threads:
        thread.start()
    fars = [far_ends.get(timeout=10) for _ in clients]
    door.cut()
    assert [freed.get(timeout=10) for _ in clients] == [b"", b"", b""]
    for thread in threads:
        thread.join()
    assert [read_all(far) for far in fars] == [b"", b"", b""]
    assert eventually(lambda: door.connections == 0)
    with call(door) as again, far_ends.get(timeout=10) as far:
        again.sendall(b"x")
        assert far.recv(1) == b"x"
    for end in (*clients, *fars):
        end.close()


def test_cut_frees_a_blocked_writer(opened: Opened) -> None:
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    door = opened(pair(far_ends))
    client = call(door)
    failed = threading.Event()

    def write() -> None:
        try:
            client.sendall(bytes(64 << 20))
        except OSError:
            failed.set()

    thread = threading.Thread(target=write)
    thread.start()
    with far_ends.get(timeout=10) as far:
        assert far.recv(1) == b"\0"
        door.cut()
        assert failed.wait(10)
    thread.join()
    client.close()
    assert eventually(lambda: door.connections == 0)


def test_why_an_upstream_could_not_be_opened(opened: Opened) -> None:
    problem = AccessError("no")
    answers: list[Exception | None] = [problem, None]

    def open_upstream() -> Upstream:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        near, far = socket.socketpair()
        far.close()
        return near

    door = opened(open_upstream)
    with call(door) as client:
        assert client.recv(1) == b""
        assert door.last_error is problem  # known before the client hears of it
    with call(door) as client:
        assert client.recv(1) == b""
        assert door.last_error is None


def test_why_an_upstream_ended_without_a_word(opened: Opened) -> None:
    class Explaining:
        def recv(self, size: int) -> bytes:
            return b""

        def sendall(self, data: bytes) -> None:
            raise OSError

        def shutdown(self, how: int) -> None:
            return

        def close(self) -> None:
            return

        def failure(self) -> str:
            return "libvirtd is not running"

    door = opened(Explaining)
    with call(door) as client:
        assert client.recv(1) == b""
        assert str(door.last_error) == "libvirtd is not running"


def test_close_removes_the_socket_and_frees_clients(opened: Opened) -> None:
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    door = opened(pair(far_ends))
    threads = threading.active_count()
    client = call(door)
    far = far_ends.get(timeout=10)
    door.close()
    assert client.recv(1) == b""
    assert not os.path.exists(door.path)
    with pytest.raises(OSError, match="No such file"):
        call(door)
    door.close()
    assert eventually(lambda: threading.active_count() < threads)
    client.close()
    far.close()


def test_places_that_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="107"):
        Door(folder / ("x" * MAX_PATH), pair(queue.SimpleQueue()))
    tmp_path.chmod(0o755)
    with pytest.raises(ValueError, match="others may enter"):
        Door(tmp_path / "s", pair(queue.SimpleQueue()))
    (folder / "file").write_text("precious")
    with pytest.raises(OSError, match="in use"):
        Door(folder / "file", pair(queue.SimpleQueue()))
    assert (folder / "file").read_text() == "precious"


def test_a_stale_socket_is_replaced_and_the_new_one_is_private(folder: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / "s"))
    stale.close()
    door = Door(folder / "s", pair(queue.SimpleQueue()))
    assert stat.S_IMODE(os.stat(door.path).st_mode) == 0o600
    door.close()


def test_cut_frees_a_libvirt_call_that_waits_for_a_mute_daemon(opened: Opened) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    door = opened(pair(far_ends))
    failed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def connect() -> None:
        try:
            libvirt.open(f"qemu+unix:///system?socket={door.path}")
        except libvirt.libvirtError as error:
            failed.put(str(error))

    thread = threading.Thread(target=connect)
    thread.start()
    with far_ends.get(timeout=10) as far:
        assert far.recv(4)  # its first message: it waits for the answer now
        door.cut()
        assert failed.get(timeout=10)
    thread.join()


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[SshConnection]:
    for server in running(tmp_path):
        connection = SshConnection.open(server.target())
        yield connection
        connection.close()


@pytest.mark.skipif(not available(), reason="no OpenSSH server installed")
def test_an_ssh_channel_as_upstream(opened: Opened, connection: SshConnection) -> None:
    door = opened(lambda: connection.exec(["cat"]))
    data = os.urandom(6 << 20)
    with call(door) as client:

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert read_all(client) == data
        sender.join()
    with call(door) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        connection.close()  # the link is lost: whoever waits behind the door is freed
        assert client.recv(1) == b""
    with call(door) as client:
        assert client.recv(1) == b""
    assert "closed by us" in str(door.last_error)


def test_a_door_that_nobody_uses_says_so(folder: Path) -> None:
    far_ends: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    told: list[int] = []

    def on_idle(idle: Door) -> None:
        told.append(idle.connections)
        idle.close()

    door = Door(folder / "idle.sock", pair(far_ends), idle=0.1, on_idle=on_idle)
    with call(door) as client, far_ends.get(timeout=10) as far:
        time.sleep(0.3)
        assert not told, "somebody is in it"
        client.sendall(b"question")
        assert far.recv(100) == b"question"
    assert eventually(lambda: told == [0])
    assert eventually(lambda: not door._thread.is_alive())
    assert not os.path.exists(door.path)
    with pytest.raises(OSError, match="No such file"):
        call(door)
