"""Facts about processes read from /proc: who is alive, who belongs to a lab, who is whose child.

A zombie counts as dead: the machine's PID 1 may take its time to reap orphans, and nothing of ours depends
on when it does.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessId:
    """A process that is not mistaken for a later one with the same number."""

    pid: int
    start: int
    """Start time in clock ticks since boot, as in /proc/PID/stat."""

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return identify(self.pid) == self


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat after the command name: state, ppid, ..."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def identify(pid: int) -> ProcessId | None:
    """The running process with this number, or None if there is none (or only its zombie)."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return ProcessId(pid, int(fields[19]))


def state(pid: int) -> str | None:
    """The state letter (R, S, D, T, ...) of a process, None if it is gone."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else fields[0]


def pids() -> Iterator[int]:
    """Numbers of all processes now."""
    for name in os.listdir(PROC):
        if name.isdigit():
            yield int(name)


def child_of(parent: int) -> int | None:
    """The first living child of a process."""
    for pid in pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in "ZX" and int(fields[1]) == parent:
            return pid
    return None


def with_environment(name: str, value: str) -> list[int]:
    """Processes that were started with NAME=VALUE in their environment."""
    wanted = f"{name}={value}".encode()
    found = []
    for pid in pids():
        try:
            env = (PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        if wanted in env.split(b"\0"):
            found.append(pid)
    return found


def with_namespace(kind: str, inode: int) -> list[int]:
    """Processes in the namespace of that kind (net, pid, ...) and inode number."""
    wanted = f"{kind}:[{inode}]"
    found = []
    for pid in pids():
        try:
            if os.readlink(PROC / str(pid) / "ns" / kind) == wanted:
                found.append(pid)
        except OSError:
            continue
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
