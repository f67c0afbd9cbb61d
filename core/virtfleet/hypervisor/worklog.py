"""The log of the zygote and its workers: opened once, inherited by all, kept small while they run.

Everybody appends to one file (a line is one write), so it can be cut back
under them. Standard library alone: the zygote's starter imports this first.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

LIMIT = 1_000_000
"""Bytes above which the log is cut back."""
KEPT = 250_000
"""Bytes of its end that stay."""


def open_log(path: Path) -> int:
    """A descriptor to append to the log, cut back if need be. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    trim(descriptor)
    return descriptor


def trim(descriptor: int) -> None:
    """Cuts a log that `open_log` opened back to whole lines at its end, if it is too long."""
    with contextlib.suppress(OSError):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size <= LIMIT:
            return
        end = os.pread(descriptor, KEPT, status.st_size - KEPT)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, end.partition(b"\n")[2])
