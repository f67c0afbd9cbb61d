"""Follows what operators say of the host in its own file, or in ours where the host has no place for it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from pathlib import Path
from urllib.parse import quote

from virtfleet.hypervisor import hostfile, wire
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.reach import Reach
from virtfleet.model import Event, Maintenance, Severity

_EVERY = 25.0
"""Seconds between two looks: what another operator has said is then seen within half a minute."""
_SOONER = 5.0
"""The same after a reading that failed."""


class MarkWatch:
    """`due` says when to look; whoever looked gives `heard` what was printed."""

    def __init__(self, settings: wire.WorkerSettings, reach: Reach, port: Port) -> None:
        self._settings = settings
        self._port = port
        self._told: Maintenance | None = None
        self.memory = hostfile.Found("absent")
        """The file of a host whose state is lost with its worker."""
        self.anew(reach)

    def anew(self, reach: Reach) -> None:
        """There is a new connection: whatever happened meanwhile is read at once."""
        self._reach = reach
        self._due = 0.0
        self.has_shell = reach.transport_answers
        """Whether the host was reached over SSH, and lets us run programs."""

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    @property
    def place(self) -> Path | None:
        """Where the file is when it is none of a host behind SSH; None: nowhere, in our memory."""
        if self.has_shell or (self._reach.is_local and not self._reach.one_connection):
            return Path(hostfile.FOLDER) / hostfile.NAME
        if not self._settings.notes_dir:
            return None
        # Two fleets may have a host of the same name.
        key = hashlib.sha256(self._settings.uri.encode()).hexdigest()[:12]
        return Path(self._settings.notes_dir) / f"{quote(self._settings.name, safe='')[:80]}-{key}.json"

    @property
    def shared(self) -> bool:
        """Whether other operators see what is said here."""
        return self.has_shell or (self._reach.is_local and not self._reach.one_connection)

    def heard(self, printed: str | None) -> None:
        """What the host's shell printed; None: it could not be asked."""
        if printed is None:
            self._due = time.monotonic() + _SOONER
        else:
            self.tell(hostfile.found(printed))

    async def look(self) -> None:
        """Where no shell of the host is asked."""
        place = self.place
        self.tell(self.memory if place is None else await asyncio.to_thread(read, place))

    def tell(self, seen: hostfile.Found) -> None:
        """This is what lies there now."""
        self._due = time.monotonic() + _EVERY
        said = hostfile.maintenance(seen, shared=self.shared)
        before, self._told = self._told, said
        if said == before:
            return
        self._port.send(wire.Marks(said))
        if before is not None:
            self._port.send(wire.Happened(self._event(before, said)))

    def _event(self, before: Maintenance, now: Maintenance) -> Event:
        name = self._settings.name
        mark = now.mark
        detail = now.problem if mark is None else mark.words
        severity = Severity.WARNING if now.problem else Severity.INFO
        return Event(time.time(), name, "host", name, now.word or "enabled", detail, "", severity)


def read(path: Path) -> hostfile.Found:
    """A file of this machine, in the words of `hostfile.LOOK`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return hostfile.Found("absent")
    except PermissionError:
        return hostfile.Found("unreadable")
    except OSError:
        return hostfile.Found("odd")
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return hostfile.Found("odd")
        with open(fd, "rb", closefd=False) as file:
            return hostfile.Found("file", file.read(hostfile.LIMIT + 1).decode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)
