"""A console whose terminal went away ends, and takes its workers along."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def test_no_terminal_no_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal is not the controlling one, so that no SIGHUP comes to help."""
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        folder = tmp_path / variable
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root / 'core'}:{root / 'tui'}")
    monkeypatch.setenv("TERM", "xterm-256color")
    master, slave = pty.openpty()
    console = subprocess.Popen(
        [sys.executable, "-m", "virtfleet_tui", "--demo"],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    seen = b""
    deadline = time.monotonic() + 60
    while b"hv01" not in seen:
        assert time.monotonic() < deadline, seen[-2000:]
        seen += os.read(master, 65536)
    zygotes = children_of(console.pid)
    workers = [each for zygote in zygotes for each in children_of(zygote)]
    assert len(zygotes) == 1
    assert workers
    os.close(master)
    try:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by whoever runs the tests
        assert console.wait(30) == (129 if ignored else -1), "ended by SIGHUP"
    finally:
        console.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in [*zygotes, *workers]):
        assert time.monotonic() < deadline + 30
        time.sleep(0.05)
