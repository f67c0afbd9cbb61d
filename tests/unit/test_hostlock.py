"""The lock's script on a shell as hosts have it: who may not write the first folder takes the second."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from virtfleet.hypervisor.acts.hostlock import _SCRIPT


def locked(*folders: str, name: str = "vm-1", wait: str = "0") -> subprocess.Popen[bytes]:
    argv = ["sh", "-c", _SCRIPT, "virtfleet", *folders, name, wait, "20"]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def word(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.communicate(timeout=10)


@pytest.mark.parametrize("first", ["/proc/nowhere", "first"])
def test_one_has_it_and_the_other_not_until_the_first_is_gone(tmp_path: Path, first: str) -> None:
    folders = (str(tmp_path / first), str(tmp_path / "second"))
    one = locked(*folders)
    assert word(one) == b"locked\n"
    two, other = locked(*folders), locked(*folders, name="vm-2")
    assert (word(two), word(other)) == (b"busy\n", b"locked\n")
    end(one, two, other)
    three = locked(*folders)
    assert word(three) == b"locked\n"
    end(three)


def test_a_file_that_somebody_made_a_trap_of_is_not_opened(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "vm-1").symlink_to(tmp_path / "elsewhere")
    process = locked(str(first), str(second))
    assert word(process) == b"locked\n"
    end(process)
    assert (second / "vm-1").exists()
    assert not (tmp_path / "elsewhere").exists()
