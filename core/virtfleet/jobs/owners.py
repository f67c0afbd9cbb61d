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
from pathlib import Path

BEAT_EVERY = 5.0
"""Seconds between two signs of life."""
DEAD_AFTER = 60.0
"""Seconds without one after which a process on another machine counts as gone."""


class Runner:
    """This process, as the one who runs jobs. `token` names it in the journal."""

    def __init__(self, folder: Path) -> None:
        self.machine = socket.gethostname()
        self.token = f"{self.machine}:{os.getpid()}:{secrets.token_hex(4)}"
        self._path = folder / f"runner-{self.token.replace('/', '_')}"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """Gives everything up that it runs."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1


def is_alive(token: str, folder: Path, beats: dict[str, tuple[str, float]], now: float) -> bool:
    """Whether the runner of this token still runs. `beats`: machine and last sign of life of each."""
    machine = token.partition(":")[0]
    if machine != socket.gethostname():
        return token in beats and now - beats[token][1] < DEAD_AFTER
    path = folder / f"runner-{token.replace('/', '_')}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Another user of this machine, or another state folder: only the sign of life is left.
        return (
            token in beats
            and now - beats[token][1] < DEAD_AFTER
            and not path.parent.joinpath("jobs.db").exists()
        )
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
