"""The zygote: what goes wrong in it is told or survived, and its log stays small."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from virtfleet.hypervisor import worklog
from virtfleet.hypervisor.zygote import Failed, Forked, Zygote

ROOT = Path(__file__).parents[2]


def heard(zygote: Zygote, kind: type) -> object:
    """The first message of this kind."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for message in zygote.messages():
            if isinstance(message, kind):
                return message
        time.sleep(0.02)
    raise AssertionError(f"no {kind.__name__}")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes an import fail in processes that are started from now on."""

    def make(module: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT / 'core'}")

    return make


def test_a_failed_import_is_told(broken: Callable[[str], None]) -> None:
    broken("libvirt")
    zygote = Zygote.start()
    failed = heard(zygote, Failed)
    assert isinstance(failed, Failed)
    assert "libvirt" in failed.reason
    zygote.close()


def test_a_failed_warming_up_costs_nobody_a_worker(broken: Callable[[str], None], tmp_path: Path) -> None:
    broken("virtfleet.hypervisor.warm_up")
    log = tmp_path / "workers.log"
    zygote = Zygote.start(log)
    _, end = zygote.fork()
    assert isinstance(heard(zygote, Forked), Forked)
    end.close()
    zygote.close()
    assert "warm_up" in log.read_text()


def test_a_long_log_is_cut_back_to_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "state" / "workers.log"
    first = worklog.open_log(path)
    lines = [b"%07d\n" % number for number in range(worklog.LIMIT // 8 + 1)]
    os.write(first, b"".join(lines))
    worklog.trim(first)
    kept = path.read_bytes().splitlines(keepends=True)
    assert kept == lines[-len(kept) :]
    assert worklog.KEPT - 8 <= path.stat().st_size <= worklog.KEPT
    os.write(first, b"more\n")
    assert path.read_bytes().endswith(lines[-1] + b"more\n")
    assert path.stat().st_mode & 0o777 == 0o600
    worklog.trim(first)
    assert path.read_bytes().endswith(b"more\n")
    os.close(first)


def test_what_is_no_file_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    worklog.trim(ours.fileno())
    worklog.trim(subprocess.DEVNULL)
    ours.close()
    theirs.close()


def test_the_zygotes_starter_imports_nothing_heavy() -> None:
    heavy = "{'libvirt', 'paramiko', 'msgspec', 'asyncio'}"
    code = f"import sys, virtfleet.hypervisor.zygote; print(*{heavy} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT / "core")}, timeout=30,
    )  # fmt: skip
    assert done.stdout.strip() == ""
