"""A claim of capacity: what is promised on a host is read, compared and added to with nobody in between.

Under the host's lock where it has one. Tasks of one worker that wait for it
take it once for all of them, for as long as others don't have to wait long:
taking it costs more than what is done under it. Elsewhere by marks, as `room`
has it: slower, and as safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

import libvirt
import msgspec

from virtfleet.errors import NoRoomError, RefusedError
from virtfleet.hypervisor.acts import room
from virtfleet.hypervisor.acts.domains import lookup, on_domain
from virtfleet.hypervisor.acts.hostlock import LEASE, host_lock
from virtfleet.hypervisor.acts.metadata import write
from virtfleet.hypervisor.acts.promises import described, promised
from virtfleet.hypervisor.acts.room import Limits, Promise, Verdict
from virtfleet.hypervisor.call import Call
from virtfleet.hypervisor.reach import Reach
from virtfleet.hypervisor.views import vmdata

T = TypeVar("T")
Define = Callable[[str], libvirt.virDomain]
"""Defines a VM from XML. NoRoomError: it does not fit."""

LOCK = "capacity"
_HOLD = 2.0
"""Seconds for which tasks hand the lock to each other: others wait for it no longer than `hostlock` does."""
_SAFE = LEASE / 2
"""Seconds after which nothing more is begun under a lock."""
_ACTS_WITHIN = LEASE / 2 - 5
"""Seconds after which what was begun is cut off: before the lock could be somebody else's."""
_FRESH = 0.3
"""Seconds for which what was read is good enough to refuse by."""
_PATIENCE = 300.0
"""Seconds to wait for a turn. Progress is told meanwhile, so that the request does not run out."""
_TELL_EVERY = 2.0
_STALE = 10.0
"""Seconds after which whoever has a mark and does nothing is not waited for."""
_SETTLES_WITHIN = 30.0
_LOOK_EVERY = (0.1, 0.3)


async def defined(call: Call, work: Callable[[libvirt.virConnect, Define], T]) -> T:
    """`work(connection, define)` on the lane for what operators ask; within `limits`, if the call has any.

    NoRoomError: they would be exceeded, and nothing was defined.
    """
    limits = limits_of(call)
    if limits is None:
        return await call.lanes.long.call(
            lambda conn: work(conn, lambda xml: _define(conn, xml)), call.deadline
        )
    return await _claim(call, limits, work)


async def resized(call: Call, work: Callable[[libvirt.virDomain, int | None, int | None], T]) -> T:
    """`work(domain, vcpus, memory)` with what the call asks for, within its `limits`, if it has any.

    NoRoomError: they would be exceeded, and it is as it was.
    """
    vcpus, memory = call.args.get("vcpus"), call.args.get("memory")
    limits = limits_of(call)
    if limits is None:
        return await on_domain(call, lambda domain: work(domain, vcpus, memory))
    return await _claim_more(call, limits, work, vcpus, memory)


def limits_of(call: Call) -> Limits | None:
    given = call.args.get("limits")
    return None if given is None else msgspec.convert(given, Limits)


# ---- one after another


class _Late(Exception):  # noqa: N818 - no error: take the lock anew
    """The lock was held for so long that its lease may end too soon."""


class _Held:
    """The lock as one worker holds it."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.stack = contextlib.AsyncExitStack()
        self.shared = False
        """Whether it keeps out other operators."""
        self.since = time.monotonic()
        self.known: dict[str, Promise] | None = None
        """What was read under it, with what we added."""
        self._read = 0.0
        self._detailed = False

    @property
    def age(self) -> float:
        return time.monotonic() - self.since

    def present(self, conn: libvirt.virConnect, limits: Limits, *, anew: bool = False) -> list[Promise]:
        """What is promised. RefusedError and libvirt's errors as usual; _Late: too late to begin anything."""
        if self.age > _SAFE:
            raise _Late
        detailed = limits.detailed
        anew = anew and time.monotonic() - self._read > _FRESH
        if self.known is None or anew or (detailed and not self._detailed):
            self._read = time.monotonic()
            self.known = {each.uuid: each for each in promised(conn, marks=detailed)}
            self._detailed = detailed
        return list(self.known.values())

    def refuse(self, conn: libvirt.virConnect, want: Promise, limits: Limits) -> None:
        """NoRoomError: it does not fit, and that is not only how it was some moments ago."""
        if room.shortfall(self.present(conn, limits), want, limits) and (
            reasons := room.shortfall(self.present(conn, limits, anew=True), want, limits)
        ):
            raise _no_room(reasons)

    def add(self, want: Promise) -> None:
        if self.known is not None:
            self.known[want.uuid] = want


class _Turns:
    """Tasks of one worker, one after another, in the order in which they came."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._held: _Held | None = None

    @contextlib.asynccontextmanager
    async def take(self, call: Call) -> AsyncIterator[_Held]:
        """RefusedError: others had it all the time."""
        self._waiting += 1
        try:
            async with contextlib.AsyncExitStack() as stack:
                held = await self._wait(call, stack)
                try:
                    yield held
                except RefusedError:
                    raise
                except BaseException:
                    held.known = None  # nobody knows how far it came
                    raise
                finally:
                    if self._waiting == 1 or held.age > _HOLD:
                        await self._let_go()
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not self._turn.locked():  # who was to have it changed his mind
                await self._let_go()

    async def _wait(self, call: Call, stack: contextlib.AsyncExitStack) -> _Held:
        until = time.monotonic() + _PATIENCE
        try:
            async with _telling(call), asyncio.timeout(_PATIENCE):
                await stack.enter_async_context(self._turn)
                while True:
                    try:
                        return await self._hold(call)
                    except RefusedError:  # somebody has it longer than `hostlock` waits
                        if time.monotonic() > until:
                            raise
        except TimeoutError:
            raise RefusedError("others are claiming room there all the time", cure="try again") from None

    async def _hold(self, call: Call) -> _Held:
        held = self._held
        if held is not None and (held.age > _HOLD or held.reach is not call.reach):
            await self._let_go()
            held = None
        if held is None:
            held = _Held(call.reach)
            held.shared = await held.stack.enter_async_context(host_lock(call, LOCK))
            held.since = time.monotonic()
            self._held = held
        return held

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await held.stack.aclose()


_turns = _Turns()


@contextlib.asynccontextmanager
async def _telling(call: Call) -> AsyncIterator[None]:
    """A request that waits for its turn does not run out meanwhile."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            call.report(0, 0, "waiting for others who claim room there")

    teller = asyncio.create_task(tell())
    try:
        yield
    finally:
        teller.cancel()


# ---- claims


async def _claim(call: Call, limits: Limits, work: Callable[[libvirt.virConnect, Define], T]) -> T:
    while True:
        async with _turns.take(call) as held:
            if not held.shared:
                return await _by_marks(call, limits, work)

            def alone(conn: libvirt.virConnect, held: _Held = held) -> T:
                def define(xml: str) -> libvirt.virDomain:
                    want = room.promise_of(xml)
                    held.refuse(conn, room.alone(want, limits), limits)
                    domain = _define(conn, xml)
                    held.add(want)
                    return domain

                return work(conn, define)

            with contextlib.suppress(_Late):
                return await call.lanes.long.call(alone, min(call.deadline, _ACTS_WITHIN))


async def _claim_more(
    call: Call,
    limits: Limits,
    work: Callable[[libvirt.virDomain, int | None, int | None], T],
    vcpus: int | None,
    memory: int | None,
) -> T:
    while True:
        async with _turns.take(call) as held:
            if not held.shared:
                return await _more_by_marks(call, limits, work, vcpus, memory)

            def alone(conn: libvirt.virConnect, held: _Held = held) -> T:
                domain = lookup(conn, call.args["uuid"])
                want = room.alone(_grown(described(domain), vcpus, memory), limits)
                held.refuse(conn, want, limits)
                try:
                    return work(domain, vcpus, memory)
                finally:
                    held.known = None

            with contextlib.suppress(_Late):
                return await call.lanes.long.call(alone, min(call.deadline, _ACTS_WITHIN))


def _grown(was: Promise, vcpus: int | None, memory: int | None) -> Promise:
    return msgspec.structs.replace(was, vcpus=vcpus or was.vcpus, memory=memory or was.memory)


def _define(conn: libvirt.virConnect, xml: str) -> libvirt.virDomain:
    return conn.defineXMLFlags(room.unmarked(xml), 0)


def _no_room(reasons: Iterable[str]) -> NoRoomError:
    return NoRoomError(f"no room: {'; '.join(reasons)}", cure="another host, or make room there")


# ---- without a lock


async def _by_marks(call: Call, limits: Limits, work: Callable[[libvirt.virConnect, Define], T]) -> T:
    """Defines it with a mark, and takes it away again if it has to step back."""
    word = uuid.uuid4().hex

    def marking(conn: libvirt.virConnect) -> T:
        def define(xml: str) -> libvirt.virDomain:
            _hope(conn, room.alone(room.promise_of(xml), limits), limits)
            return conn.defineXMLFlags(room.marked(xml, word), 0)

        return work(conn, define)

    done = await call.lanes.long.call(marking, call.deadline)
    await _settle(call, limits, None, lambda domain: domain.undefine())
    return done


async def _more_by_marks(
    call: Call,
    limits: Limits,
    work: Callable[[libvirt.virDomain, int | None, int | None], T],
    vcpus: int | None,
    memory: int | None,
) -> T:
    """Makes it larger with a mark, and smaller again if it has to step back."""
    word = uuid.uuid4().hex

    def marking(conn: libvirt.virConnect) -> tuple[T, tuple[int, int] | None]:
        domain = lookup(conn, call.args["uuid"])
        was = described(domain)
        _hope(conn, room.alone(_grown(was, vcpus, memory), limits), limits)
        before = was.before or (None if call.again else (was.vcpus, was.memory))
        write(domain, vmdata.ROOM, room.ROOM_PREFIX, room.mark_xml(word, before))
        return work(domain, vcpus, memory), before

    done, before = await call.lanes.long.call(marking, call.deadline)

    def back(domain: libvirt.virDomain) -> None:
        if before is not None:  # else the job's undo knows how it was
            work(domain, before[0] if vcpus else None, before[1] if memory else None)
        write(domain, vmdata.ROOM, room.ROOM_PREFIX, None)

    await _settle(call, limits, before, back)
    return done


def _hope(conn: libvirt.virConnect, want: Promise, limits: Limits) -> None:
    """NoRoomError: whoever steps back, it will not fit."""
    if not limits.detailed and not room.shortfall(promised(conn, marks=False), want, limits):
        return
    if reasons := room.hopeless(promised(conn, marks=True), want, limits):
        raise _no_room(reasons)


async def _settle(
    call: Call,
    limits: Limits,
    before: tuple[int, int] | None,
    back: Callable[[libvirt.virDomain], object],
) -> None:
    """Returns when it is sure that the call's VM may stay as it is. NoRoomError: it stepped back.

    That its mark is gone says nothing: others take it off when we were away for long.
    """
    seen: dict[str, float] = {}
    until = time.monotonic() + _SETTLES_WITHIN

    def look(conn: libvirt.virConnect) -> bool:
        domain = lookup(conn, call.args["uuid"])
        now = time.monotonic()
        for marks in (False, True):  # whether all fits is soon told
            present = promised(conn, marks=marks or limits.detailed)
            ours = next(each for each in present if each.uuid == call.args["uuid"])
            ours = room.alone(msgspec.structs.replace(ours, before=before), limits)
            for each in present:
                seen.setdefault(each.mark, now)
            stale = {mark for mark, since in seen.items() if mark and now - since > _STALE}
            says = room.verdict(present, ours, limits, stale)
            if says is Verdict.STAY:
                write(domain, vmdata.ROOM, room.ROOM_PREFIX, None)
                return True
        _forget(conn, [each for each in present if each.mark in stale and each.uuid != ours.uuid])
        if says is Verdict.WAIT and now < until:
            return False
        reasons = room.shortage(present, ours, limits)
        back(domain)
        raise _no_room(reasons)

    while not await call.lanes.long.call(look, call.deadline):
        call.report(0, 0, "others claim the same room: waiting until they have stepped back")
        await asyncio.sleep(random.uniform(*_LOOK_EVERY))  # noqa: S311 - no secret


def _forget(conn: libvirt.virConnect, stale: Iterable[Promise]) -> None:
    """Takes the marks off VMs whose makers are no more: they stay, and nobody waits for them again."""
    for each in stale:
        with contextlib.suppress(libvirt.libvirtError):
            write(conn.lookupByUUIDString(each.uuid), vmdata.ROOM, room.ROOM_PREFIX, None)
