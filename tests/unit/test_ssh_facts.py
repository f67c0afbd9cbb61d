"""The host's own figures over one channel, against real shells."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.sshd import Sshd, available, running
from virtfleet.errors import DeadlineError, UnreachableError, UnsupportedError
from virtfleet.hypervisor.ssh import facts
from virtfleet.hypervisor.ssh.connection import SshConnection
from virtfleet.hypervisor.ssh.facts import KINDS, FactsChannel

pytestmark = pytest.mark.skipif(not available(), reason="no OpenSSH server installed")


def shells() -> list[str]:
    return [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    yield from running(tmp_path)


@pytest.fixture
def connection(server: Sshd) -> Iterator[SshConnection]:
    connection = SshConnection.open(server.target())
    yield connection
    connection.close()


def loops(server: Sshd) -> list[int]:
    """Processes of the server that run the loop."""

    def command(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    return [pid for pid in server.sessions() if b"while read" in command(pid)]


def test_fast_facts_are_those_of_this_machine(connection: SshConnection) -> None:
    channel = FactsChannel(connection)
    answer = channel.read()
    assert set(answer) <= set(KINDS["fast"])
    assert answer["stat"].startswith("cpu ")
    assert "\n" not in answer["stat"]
    assert len(answer["loadavg"].split()) == 5
    assert float(answer["uptime"].split()[0]) > 0
    total = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    assert total in answer["meminfo"].splitlines()
    assert "lo:" in answer["net/dev"]
    assert answer["diskstats"].endswith("\n")


def test_several_kinds_in_one_round_trip(connection: SshConnection) -> None:
    channel = FactsChannel(connection)
    answer = channel.read("fast", "arp", "hugepages", "slow")
    assert answer["uname"].split()[0::2] == [os.uname().sysname, os.uname().machine]
    assert answer["iommu"].isdigit()
    assert answer["mounts"] == Path("/proc/mounts").read_text()
    assert answer["net/arp"].startswith("IP address")
    assert answer["os-release"] == Path("/etc/os-release").read_text()
    sizes = sorted(path.name for path in Path("/sys/kernel/mm/hugepages").glob("hugepages-*"))
    assert sorted(line.split()[0] for line in answer["hugepages"].splitlines()) == sizes
    assert "stat" in answer


@pytest.mark.parametrize("shell", shells())
def test_each_shell(tmp_path: Path, shell: str) -> None:
    """The remote `sh` is each of these, and with busybox its `tail` too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which(shell) or ""
    (folder / "sh").symlink_to(real)
    if shell == "busybox":
        (folder / "tail").symlink_to(real)
        (folder / "uname").symlink_to(real)
    for server in running(tmp_path, options=f'SetEnv "PATH={folder}:/usr/bin:/bin"'):
        connection = SshConnection.open(server.target())
        channel = FactsChannel(connection)
        answer = channel.read(*KINDS)
        assert set(answer) == {key for keys in KINDS.values() for key in keys}
        assert answer["mounts"] == Path("/proc/mounts").read_text()
        assert os.path.realpath(f"/proc/{loops(server)[0]}/exe") == os.path.realpath(real)
        connection.close()


def test_an_unknown_kind_is_our_mistake(connection: SshConnection) -> None:
    with pytest.raises(ValueError, match="rm"):
        FactsChannel(connection).read("rm -rf /")


def test_a_late_answer_is_not_taken_for_the_next(server: Sshd, connection: SshConnection) -> None:
    channel = FactsChannel(connection)
    assert channel.last_answer == 0.0
    channel.read()
    answered = channel.last_answer
    assert answered > 0
    (loop,) = loops(server)
    os.kill(loop, signal.SIGSTOP)
    for _ in range(10):  # more than are sent to a host that does not answer
        with pytest.raises(DeadlineError):
            channel.read("slow", timeout=0.05)
    assert channel.last_answer == answered
    os.kill(loop, signal.SIGCONT)
    assert set(channel.read("arp", timeout=10)) == {"net/arp"}
    assert set(channel.read("hugepages", timeout=10)) == {"hugepages"}
    assert channel.last_answer > answered


def test_threads_take_turns(connection: SshConnection) -> None:
    channel = FactsChannel(connection)
    wrong: list[set[str]] = []

    def ask(kind: str) -> None:
        for _ in range(5):
            answer = set(channel.read(kind, timeout=20))
            if not answer <= set(KINDS[kind]):
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(kind,)) for kind in KINDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_loop_ends_with_its_channel(server: Sshd, connection: SshConnection) -> None:
    channel = FactsChannel(connection)
    channel.read()
    channel.close()
    until = time.monotonic() + 10
    while loops(server) and time.monotonic() < until:
        time.sleep(0.02)
    assert loops(server) == []
    with pytest.raises(UnreachableError):
        channel.read()


def test_a_dead_loop_and_a_dead_connection(server: Sshd, connection: SshConnection) -> None:
    channel = FactsChannel(connection)
    os.kill(loops(server)[0], signal.SIGKILL)
    with pytest.raises(UnreachableError, match="shell on the host ended"):
        channel.read(timeout=10)
    channel = FactsChannel(connection)
    connection.close()
    with pytest.raises(UnreachableError, match="closed by us"):
        channel.read()


def test_a_login_without_a_shell(tmp_path: Path) -> None:
    for server in running(tmp_path, options="ForceCommand echo go away"):
        connection = SshConnection.open(server.target())
        with pytest.raises(UnsupportedError, match="POSIX shell"):
            FactsChannel(connection)
        assert connection.alive()
        connection.close()


def test_an_endless_answer_is_cut(connection: SshConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_MAX_ANSWER", 100)
    channel = FactsChannel(connection)
    with pytest.raises(UnreachableError):
        channel.read("fast", timeout=10)
