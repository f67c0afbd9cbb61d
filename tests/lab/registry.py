"""The list of labs on this machine: who owns which name and which subnet.

A lab is a folder below `BASE` with a record in it. The folder is made, and its slot (the X of 10.97.X.0/24)
chosen, under a lock on `BASE`, so that two labs cannot take the same one. Every name in the kernel
(namespaces, bridge, links, control groups) is derived from the record, never remembered elsewhere: whoever
finds the record can clean up after a process that died at any point.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab import proc
from lab.errors import LabError
from lab.run import run

BASE = Path("/var/lib/virtfleet-lab")
MARKER = "VIRTFLEET_LAB"
"""Environment variable that every process of a lab carries, with the lab's name as value."""
SLOTS = range(1, 251)
MAX_HOSTS = 40
_NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")


@dataclass(frozen=True)
class LabRecord:
    """What is written about a lab; everything else follows from it."""

    name: str
    slot: int
    hosts: tuple[str, ...]
    password: str
    owner: proc.ProcessId | None
    """The process the lab must not outlive; None: it stays until `down`."""

    @property
    def folder(self) -> Path:
        """Everything the lab keeps on disk."""
        return BASE / self.name

    @property
    def bridge(self) -> str:
        """The bridge in the root namespace (at most 15 bytes, as the kernel wants)."""
        return f"vfl{self.slot}"

    @property
    def gateway(self) -> str:
        """The root namespace's address on the bridge: where the console and the tests stand."""
        return f"10.97.{self.slot}.1"

    def index(self, host: str) -> int:
        """A host's number in the lab, from 1."""
        return self.hosts.index(host) + 1

    def address(self, host: str) -> str:
        """A host's address."""
        return f"10.97.{self.slot}.{10 + self.index(host)}"

    def link(self, host: str) -> str:
        """The root namespace's end of a host's link."""
        return f"vfl{self.slot}h{self.index(host)}"

    def netns(self, host: str) -> str:
        """The name of a host's network namespace."""
        return f"vfl-{self.name}-{host}"

    @property
    def cgroup(self) -> str:
        """The folder that holds the hosts' control groups, in each hierarchy."""
        return f"vfl-{self.name}"

    @property
    def abandoned(self) -> bool:
        """Whether the process it belonged to is dead."""
        return self.owner is not None and not self.owner.alive()


class _Lock:
    """The lock of a folder; the kernel lets it go when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def hold(folder: Path) -> _Lock:
    """A lock to enter with `with`; `FileNotFoundError` at once if the folder does not exist."""
    return _Lock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def _file(name: str) -> Path:
    return BASE / name / "lab.json"


def save(record: LabRecord) -> None:
    """Write the record in one step: a reader sees the old one or the new one."""
    path = _file(record.name)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record)))
    temporary.replace(path)


def load(name: str) -> LabRecord:
    """Read a lab's record; `LabError` if there is no such lab."""
    try:
        raw = json.loads(_file(name).read_text())
    except OSError as error:
        raise LabError(f"no lab named {name}") from error
    owner = raw.pop("owner")
    hosts = tuple(raw.pop("hosts"))
    return LabRecord(owner=None if owner is None else proc.ProcessId(**owner), hosts=hosts, **raw)


def records() -> list[LabRecord]:
    """All labs that have a record, by name."""
    if not BASE.is_dir():
        return []
    found = []
    for folder in sorted(BASE.iterdir()):
        try:
            found.append(load(folder.name))
        except LabError:
            continue
    return found


def _used_slots() -> set[int]:
    """Slots of recorded labs and of any route or address of the machine in 10.97/16."""
    used = {record.slot for record in records()}
    seen = run(["ip", "-4", "route", "show", "table", "all"]).stdout
    used.update(int(octet) for octet in re.findall(r"\b10\.97\.(\d+)\.", seen))
    return used


def claim(hosts: tuple[str, ...], name: str | None, owner: proc.ProcessId | None) -> LabRecord:
    """Take a name and a free slot for a new lab. Without a name, one is made up."""
    if not 1 <= len(hosts) <= MAX_HOSTS:
        raise LabError(f"a lab has 1 to {MAX_HOSTS} hosts, not {len(hosts)}")
    if name is not None and not _NAME.fullmatch(name):
        raise LabError(
            f"{name!r} is not a lab's name: small letters, digits and '-', at most 16, a letter first"
        )
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    BASE.chmod(0o700)
    with hold(BASE):
        chosen = name or f"t{secrets.token_hex(4)}"
        if _file(chosen).exists():
            raise LabError(f"there is a lab named {chosen} already: `python -m lab down --name {chosen}`")
        used = _used_slots()
        free = [slot for slot in SLOTS if slot not in used]
        if not free:
            raise LabError("no free subnet 10.97.X.0/24 left")
        record = LabRecord(chosen, free[0], hosts, secrets.token_urlsafe(9), owner)
        if record.folder.exists():
            shutil.rmtree(record.folder)
        record.folder.mkdir(mode=0o700)
        save(record)
    return record


def persist(record: LabRecord) -> LabRecord:
    """Let the lab outlive the process that built it."""
    kept = replace(record, owner=None)
    save(kept)
    return kept


def remove_unfinished() -> None:
    """Remove folders that got no record: their maker died in that instant."""
    if not BASE.is_dir():
        return
    with hold(BASE):
        for folder in BASE.iterdir():
            if not _file(folder.name).exists():
                shutil.rmtree(folder, ignore_errors=True)


def forget(record: LabRecord) -> None:
    """Remove a lab's folder; the record goes last, so that an interrupted removal can be finished."""
    folder = record.folder
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name == "lab.json":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    with hold(BASE):
        shutil.rmtree(folder, ignore_errors=True)
