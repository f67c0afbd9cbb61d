"""Which process runs a job, and whether it still lives.

On one machine a lock on a file tells: the kernel drops it with the process,
however that ended. Of a process on another machine (a journal shared over
PostgreSQL) only its sign of life in the journal can.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

DEAD_AFTER = 60.0
"""Seconds without a sign of life after which a process on another machine counts as gone."""

NOBODY = ""
"""Owner of a job that was written down for another process to take."""
GIVEN_UP = "given up"
"""Owner of a job whose process lives and does not run it any more."""


class Owner:
    """This process, as the one who runs jobs. `token` names it in the journal."""

    def __init__(self, folder: Path) -> None:
        self.machine = socket.gethostname()
        self.token = f"{self.machine}:{os.getpid()}:{secrets.token_hex(4)}"
        self._path = _file(folder, self.token)
        # Nobody knows the token yet, so nobody looks at the file before it is locked.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Gives everything up that it runs."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1


def is_alive(token: str, folder: Path, beats: Mapping[str, float] | None, now: float) -> bool:
    """Whether the owner of this token still runs.

    `beats`: the last sign of life of each, of a journal that machines share;
    None: it is this machine's alone, and so the file tells everything.
    """
    if beats is None or token.partition(":")[0] == socket.gethostname():
        held = _is_held(_file(folder, token))
        if held is not None:
            return held
    # Another machine, another user of this one, or another state folder.
    return beats is not None and now - beats.get(token, 0.0) < DEAD_AFTER


def _file(folder: Path, token: str) -> Path:
    return folder / f"runner-{token.replace('/', '_')}"


def _is_held(path: Path) -> bool | None:
    """None: there is no such file. One that nobody holds is removed."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        with contextlib.suppress(OSError):
            path.unlink()
        return False
    finally:
        os.close(fd)
