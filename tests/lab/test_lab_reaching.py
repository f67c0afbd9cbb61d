"""Reaching guests on real hypervisors: serial consoles, SSH, screens; and when something gives way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import termios
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.terminal import Terminal
from lab.fleet import Lab
from lab.guest import console_text, empty_guest
from lab.host import LabHost
from lab.test_lab_headless import COMMAND, env, gone
from lab.watching import Watched, watching
from virtfleet.errors import DeadlineError, NotFoundError, RefusedError, UnreachableError

pytestmark = pytest.mark.lab

__all__ = ["env"]

PATIENCE = 60.0
_SCREEN = "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1' passwd='secret'/>"
_SOCKET = "<graphics type='vnc' socket='/tmp/screen.sock'/>"


class Opened:
    """One console, as a client has it."""

    def __init__(self, watched: Watched, host: str, answer: dict[str, Any]) -> None:
        self.watched = watched
        self.host = host
        self.id = str(answer["id"])
        self.path = str(answer["path"])
        self.text = ""

    async def connect(self) -> Opened:
        self.reader, self.writer = await asyncio.open_unix_connection(self.path)
        return self

    async def until(self, *words: str, timeout: float = PATIENCE) -> str:
        """Reads until one of the words came; the console's end is none."""
        async with asyncio.timeout(timeout):
            while not any(word in self.text for word in words):
                data = await self.reader.read(65536)
                assert data, f"it ended: {self.text[-500:]}"
                self.text += data.decode("utf-8", "replace")
        return self.text

    async def type(self, line: str) -> None:
        self.text = ""
        self.writer.write(f"{line}\r".encode())
        await self.writer.drain()

    async def end(self) -> str:
        """Reads to its end; why it ended."""
        async with asyncio.timeout(PATIENCE):
            while data := await self.reader.read(65536):
                self.text += data.decode("utf-8", "replace")
        self.writer.close()
        return await self.why()

    async def why(self) -> str:
        status = await self.watched.engine.request(self.host, "console.status", {"id": self.id}, 20)
        assert status["open"] is False
        return str(status["reason"])

    async def log_in(self) -> None:
        """As root. What is typed before `login` reads is thrown away by it, so it may take a second time."""
        for _ in range(5):
            await self.type("")
            await self.until("login: ", "Password: ", "# ")
            if "login: " in self.text:
                await self.type("root")
                await self.until("Password: ")
            if "Password: " in self.text:
                await asyncio.sleep(0.5)
                await self.type("lab")
            with contextlib.suppress(TimeoutError):
                await self.until("# ", timeout=8)
                return
        raise AssertionError(self.text)

    async def run(self, command: str) -> str:
        """What a command prints."""
        await self.type(f"{command}; echo end-$?")
        text = await self.until("end-0", "end-1")
        return text.split("\r\n", 1)[1].rpartition("end-")[0].strip()


@asynccontextmanager
async def opened(watched: Watched, host: str, name: str, **args: object) -> AsyncIterator[Opened]:
    uuid = watched.vm(host, name).uuid
    answer = await watched.engine.request(host, "console.open", {"uuid": uuid, **args}, 20)
    console = await Opened(watched, host, answer).connect()
    try:
        yield console
    finally:
        console.writer.close()
        with contextlib.suppress(Exception):
            await console.end()


def until_up(host: LabHost, *names: str) -> None:
    """Until these guests have booted."""
    deadline = time.monotonic() + PATIENCE
    for name in names:
        while "services are up" not in console_text(host, name):
            assert time.monotonic() < deadline, f"{name} does not boot"
            time.sleep(0.2)


async def test_two_guests_are_logged_in_to_at_once(lab: Lab, host: LabHost) -> None:
    until_up(host, "hv1-vm1", "hv1-vm2")
    async with watching(lab) as watched:
        async with opened(watched, "hv1", "hv1-vm1") as one, opened(watched, "hv1", "hv1-vm2") as two:
            await asyncio.gather(one.log_in(), two.log_in())
            first, second = await asyncio.gather(
                one.run("echo $((6*7)) >/tmp/mark; cat /tmp/mark"), two.run("ls /tmp/mark")
            )
            assert first == "42"
            assert "No such file" in second
            await asyncio.gather(one.type("exit"), two.type("exit"))
        paths = [Path(each.path) for each in (one, two)]
        assert not any(path.exists() for path in paths)


async def test_a_console_in_use_is_refused_and_can_be_taken(lab: Lab, host: LabHost) -> None:
    until_up(host, "hv1-vm1")
    async with (
        watching(lab) as watched,
        watching(lab) as elsewhere,
        opened(watched, "hv1", "hv1-vm1") as mine,
    ):
        for other in (watched, elsewhere):
            with pytest.raises(RefusedError, match="the console of hv1-vm1 is in use") as refused:
                async with opened(other, "hv1", "hv1-vm1"):
                    pass
            assert refused.value.cure == "--force takes it over"
        async with opened(elsewhere, "hv1", "hv1-vm1", force=True) as theirs:
            assert "somebody else took the console" in await mine.end()
            await theirs.log_in()
            assert await theirs.run("echo still here") == "still here"
            await theirs.type("exit")


async def test_what_has_no_console_says_so(lab: Lab, host: LabHost) -> None:
    async with watching(lab) as watched:
        with pytest.raises(RefusedError, match="hv1-vm3 is off"):
            async with opened(watched, "hv1", "hv1-vm3"):
                pass
        with pytest.raises(NotFoundError, match="hv1-vm1 has no console serial7"):
            async with opened(watched, "hv1", "hv1-vm1", device="serial7"):
                pass
        request = watched.engine.request
        with pytest.raises(NotFoundError):
            await request("hv1", "console.open", {"uuid": "00000000-0000-0000-0000-000000000000"}, 20)


async def test_a_containers_console_is_one_persons(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched, opened(watched, "lx1", "hv1-ct1") as mine:
        with pytest.raises(RefusedError, match="in use"):
            async with opened(watched, "lx1", "hv1-ct1"):
                pass
        async with opened(watched, "lx1", "hv1-ct1", force=True):
            assert "somebody else took the console" in await mine.end()


async def test_a_guest_that_is_powered_off_ends_its_console_with_the_reason(lab: Lab, host: LabHost) -> None:
    async with (
        watching(lab) as watched,
        opened(watched, "hv1", "hv1-vm1") as one,
        opened(watched, "hv1", "hv1-vm2") as two,
    ):
        host.virsh("destroy hv1-vm1")
        assert await one.end() == "hv1-vm1 was powered off"
        host.virsh("start hv1-vm1")
        await two.type("")
        await two.until("login", "#")


async def test_a_frozen_libvirtd_stops_its_consoles_and_nobody_elses(
    lab: Lab, hosts: dict[str, LabHost]
) -> None:
    until_up(hosts["hv1"], "hv1-vm1")
    until_up(hosts["hv2"], "hv2-vm1")
    async with (
        watching(lab) as watched,
        opened(watched, "hv1", "hv1-vm1") as frozen,
        opened(watched, "hv2", "hv2-vm1") as well,
    ):
        await frozen.log_in()
        hosts["hv1"].freeze_libvirtd()
        uuid = watched.vm("hv1", "hv1-vm2").uuid
        with pytest.raises((DeadlineError, UnreachableError)):
            await watched.engine.request("hv1", "console.open", {"uuid": uuid}, 3)
        await well.log_in()
        assert await well.run("echo well") == "well"
        await frozen.type("echo thawed")
        hosts["hv1"].thaw_libvirtd()
        await frozen.until("\nthawed")
        for each in (frozen, well):
            await each.type("exit")


async def test_a_worker_that_dies_takes_its_consoles_along(lab: Lab, host: LabHost) -> None:
    async with watching(lab) as watched, opened(watched, "hv1", "hv1-vm1") as console:
        os.kill(int(console.id.partition("-")[0]), signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while await console.reader.read(4096):
                    pass
        await watched.until_fresh("hv1")
        assert await console.why() == "the connection to the host was lost"


async def test_a_link_that_is_cut_ends_consoles_and_they_can_be_had_again(lab: Lab, host: LabHost) -> None:
    until_up(host, "hv1-vm1")
    async with watching(lab) as watched:
        async with opened(watched, "hv1", "hv1-vm1") as console:
            host.kill_sshd()
            assert await console.end() == "the connection to the host was lost"
            host.start_sshd()
            await watched.until_fresh("hv1")
        async with opened(watched, "hv1", "hv1-vm1", force=True) as again:
            await again.type("")
            await again.until("login", "#")


async def test_a_guest_that_writes_without_end_waits_for_its_reader(lab: Lab, host: LabHost) -> None:
    until_up(host, "hv1-vm1")
    async with watching(lab) as watched, opened(watched, "hv1", "hv1-vm1") as console:
        await console.log_in()
        worker = int(console.id.partition("-")[0])
        before = _memory(worker)
        await console.type("yes 0123456789012345678901234567890123456789")
        await asyncio.sleep(8)
        assert _memory(worker) - before < 8 << 20
        console.writer.write(b"\x03")
        await console.until("^C")
        assert len(console.text) < 2 << 20
        assert await console.run("echo calm") == "calm"
        await console.type("exit")


def _memory(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


# ---------------------------------------------------------------- screens


@pytest.fixture
def screens(host: LabHost) -> Iterator[dict[str, str]]:
    """UUIDs of two guests with a screen: at a port with a password, at a Unix socket."""
    made: dict[str, str] = {}
    for name, graphics in (("screen-port", _SCREEN), ("screen-socket", _SOCKET)):
        xml = empty_guest(host, name).xml.replace("</devices>", f"{graphics}</devices>")
        (host.folder / "tmp" / f"{name}.xml").write_text(xml)
        host.virsh(f"define /tmp/{name}.xml", f"start {name}")
        made[name] = host.virsh(f"domuuid {name}").strip()
    yield made
    for name in made:
        with contextlib.suppress(Exception):
            host.virsh(f"destroy {name}")
        host.virsh(f"undefine {name}")


async def greeting(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        said = await reader.read(4)
    writer.close()
    return said


@pytest.mark.parametrize(("name", "password"), [("screen-port", True), ("screen-socket", False)])
async def test_a_viewer_reaches_qemu(lab: Lab, screens: dict[str, str], name: str, password: bool) -> None:
    async with watching(lab) as watched:
        request = watched.engine.request
        way = await request("hv1", "display.open", {"uuid": screens[name]}, 20)
        assert (way["kind"], way["host"], way["tls"], way["password"]) == (
            "vnc",
            "127.0.0.1",
            False,
            password,
        )
        assert await greeting(way["port"]) == b"RFB "
        assert await greeting(way["port"]) == b"RFB ", "a second viewer"
        await request("hv1", "forward.close", {"id": way["id"]}, 20)
        with pytest.raises(ConnectionRefusedError):
            await greeting(way["port"])


async def test_a_way_to_a_screen_outlives_the_connection_to_the_host(
    lab: Lab, host: LabHost, screens: dict[str, str]
) -> None:
    async with watching(lab) as watched:
        way = await watched.engine.request("hv1", "display.open", {"uuid": screens["screen-port"]}, 20)
        host.kill_sshd()
        host.start_sshd()
        await watched.until_fresh("hv1")
        assert await greeting(way["port"]) == b"RFB "


async def test_what_has_no_screen_says_so(lab: Lab, host: LabHost, screens: dict[str, str]) -> None:
    async with watching(lab) as watched:
        request = watched.engine.request
        with pytest.raises(NotFoundError, match="has no screen"):
            await request("hv1", "display.open", {"uuid": watched.vm("hv1", "hv1-vm1").uuid}, 20)
        with pytest.raises(NotFoundError, match="has no spice"):
            await request("hv1", "display.open", {"uuid": screens["screen-port"], "kind": "spice"}, 20)
        with pytest.raises(RefusedError, match="no address of screen-port is known"):
            await request("hv1", "ssh.open", {"uuid": screens["screen-port"]}, 20)
        host.virsh("destroy screen-port")
        with pytest.raises(RefusedError, match="is off"):
            await request("hv1", "display.open", {"uuid": screens["screen-port"]}, 20)


async def test_ssh_of_a_guest_without_a_server_says_so(lab: Lab, host: LabHost) -> None:
    until_up(host, "hv1-vm1")
    async with watching(lab) as watched:
        uuid = watched.vm("hv1", "hv1-vm1").uuid
        with pytest.raises(UnreachableError, match=r":2222 can't be reached"):
            await watched.engine.request("hv1", "ssh.open", {"uuid": uuid, "port": 2222}, 20)


# ---------------------------------------------------------------- the command line


def command(lab: Lab, *words: str) -> list[str]:
    return [*COMMAND, "--fleet", str(lab.fleet_file), *words]


async def test_vm_ssh_runs_a_command_in_a_guest(
    env: dict[str, str], lab: Lab, host: LabHost, tmp_path: Path
) -> None:
    until_up(host, "hv1-vm1")
    public = lab.identity.with_suffix(".pub").read_text().strip()
    async with watching(lab) as watched:
        uuid = watched.vm("hv1", "hv1-vm1").uuid
        async with opened(watched, "hv1", "hv1-vm1") as console:
            await console.log_in()
            await console.run(f"echo '{public}' >>/root/.ssh/authorized_keys")
            await console.type("exit")
    known = tmp_path / "known"
    said = await asyncio.to_thread(
        subprocess.run,
        command(
            lab, "vm", "ssh", "hv1-vm1", "-l", "root", "-i", str(lab.identity),
            "--ssh-option", "StrictHostKeyChecking=accept-new", "--ssh-option", f"UserKnownHostsFile={known}",
            "--ssh-option", "HashKnownHosts=no", "--", "echo $((6*7)); exit 3",
        ),
        env=env, capture_output=True, text=True, check=False, timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (said.stdout, said.returncode) == ("42\n", 3), said.stderr
    assert known.read_text().startswith(f"virtfleet-{uuid} ")
    assert gone(env)


@pytest.fixture
def terminal(env: dict[str, str], lab: Lab) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def open_terminal(*words: str) -> Terminal:
        made.append(Terminal(command(lab, *words), env | {"PYTHONUNBUFFERED": "1"}, 90, 30))
        return made[-1]

    yield open_terminal
    for each in made:
        each.kill()


def wait_for(terminal: Terminal, word: str) -> None:
    took = 0.0 if word in terminal.text else terminal.until(lambda text: word in text, PATIENCE)
    assert took < PATIENCE, f"never {word!r}: {terminal.text}"


def test_vm_console_is_the_guests_terminal_until_ctrl_bracket(
    env: dict[str, str], host: LabHost, terminal: Callable[..., Terminal]
) -> None:
    until_up(host, "hv1-vm1")
    with terminal("vm", "console", "hv1-vm1") as mine:
        before = termios.tcgetattr(mine.master)
        wait_for(mine, "ctrl-] leaves")
        wait_for(mine, "stty rows 30 cols 90")
        mine.send(b"\r")
        wait_for(mine, "login: ")
        assert termios.tcgetattr(mine.master)[3] & termios.ICANON == 0
        mine.send(b"nobody\r")
        wait_for(mine, "Password: ")
        mine.send(b"\x1d")
        wait_for(mine, "left the console of hv1-vm1")
        assert mine.process.wait(PATIENCE) == 0
        assert termios.tcgetattr(mine.master) == before
    assert gone(env)


def test_vm_console_says_why_it_ended(host: LabHost, terminal: Callable[..., Terminal]) -> None:
    with terminal("vm", "console", "hv1-vm2") as mine:
        before = termios.tcgetattr(mine.master)
        wait_for(mine, "cols 90")
        with terminal("vm", "console", "hv1-vm2") as second:
            wait_for(second, "the console of hv1-vm2 is in use")
            assert second.process.wait(PATIENCE) == 4
        host.virsh("destroy hv1-vm2")
        wait_for(mine, "the console ended: hv1-vm2 was powered off")
        assert mine.process.wait(PATIENCE) == 0
        assert termios.tcgetattr(mine.master) == before


@pytest.mark.parametrize("times", [1, 2])
def test_a_terminal_is_given_back_when_vm_console_is_ended(
    host: LabHost, terminal: Callable[..., Terminal], times: int
) -> None:
    until_up(host, "hv1-vm1")
    with terminal("vm", "console", "hv1-vm1") as mine:
        before = termios.tcgetattr(mine.master)
        wait_for(mine, "cols 90")
        mine.send(b"\r")
        wait_for(mine, "login: ")
        for _ in range(times):
            mine.process.send_signal(signal.SIGTERM)
        mine.drain(0.5)
        assert mine.process.wait(PATIENCE) == 143
        assert termios.tcgetattr(mine.master) == before


def test_vm_console_needs_a_terminal(env: dict[str, str], lab: Lab) -> None:
    said = subprocess.run(
        command(lab, "vm", "console", "hv1-vm1"), env=env, capture_output=True, text=True, check=False,
        timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert said.returncode == 4
    assert "a console needs a terminal" in said.stderr


def test_vm_display_prints_the_viewers_line_and_stays_open(
    env: dict[str, str], lab: Lab, host: LabHost, screens: dict[str, str]
) -> None:
    process = subprocess.Popen(
        command(lab, "vm", "display", "screen-port", "--print"), env=env, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"remote-viewer vnc://127\.0\.0\.1:(\d+)\n", line)
        assert found is not None, line
        assert asyncio.run(greeting(int(found[1]))) == b"RFB "
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(greeting(int(found[1])))
    assert gone(env)


def test_vm_display_starts_a_viewer_and_ends_with_it(
    env: dict[str, str], lab: Lab, screens: dict[str, str], tmp_path: Path
) -> None:
    viewer = tmp_path / "viewer"
    lines = ("#!/bin/bash", "exec 3<>/dev/tcp/127.0.0.1/${1##*:}", 'head -c 4 <&3 >"$2"', "exit 7", "")
    viewer.write_text("\n".join(lines))
    viewer.chmod(0o700)
    said = subprocess.run(
        command(lab, "vm", "display", "screen-socket", "--viewer", f"{viewer} {{}} {tmp_path / 'seen'}"),
        env=env, capture_output=True, text=True, check=False, timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert said.returncode == 7, said.stderr
    assert (tmp_path / "seen").read_bytes() == b"RFB "
