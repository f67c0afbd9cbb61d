"""Ports on the loopback that lead elsewhere: who may come in, where it leads, when they close."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from virtfleet.errors import UnreachableError
from virtfleet.hypervisor import forwards
from virtfleet.hypervisor.forwards import LOOPBACK, Forwards, ours
from virtfleet.hypervisor.gate import Gate


def upstream(greeting: bytes) -> socket.socket:
    near, far = socket.socketpair()

    def serve() -> None:
        with far:
            far.sendall(greeting)
            while data := far.recv(1024):
                far.sendall(data.upper())

    threading.Thread(target=serve, daemon=True).start()
    return near


def test_it_leads_there_and_back_for_many() -> None:
    opened = Forwards()
    name, port = opened.open(lambda: upstream(b"RFB 003.008\n"), idle=60)
    clients = [socket.create_connection((LOOPBACK, port), 10) for _ in range(3)]
    for client in clients:
        assert client.recv(64) == b"RFB 003.008\n"
        client.sendall(b"abc")
        assert client.recv(64) == b"ABC"
        client.close()
    assert opened.close(name)
    assert not opened.close(name)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port), 10)


def test_why_nothing_came_is_known() -> None:
    opened = Forwards()

    def fail() -> socket.socket:
        raise UnreachableError("10.0.0.1:22 can't be reached from hv1")

    name, port = opened.open(fail, idle=60)
    with socket.create_connection((LOOPBACK, port), 10) as client:
        assert client.recv(1) == b""
    assert opened.last_error(name) == "10.0.0.1:22 can't be reached from hv1"
    opened.close(name)


def test_it_closes_when_nobody_uses_it() -> None:
    opened = Forwards()
    name, _ = opened.open(lambda: upstream(b""), idle=0.05)
    until = time.monotonic() + 30
    while name in opened._doors:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_of_this_machine_is_not_let_in() -> None:
    opened = Forwards()
    name, port = opened.open(lambda: upstream(b"hello"), idle=60)
    script = f"""
import encodings.idna, os, socket
os.setgid(65534); os.setuid(65534)
client = socket.create_connection(({LOOPBACK!r}, {port}), 10)
try:
    print(client.recv(64))
except ConnectionError:
    print(b"")
"""
    said = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, timeout=30, check=True)
    assert said.stdout.strip() == b"b''"
    with socket.create_connection((LOOPBACK, port), 10) as mine:
        assert mine.recv(64) == b"hello"
    opened.close(name)


def test_the_kernel_says_whose_a_connection_is() -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as accepted,
    ):
        assert forwards._owner(accepted.getpeername(), accepted.getsockname()) == os.geteuid()
        assert ours(accepted)


def test_a_gate_holds_back_and_its_end_frees_whoever_waits() -> None:
    gate = Gate()
    near, far = socket.socketpair()
    guarded = gate.guard(near)
    far.sendall(b"1")
    assert guarded.recv(10) == b"1"
    gate.hold(True)
    far.sendall(b"2")
    got: list[bytes] = []
    reading = threading.Thread(target=lambda: got.append(guarded.recv(10)), daemon=True)
    reading.start()
    reading.join(0.05)
    assert got == []
    gate.hold(False)
    reading.join(10)
    assert got == [b"2"]
    gate.hold(True)
    waiting = threading.Thread(target=lambda: _until_closed(guarded), daemon=True)
    waiting.start()
    guarded.close()
    waiting.join(10)
    assert not waiting.is_alive()
    far.close()


def _until_closed(guarded: object) -> None:
    try:
        guarded.recv(10)  # type: ignore[attr-defined]
    except OSError:
        return
