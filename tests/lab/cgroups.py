"""Control groups for the hosts: each host is the root of its own view, below the caller's group
if it can be.

Without this, two hosts with a container of the same name would meet in one machine-wide group, and the
groups that libvirt makes would stay behind. With cgroup v1 every controller has a tree of its own; with v2
there is one.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from lab.registry import LabRecord

_WANTED = ("cpu", "cpuacct", "memory", "devices", "freezer", "blkio", "cpuset", "pids")
_MAX_DEPTH = 5


@dataclass(frozen=True)
class Hierarchy:
    """One mounted tree of control groups."""

    kind: str
    """cgroup (v1) or cgroup2."""
    options: str
    """What to mount inside a host: the v1 controllers, as in `-o cpu,cpuacct`; empty for v2."""
    mount: Path
    parent: Path
    """Where the lab's groups belong: below our own group, so that its limits hold for the lab as well."""


def hierarchies() -> list[Hierarchy]:
    """The trees the machine offers: the v1 controllers that libvirt wants, or the single v2 tree."""
    mounts: dict[str, Path] = {}
    unified: Path | None = None
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, options, *_ = line.split()
        if kind == "cgroup2":
            unified = unified or Path(target)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in _WANTED:
                    mounts[option] = Path(target)
    found: dict[Path, Hierarchy] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        names = [name for name in controllers.split(",") if name in mounts]
        if names:
            mount = mounts[names[0]]
            found[mount] = Hierarchy("cgroup", ",".join(names), mount, mount / path.lstrip("/"))
    if found:
        return list(found.values())
    if unified is not None:
        # The root: only there may a group have both processes and groups with controllers below it, and our
        # own group has us in it.
        return [Hierarchy("cgroup2", "", unified, unified)]
    return []


def make(record: LabRecord, host: str) -> list[Path]:
    """Make a host's groups and give their folders; a tree that refuses is left out (QEMU needs none)."""
    made = []
    for tree in hierarchies():
        folder = tree.parent / record.cgroup / host
        try:
            for level in (folder.parent, folder):
                level.mkdir(exist_ok=True)
                if tree.kind == "cgroup2":
                    _delegate(level.parent)
                if "cpuset" in tree.options.split(","):
                    # A new cpuset is empty, and no process may enter it until it has processors and memory.
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        (level / name).write_text((level.parent / name).read_text())
        except OSError:
            continue
        made.append(folder)
    return made


def _delegate(folder: Path) -> None:
    """Let the groups below a v2 group use its controllers; one that refuses is left out."""
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def leftovers(record: LabRecord) -> list[Path]:
    """Folders of the lab's groups in every tree, wherever its builder's own group was."""
    found = []
    for tree in hierarchies():
        for folder, names, _ in os.walk(tree.mount):
            if record.cgroup in names:
                found.append(Path(folder) / record.cgroup)
            if len(Path(folder).relative_to(tree.mount).parts) >= _MAX_DEPTH:
                names.clear()
    return found


def remove(record: LabRecord) -> None:
    """Remove the lab's groups, innermost first. Their processes must be dead."""
    for top in leftovers(record):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
