"""One SSH connection: commands, streams, jumps, and every way in which it can end."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import paramiko
import pytest

from unit.ssh_people import Rules, ScriptedServer
from unit.sshd import Sshd, available, free_port, keygen, running
from virtfleet.errors import AccessError, DeadlineError, HostError, UnreachableError, UnsupportedError
from virtfleet.hypervisor.ssh.connection import SshConnection
from virtfleet.hypervisor.ssh.target import LibvirtAddress, SshTarget, resolve
from virtfleet.hypervisor.wire import SshSettings

pytestmark = pytest.mark.skipif(not available(), reason="no OpenSSH server installed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    yield from running(tmp_path)


@pytest.fixture
def connection(server: Sshd) -> Iterator[SshConnection]:
    connection = SshConnection.open(server.target())
    yield connection
    connection.close()


def unreachable(target: SshTarget, timeout: float = 5.0) -> str:
    with pytest.raises(UnreachableError) as caught:
        SshConnection.open(target, timeout=timeout)
    return caught.value.message


# ---------------------------------------------------------------- commands


def test_arguments_arrive_as_they_are(connection: SshConnection) -> None:
    odd = ["a b", "'", '"', "$HOME", "`id`", "*", "", "\n", "; exit 1", "ü", "\\", "-n"]
    done = connection.run(["sh", "-c", 'for each; do printf "%s|" "$each"; done', "x", *odd])
    assert done.rc == 0
    assert done.out.decode() == "".join(f"{each}|" for each in odd)


def test_input_outputs_and_exit_status(connection: SshConnection) -> None:
    done = connection.run(["sh", "-c", "cat; echo sorry >&2; exit 7"], input=b"text")
    assert (done.rc, done.out, done.err) == (7, b"text", b"sorry\n")
    assert connection.run(["sh", "-c", "kill -9 $$"]).rc == -1


def test_much_input_and_output(connection: SshConnection) -> None:
    data = os.urandom(1 << 20) * 12  # more than a window, both ways at once
    assert connection.run(["cat"], timeout=60, input=data, limit=1 << 30).out == data


def test_output_beyond_the_limit_is_dropped(connection: SshConnection) -> None:
    done = connection.run(["sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"], limit=1000)
    assert (done.rc, len(done.out), len(done.err)) == (0, 1000, 1000)


def test_a_command_that_ignores_its_input(connection: SshConnection) -> None:
    assert connection.run(["true"], input=bytes(20 << 20)).rc == 0


def test_a_command_that_does_not_end_is_hung_up_on(connection: SshConnection) -> None:
    with pytest.raises(DeadlineError):
        connection.run(["sleep", "100"], timeout=0.3)
    assert connection.run(["echo", "still here"]).out == b"still here\n"


def test_many_threads_share_it(connection: SshConnection) -> None:
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=lambda n=n: answers.put(connection.run(["echo", str(n)]).out))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers.get() for _ in range(8)) == [f"{n}\n".encode() for n in range(8)]


def test_no_more_sessions_and_no_commands(tmp_path: Path) -> None:
    for server in running(tmp_path, options="MaxSessions 1"):
        connection = SshConnection.open(server.target())
        held = connection.exec(["cat"])
        with pytest.raises(HostError, match="no more sessions"):
            connection.exec(["true"])
        assert connection.alive()
        held.close()
        connection.close()


def test_a_server_that_runs_no_commands(tmp_path: Path) -> None:
    path = keygen(tmp_path / "mine")
    key = paramiko.Ed25519Key.from_private_key_file(str(path))
    server = ScriptedServer(Rules(methods="publickey", key=key.asbytes()), key)
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{server.port} {key.get_name()} {key.get_base64()}\n")
    target = SshTarget("127.0.0.1", server.port, "x", identities=(str(path),), known_hosts=(str(known),))
    connection = SshConnection.open(target)
    with pytest.raises(AccessError, match="does not let us run"):
        connection.exec(["true"])
    assert connection.alive()
    connection.close()
    server.stop()


# ---------------------------------------------------------------- signs of life, and the end


def test_ping(connection: SshConnection) -> None:
    assert 0 <= connection.ping() < 3
    assert connection.alive()
    assert connection.lost == ""


def test_the_servers_death_is_noticed_by_everybody(server: Sshd) -> None:
    reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
    connection = SshConnection.open(server.target(), on_lost=reasons.put)
    failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def call() -> None:
        try:
            connection.run(["sleep", "100"], timeout=60)
        except Exception as error:
            failures.put(error)

    caller = threading.Thread(target=call)
    caller.start()
    while len(server.sessions()) < 2:
        time.sleep(0.01)
    server.kill_sessions()
    why = reasons.get(timeout=10)
    assert "closed the connection" in why or "lost" in why
    assert isinstance(failures.get(timeout=10), UnreachableError)
    caller.join(10)
    assert connection.lost == why
    assert not connection.alive()
    with pytest.raises(UnreachableError, match=why):
        connection.ping()
    with pytest.raises(UnreachableError, match=why):
        connection.run(["true"])
    connection.close()
    assert reasons.empty()


def test_a_silent_server_is_a_deadline_and_close_frees_at_once(server: Sshd) -> None:
    with SilentProxy(server.port) as proxy:
        target = msgspec.structs.replace(server.target(), port=proxy.port, alias="it")
        server.known_hosts.write_text(f"it {server.public()}\n")
        reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
        connection = SshConnection.open(target, on_lost=reasons.put)
        proxy.silent = True
        with pytest.raises(DeadlineError):
            connection.ping(0.2)
        with pytest.raises(DeadlineError):
            connection.exec(["true"], timeout=0.2)
        assert connection.alive()
        failed = threading.Event()

        def blocked() -> None:
            try:
                connection.run(["true"], timeout=60)
            except UnreachableError:
                failed.set()

        thread = threading.Thread(target=blocked)
        thread.start()
        connection.close()
        assert failed.wait(10)
        thread.join()
        assert connection.lost == "closed by us"
        assert reasons.empty()  # nobody needs to be told what he did himself


class SilentProxy:
    """Carries bytes to `port` until `silent` is set; then it swallows them, as a cut link does."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.silent = False
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> SilentProxy:
        self._spawn(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(5)
        for end in (*self._ends, self._listener):
            end.close()

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", self._to))
        self._ends += [near, far]
        self._spawn(self._carry, near, far)
        self._spawn(self._carry, far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.silent:
                    sink.sendall(data)
        except OSError:
            return


# ---------------------------------------------------------------- ways not to get there


def test_connection_refused() -> None:
    assert "connection refused" in unreachable(SshTarget("127.0.0.1", free_port(), "x"))


def test_unknown_name() -> None:
    assert "can't be resolved" in unreachable(SshTarget("no-such-host.invalid", 22, "x"))


def test_a_black_hole_costs_its_deadline_and_no_thread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        before = threading.active_count()
        message = unreachable(SshTarget("127.0.0.1", hole.getsockname()[1], "x"), timeout=0.3)
        assert "sent no SSH greeting" in message
        for _ in range(500):
            if threading.active_count() <= before:
                break
            time.sleep(0.01)
        assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("greeting", "text"),
    [(b"", "closed before any SSH greeting"), (b"HTTP/1.0 400 no\r\n\r\n", "closed before any SSH greeting")],
)
def test_what_is_no_ssh_server(greeting: bytes, text: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                link.sendall(greeting)
                link.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        assert text in unreachable(SshTarget("127.0.0.1", listener.getsockname()[1], "x"))
        thread.join()


# ---------------------------------------------------------------- jumps


def test_a_chain_of_two_jump_hosts(server: Sshd, tmp_path: Path) -> None:
    hops = f"""
Host j1 j2 hv1
  HostName 127.0.0.1
  Port {server.port}
  User {server.user}
Host hv1
  ProxyJump j1,j2
"""
    settings = SshSettings(identity=(str(server.key),), known_hosts=(str(server.known_hosts),))
    target = resolve("qemu+ssh://hv1/system", settings, hops)
    assert len(target.jumps) == 2
    reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
    connection = SshConnection.open(target, on_lost=reasons.put)
    assert connection.run(["echo", "through"]).out == b"through\n"
    data = os.urandom(3 << 20)
    assert connection.run(["cat"], timeout=60, input=data, limit=1 << 30).out == data
    server.kill_sessions()
    assert reasons.get(timeout=10)
    assert not connection.alive()


def test_closing_a_chain_leaves_no_thread(server: Sshd) -> None:
    before = threading.active_count()
    hop = server.target()
    connection = SshConnection.open(server.target(jumps=(hop, hop)))
    connection.close()
    for _ in range(500):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_failures_on_the_way_are_told_apart(server: Sshd, tmp_path: Path) -> None:
    nowhere = SshTarget("127.0.0.1", free_port(), "x")
    behind = msgspec.structs.replace(nowhere, jumps=(server.target(),))
    assert "can't be reached from the jump host" in unreachable(behind)
    assert unreachable(server.target(jumps=(nowhere,))).startswith("jump host on the way: 127.0.0.1")
    locked_out = server.target(identities=())
    with pytest.raises(AccessError, match="jump host on the way"):
        SshConnection.open(server.target(jumps=(locked_out,)))


def test_a_jump_host_that_does_not_forward(tmp_path: Path) -> None:
    for server in running(tmp_path, options="AllowTcpForwarding no"):
        with pytest.raises(AccessError, match="does not forward"):
            SshConnection.open(server.target(jumps=(server.target(),)))


def test_proxy_command(server: Sshd) -> None:
    if shutil.which("nc") is None:
        pytest.skip("no nc")
    target = msgspec.structs.replace(server.target(), proxy_command=("nc", "127.0.0.1", str(server.port)))
    connection = SshConnection.open(target)
    assert connection.run(["echo", "hi"]).out == b"hi\n"
    connection.close()
    absent = msgspec.structs.replace(server.target(), proxy_command=("/no/such/program",))
    assert "ProxyCommand /no/such/program" in unreachable(absent)
    false = msgspec.structs.replace(server.target(), proxy_command=("false",))
    assert "closed before any SSH greeting" in unreachable(false)


# ---------------------------------------------------------------- streams to libvirtd


class EchoSocket:
    """A Unix socket that answers as libvirtd would, if libvirtd echoed."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with link:
                while data := link.recv(65536):
                    link.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "echo sock"
    server = EchoSocket(path)
    yield path
    server.close()


def exchange(connection: SshConnection, address: LibvirtAddress) -> str:
    """Talk through the stream; the method that was used."""
    stream = connection.open_libvirt(address)
    stream.sendall(b"hello")
    got = b""
    while len(got) < 5:
        got += stream.recv(100)
    assert got == b"hello"
    stream.shutdown(socket.SHUT_WR)
    assert stream.recv(100) == b""
    stream.close()
    return stream.method


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_netcat(connection: SshConnection, echo: Path) -> None:
    if shutil.which("nc") is None:
        pytest.skip("no nc")
    address = LibvirtAddress("qemu", socket=str(echo))
    assert exchange(connection, address) == "netcat"
    assert exchange(connection, address) == "netcat"


def test_a_netcat_without_q(connection: SshConnection, echo: Path, tmp_path: Path) -> None:
    real = shutil.which("nc")
    if real is None:
        pytest.skip("no nc")
    other = script(
        tmp_path / "my nc",
        f"case $1 in -h) echo ' -U, --unixsock'; exit 0;; -q) echo 'invalid option' >&2; exit 2;; esac\n"
        f'test "$1" = -U || exit 9; exec {real} -N "$@"',
    )
    assert exchange(connection, LibvirtAddress("qemu", socket=str(echo), netcat=str(other))) == "netcat"


def test_a_netcat_that_does_not_know_unix_sockets(
    connection: SshConnection, echo: Path, tmp_path: Path
) -> None:
    if shutil.which("socat") is not None:
        pytest.skip("socat takes its place")
    old = script(tmp_path / "nc", "echo usage: nc host port >&2; exit 1")
    with pytest.raises(UnsupportedError, match="knows -U"):
        connection.open_libvirt(LibvirtAddress("qemu", socket=str(echo), netcat=str(old)))


def with_path(tmp_path: Path, folder: Path) -> Iterator[Sshd]:
    """A server whose logins find the programs of `folder` first, and print on the way in."""
    yield from running(tmp_path, options=f'SetEnv "PATH={folder}:/usr/bin:/bin"')


def test_virt_ssh_helper_is_preferred_and_remembered(tmp_path: Path, echo: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "calls"
    script(folder / "virt-ssh-helper", f'echo "$*" >>{log}; exec nc -N -U "{echo}"')
    for server in with_path(tmp_path, folder):
        connection = SshConnection.open(server.target())
        assert exchange(connection, LibvirtAddress("qemu")) == "native"
        assert exchange(connection, LibvirtAddress("qemu", read_only=True)) == "native"
        assert log.read_text() == "qemu:///system\n-r qemu:///system\n"
        connection.close()


def test_no_helper_and_no_socket(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "nc", "id", "grep"):
        (folder / name).symlink_to(shutil.which(name) or "/nonexistent")
    for server in running(tmp_path, options=f'SetEnv "PATH={folder}"'):
        connection = SshConnection.open(server.target())
        with pytest.raises(UnsupportedError, match="no libvirt socket"):
            connection.open_libvirt(LibvirtAddress("nosuchdriver", mode="direct"))
        with pytest.raises(UnsupportedError, match="virt-ssh-helper is not installed"):
            connection.open_libvirt(LibvirtAddress("qemu", proxy="native"))
        with pytest.raises(UnsupportedError, match="is not a socket"):
            connection.open_libvirt(LibvirtAddress("qemu", socket="/etc/passwd"))
        assert connection.alive()
        connection.close()


def test_what_a_helper_says_when_it_fails(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "virt-ssh-helper", "echo 'cannot connect to socket' >&2; exit 1")
    for server in with_path(tmp_path, folder):
        connection = SshConnection.open(server.target())
        stream = connection.open_libvirt(LibvirtAddress("qemu"))
        assert stream.recv(100) == b""
        assert stream.failure() == "cannot connect to socket"
        connection.close()


def test_a_login_that_gives_no_shell(tmp_path: Path) -> None:
    for server in running(tmp_path, options="ForceCommand echo go away"):
        connection = SshConnection.open(server.target())
        with pytest.raises(UnsupportedError, match="go away"):
            connection.open_libvirt(LibvirtAddress("qemu"))
        connection.close()


def test_noise_before_the_stream_is_skipped(tmp_path: Path, echo: Path) -> None:
    noise = 'ForceCommand echo Welcome; echo warning >&2; exec sh -c "$SSH_ORIGINAL_COMMAND"'
    for server in running(tmp_path, options=noise):
        connection = SshConnection.open(server.target())
        assert exchange(connection, LibvirtAddress("qemu", socket=str(echo))) == "netcat"
        connection.close()
