"""The serial console of a guest, as a Unix socket of this worker.

Each console has a libvirt connection of its own, so that no lane waits for a
guest. What the guest writes comes as events in libvirt's thread and crosses to
the loop; what is typed goes through the connection's own thread. Opening,
ending and asking why are calls with deadlines, as on any lane.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import libvirt

from virtfleet.errors import NotFoundError, RefusedError, VirtfleetError
from virtfleet.hypervisor.acts.domains import lookup, name_of, state_of
from virtfleet.hypervisor.bridge import CLOSED, Bridge
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.faults import translate
from virtfleet.hypervisor.gate import Gate
from virtfleet.hypervisor.lanes import Lane
from virtfleet.hypervisor.states import vm_reason
from virtfleet.model import VmState

_COME_WITHIN = 30.0
"""Seconds in which whoever asked for a console must connect to it."""
_TYPE_WITHIN = 10.0
_AGAIN = 0.05
"""Seconds until a line that takes nothing now is tried again."""
_LOOK_WITHIN = 3.0
_SETTLE = 1.0
"""Seconds by which a VM's end may be known later than that of its console."""
_CHUNK = 1 << 16
_REMEMBERED = 100

TAKEN = "somebody else took the console, or the guest closed it"
LOST = "the connection to the host was lost"

_AGAIN_LATER = -2
"""libvirt's result of `recv` and `send` on a stream that does not block."""

_STOPPED = {
    "shutdown": "was shut down",
    "destroyed": "was powered off",
    "crashed": "crashed",
    "migrated": "moved to another host",
    "saved": "was saved to disk",
    "from-snapshot": "was reverted to a snapshot",
}

_EVENTS = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_HANGUP | libvirt.VIR_STREAM_EVENT_ERROR

_consoles: dict[str, Console] = {}
"""By id: those that are open, and the latest that ended, since somebody may ask why."""
_numbers = itertools.count(1)
_living: set[asyncio.Task[None]] = set()
"""The loop itself does not keep what runs in it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a console ended."""

    reason: str
    failed: bool
    """Neither did the client leave nor the VM stop."""


class Console:
    """One opened console, from the call that opens it until its reason is known."""

    def __init__(self, call: Call, number: int) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._lane_name = f"console{number}"
        self._reach = call.reach
        self._gate = Gate()
        self._stream: libvirt.virStream | None = None
        self._one_connection = self._reach.one_connection
        if self._one_connection:
            self._lane = call.lanes.long
        else:
            opener, door = self._reach.opener(self._lane_name, self._gate)
            self._lane = Lane(self._lane_name, opener, door=door, on_stuck=lambda: None)
        self.id = f"{os.getpid()}-{number}"
        self.over: asyncio.Future[Ended] = self._loop.create_future()
        self.uuid = str(call.args["uuid"])
        self.device = str(call.args.get("device") or "")
        self.name = ""
        path = Path(call.settings.runtime_dir) / f"tty{number}.sock"
        self.bridge = Bridge(str(path), self._send, self._gate.hold)

    async def open(self, force: bool) -> None:
        """RefusedError: it is in use, or the VM is off; NotFoundError; UnsupportedError."""
        try:
            await self._lane.call(lambda conn: self._begin(conn, force), self._call.deadline)
        except BaseException:
            await self.close()
            raise

    async def live(self) -> None:
        """Carries until it is over."""
        try:
            reason = await self.bridge.run(_COME_WITHIN)
            self.over.set_result(await self._explained(reason))
        finally:
            await self.close()

    # ---- in the lane's thread

    def _begin(self, conn: libvirt.virConnect, force: bool) -> None:
        domain = lookup(conn, self.uuid)
        self.name = name_of(domain)
        if not domain.isActive():
            raise RefusedError(f"{self.name} is off: nobody is at its console", cure="start it")
        flags = libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else 0
        try:
            stream = self._open_stream(conn, domain, flags)
        except libvirt.libvirtError as error:
            raise self._why_not(error) from error
        self._stream = stream
        stream.eventAddCallback(_EVENTS, self._happened, None)
        with contextlib.suppress(libvirt.libvirtError):  # a driver without a connection has none to lose
            conn.registerCloseCallback(self._cut_off, None)
            self._lane.before_drop(lambda: _unregister(conn))

    def _open_stream(
        self, conn: libvirt.virConnect, domain: libvirt.virDomain, flags: int
    ) -> libvirt.virStream:
        stream = conn.newStream(libvirt.VIR_STREAM_NONBLOCK)
        device: Any = self.device or None  # None: the first
        try:
            domain.openConsole(device, stream, flags)
        except libvirt.libvirtError as error:
            if not flags or error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
                raise
            return self._open_stream(conn, domain, 0)  # LXC knows no flags, and refuses nobody
        return stream

    def _why_not(self, error: libvirt.libvirtError) -> VirtfleetError:
        said = str(error.get_error_message() or "").lower()
        if "console session" in said:
            return in_use(self.name)
        if "character device" in said or "console device" in said or "cannot find" in said:
            what = f"no console {self.device}" if self.device else "no console"
            return NotFoundError(f"{self.name} has {what}", cure="add a serial port to its definition")
        return translate(error)

    # ---- in libvirt's thread

    def _happened(self, stream: libvirt.virStream, events: int, _: object) -> None:
        try:
            data: Any = stream.recv(_CHUNK) if events & libvirt.VIR_STREAM_EVENT_READABLE else b""
        except libvirt.libvirtError:
            data = b""
        if data == _AGAIN_LATER:
            return
        if data:
            self._tell(self.bridge.arrived, data)
            return
        with contextlib.suppress(libvirt.libvirtError):
            stream.eventRemoveCallback()  # or it would be called again and again
        self._tell(self.bridge.end, "")

    def _cut_off(self, *_: object) -> None:
        self._tell(self.bridge.end, LOST)

    def _tell(self, what: Any, word: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what, word)

    # ---- in the loop

    async def _send(self, data: bytes) -> None:
        left = data
        while left and not self.bridge.ended:
            sent = await self._lane.call(partial(self._write, left), _TYPE_WITHIN)
            if sent == _AGAIN_LATER:
                await asyncio.sleep(_AGAIN)
            else:
                left = left[sent:]

    def _write(self, data: bytes, _: libvirt.virConnect) -> int:
        return _AGAIN_LATER if self._stream is None else int(self._stream.send(data))

    async def _explained(self, reason: str) -> Ended:
        """The reason in words; where the console just ended, what has become of the VM."""
        if reason:
            return Ended(reason, failed=reason != CLOSED)
        until = self._loop.time() + _SETTLE
        try:
            while True:
                found = await self._lane.call(self._look, _LOOK_WITHIN)
                if found or self._loop.time() > until:
                    break
                await asyncio.sleep(_AGAIN)
        except NotFoundError:
            return Ended(f"{self.name} is no longer on this host", failed=False)
        except VirtfleetError as error:
            return Ended(error.message, failed=True)
        return Ended(found or TAKEN, failed=not found)

    def _look(self, conn: libvirt.virConnect) -> str:
        """Why the VM does not run; empty: it does."""
        domain = lookup(conn, self.uuid)
        state, number = state_of(domain), domain.state()[1]
        if state.active:
            return ""
        if state is VmState.CRASHED:
            return f"{self.name} crashed"
        return f"{self.name} {_STOPPED.get(vm_reason(state, number), 'is off')}"

    async def close(self) -> None:
        self.bridge.close()
        self._gate.hold(False)
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(VirtfleetError):
                await self._lane.call(lambda conn: _abort(stream), _LOOK_WITHIN)
        if not self._one_connection:
            await self._lane.close()
            self._reach.forget(self._lane_name)


def in_use(name: str) -> RefusedError:
    return RefusedError(f"the console of {name} is in use", cure="--force takes it over")


def _abort(stream: libvirt.virStream) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        stream.eventRemoveCallback()
    with contextlib.suppress(libvirt.libvirtError):
        stream.abort()


def _unregister(conn: libvirt.virConnect) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        conn.unregisterCloseCallback()


async def _open(call: Call) -> dict[str, Any]:
    """{uuid, device?, force?} → {id, path, name}: a socket for one client within half a minute.

    RefusedError: in use and not `force`, or the VM is off.
    """
    force = bool(call.args.get("force"))
    console = Console(call, next(_numbers))
    # libvirt itself sees to it for QEMU; a container's console would give each reader some of the bytes.
    others = [
        other
        for other in _consoles.values()
        if (other.uuid, other.device) == (console.uuid, console.device) and not other.bridge.ended
    ]
    if others and not force:
        await console.close()
        raise in_use(others[0].name)
    for other in others:
        other.bridge.end(TAKEN)
    await console.open(force)
    for old in [each for each in _consoles.values() if each.over.done()][:-_REMEMBERED]:
        del _consoles[old.id]
    _consoles[console.id] = console
    task = asyncio.ensure_future(console.live())
    _living.add(task)
    task.add_done_callback(_living.discard)
    return {"id": console.id, "path": console.bridge.path, "name": console.name}


async def _status(call: Call) -> dict[str, Any]:
    """{id} → {open, reason, failed, lost}: whether a console still is, else why it ended, and whether against
    the will of whoever is at it and of the VM; bytes that were never read.

    An id that is not known was one of another worker, which has ended.
    """
    console = _consoles.get(str(call.args["id"]))
    if console is None:
        return {"open": False, "reason": LOST, "failed": True, "lost": 0}
    if not console.bridge.ended:
        return {"open": True, "reason": "", "failed": False, "lost": console.bridge.lost}
    ended = await asyncio.shield(console.over)
    return {"open": False, "reason": ended.reason, "failed": ended.failed, "lost": console.bridge.lost}


ACTS: Mapping[str, Operation] = {"console.open": _open, "console.status": _status}
