"""What an engine takes of the machine: a private folder for the sockets of its workers, and open files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shutil
import tempfile
from pathlib import Path

from virtfleet.config import folders

_DESCRIPTORS = 65_536
"""Open files that a fleet of any size needs; the usual soft limit of 1,024 is for select()'s sake."""


def raise_descriptor_limit() -> None:
    """A socket per worker, and what the faces open: as many as the system allows, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def runtime_folder() -> tuple[str, int]:
    """A private folder of this engine for the sockets of its workers; paths of sockets must be short.

    With the descriptor that holds it. Folders of engines that were killed are
    removed on the way.
    """
    runtime = folders.runtime_dir()
    for left in runtime.glob("[0-9]*-*"):
        pid = left.name.partition("-")[0]
        if pid.isdecimal() and not _is_running(int(pid)) and _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    path = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=runtime)
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return path, lock


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_abandoned(folder: Path) -> bool:
    """Nobody holds it: the number of a process proves little where containers share a folder."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)
