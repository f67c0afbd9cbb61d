"""`vm console|ssh|display`: what is handed to other programs, and what is refused before anything happens."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from virtfleet.errors import RefusedError
from virtfleet.headless import cli, reaching

UUID = "c4904e4b-9b85-5ec0-a172-eb7066a03295"
WAY = {"id": "1-1", "kind": "vnc", "host": "127.0.0.1", "port": 5901, "tls": False, "password": False}


def test_a_viewer_is_given_an_address() -> None:
    assert reaching.uri(WAY) == "vnc://127.0.0.1:5901"
    assert reaching.uri(WAY | {"kind": "spice", "tls": True}) == "spice://127.0.0.1?tls-port=5901"


def test_which_viewer_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("vncviewer", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
    assert reaching._viewer("", WAY) is None, "no screen for its window"
    monkeypatch.setenv("DISPLAY", ":0")
    assert reaching._viewer("", WAY) == ["vncviewer", "127.0.0.1::5901"]
    assert reaching._viewer("", WAY | {"kind": "spice"}) is None
    (tmp_path / "remote-viewer").symlink_to(tmp_path / "mine")
    assert reaching._viewer("", WAY) == ["remote-viewer", "vnc://127.0.0.1:5901"]
    assert reaching._viewer("mine --full 'a b'", WAY) == ["mine", "--full", "a b", "vnc://127.0.0.1:5901"]
    assert reaching._viewer("mine {} x", WAY) == ["mine", "vnc://127.0.0.1:5901", "x"]
    with pytest.raises(RefusedError, match="no nothing here"):
        reaching._viewer("nothing", WAY)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_ssh_itself_reads_our_options_as_they_are_meant(tmp_path: Path) -> None:
    """Against a configuration that says otherwise in every point."""
    config = tmp_path / "config"
    config.write_text(
        "Host *\n ProxyJump bastion\n ControlMaster auto\n ControlPath /tmp/%h-%p\n Port 99\n User me\n"
        " HostName elsewhere\n"
    )
    said = subprocess.run(
        ["ssh", "-G", "-F", str(config), *reaching.ssh_options(UUID, 40022), "--", "web-1"],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout.splitlines()  # fmt: skip
    found = dict(line.split(" ", 1) for line in said)
    assert (found["hostname"], found["port"], found["user"]) == ("127.0.0.1", "40022", "me")
    assert found["hostkeyalias"] == f"virtfleet-{UUID}"
    assert found["controlmaster"] == "false"
    assert "proxyjump" not in found
    assert "controlpath" not in found
    assert "proxycommand" not in found


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--demo vm console web-01 --escape ]", 2),
        ("--demo vm console web-01", 4),
        ("--demo vm display web-01 --print --viewer x", 2),
        ("--demo vm display nobody --print", 1),
    ],
)
def test_what_is_refused_at_once(words: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words.split()) == code
    assert capsys.readouterr().out == ""


_LEAVES = """
import os, sys
from virtfleet.headless import output
from virtfleet.headless.raw_terminal import RawTerminal
with RawTerminal().opened():
    os.write(1, b"raw")
    os.read(0, 1)
    output.leave(7)
"""


def test_a_terminal_is_put_back_also_when_the_process_leaves_at_once() -> None:
    """As a second Ctrl-C or SIGTERM makes it."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(master)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", _LEAVES], stdin=slave, stdout=slave, env=environment, start_new_session=True
    )
    try:
        seen = b""
        while b"raw" not in seen:
            seen += os.read(master, 1024)
        assert termios.tcgetattr(master)[3] & termios.ECHO == 0
        os.write(master, b"x")
        while b"\x1b[?25h" not in seen:
            seen += os.read(master, 1024)
        assert child.wait(30) == 7
        assert termios.tcgetattr(master) == before
    finally:
        child.kill()
        os.close(master)
        os.close(slave)
