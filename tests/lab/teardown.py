"""Take a lab apart, from its record alone.

Called by the lab's owner, by its reaper when the owner died, and by anybody who comes across an abandoned
lab. So every step works on what it finds and none minds that something is gone already.
"""

from __future__ import annotations

import contextlib
import os
import time

from lab import cgroups, network, proc, registry
from lab.errors import LabError
from lab.registry import MARKER, LabRecord


def processes(record: LabRecord) -> list[int]:
    """Every process of the lab: marked by its environment, or living in one of its network namespaces."""
    found = set(proc.with_environment(MARKER, record.name))
    for name in network.namespaces(record):
        with contextlib.suppress(OSError):
            found.update(proc.with_namespace("net", os.stat(network.NETNS / name).st_ino))
    found.discard(os.getpid())
    return sorted(pid for pid in found if proc.state(pid) is not None)


def leftovers(record: LabRecord) -> list[str]:
    """What of a lab is still there, in words; empty after a teardown."""
    found = [f"process {pid}" for pid in processes(record)]
    found += [f"link {name}" for name in network.links(record)]
    found += [f"namespace {name}" for name in network.namespaces(record)]
    found += [f"group {folder}" for folder in cgroups.leftovers(record)]
    folder = str(record.folder)
    with open("/proc/self/mounts") as mounts:
        found += [f"mount {line.split()[1]}" for line in mounts if folder in line]
    if record.folder.exists():
        found.append(f"folder {folder}")
    return found


def _kill_all(record: LabRecord, timeout: float) -> None:
    """Kill until nothing is left: with a PID 1 goes all that it holds."""
    deadline = time.monotonic() + timeout
    while left := processes(record):
        for pid in left:
            proc.kill(pid)
        if time.monotonic() > deadline:
            raise LabError(f"lab {record.name}: processes {left} do not die")
        time.sleep(0.05)


def tear_down(record: LabRecord, timeout: float = 60.0) -> None:
    """Remove every trace of a lab; returns when nothing is left, whoever removed it."""
    try:
        lock = registry.hold(record.folder)
    except FileNotFoundError:
        return
    with lock:
        # While we waited for the lock, another may have finished the work, and a new lab may have taken the
        # name or the subnet: what is derived from the record is only ours as long as the record stands.
        try:
            if registry.load(record.name).slot != record.slot:
                return
        except LabError:
            return
        _tear_down(record, timeout)


def _tear_down(record: LabRecord, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        _kill_all(record, timeout)
        for host in record.hosts:
            network.remove_link(record, host)
        network.remove_bridge(record)
        cgroups.remove(record)
        # A program that the dead owner had just started may have made one thing more: look again.
        left = [what for what in leftovers(record) if not what.startswith("folder ")]
        if not left:
            break
        if time.monotonic() > deadline:
            raise LabError(f"lab {record.name}: {', '.join(left)} left")
        time.sleep(0.1)
    registry.forget(record)


def sweep() -> list[str]:
    """Take apart the labs whose owner is dead; gives their names."""
    registry.remove_unfinished()
    swept = []
    for record in registry.records():
        if record.abandoned:
            tear_down(record)
            swept.append(record.name)
    return swept
