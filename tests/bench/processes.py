"""What processes cost, read from /proc: CPU, memory, children."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process, without its children, has used; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory(pid: int) -> dict[str, float]:
    """MB by the names of smaps_rollup (Rss, Pss, ...) and Private in all; OSError if it is gone.

    Pss counts a page that is shared by n processes as 1/n of it.
    """
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":", 1)
        found[name] = int(value.split()[0]) * 1024 / 1e6
    found["Private"] = found["Private_Clean"] + found["Private_Dirty"]
    return found


def memories(pids: list[int]) -> list[dict[str, float]]:
    """Of those that are still there."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError, KeyError):
            found.append(memory(pid))
    return found


def children(pid: int) -> list[int]:
    """Direct children, by number."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sorted(int(child) for task in tasks for child in (task / "children").read_text().split())
    except OSError:
        return []


def workers(console: int) -> list[int]:
    """The worker processes of a console: what its zygote forked."""
    return [worker for zygote in children(console) for worker in children(zygote)]
