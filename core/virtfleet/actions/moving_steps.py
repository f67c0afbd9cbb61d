"""The step of a move that two hosts take part in: begun at the source, judged by what both say.

Runs in the process of the job, which may die at any moment: begun again, it
looks first, and goes on with whatever it finds (decide/recovery.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from virtfleet.decide.recovery import Outcome, Side, outcome
from virtfleet.errors import HostError, UnreachableError, VirtfleetError

Report = Callable[[int, int, str], None]

_LOOK_WITHIN = 20.0
_ACT_WITHIN = 60.0
_PATIENCE = 90.0
"""Seconds to wait for a host that does not answer, or until the two are done with each other."""
_LOOK_EVERY = 0.5
_MOST_ROUNDS = 50


class Hosts(Protocol):
    """What of the engine is needed."""

    async def run(
        self, host: str, op: str, args: dict[str, Any], timeout: float, on_progress: Report
    ) -> Any: ...

    async def answers(self, host: str, within: float) -> bool: ...


class _Two:
    """The VM and the two hosts."""

    def __init__(self, hosts: Hosts, args: Mapping[str, Any], timeout: float, report: Report) -> None:
        self._hosts, self._args, self._timeout, self._report = hosts, args, timeout, report
        self.source, self.to, self.name = str(args["source"]), str(args["to"]), str(args["name"])
        self.off = bool(args.get("off"))

    async def ask(self, host: str, op: str, timeout: float = _ACT_WITHIN, **more: Any) -> Any:
        args = {"uuid": self._args["uuid"], "job": self._args["job"], **more}
        return await self._hosts.run(host, op, args, timeout, self._report)

    async def migrate(self, *, watch: bool = False) -> None:
        await self.ask(self.source, "vm.migrate", self._timeout, **dict(self._args["how"]), watch=watch)

    async def arrive(self) -> None:
        await self.ask(self.to, "vm.arrive", **dict(self._args["arrive"]))

    async def _side(self, host: str) -> Side | None:
        """None: it does not answer."""
        try:
            return msgspec.convert(await self.ask(host, "vm.side", _LOOK_WITHIN), Side)
        except HostError:
            return None

    async def look(self) -> tuple[Outcome, str]:
        """What became of it, and what each host says; UNCLEAR only after having waited for better."""
        until = time.monotonic() + _PATIENCE
        while True:
            here, there = await asyncio.gather(self._side(self.source), self._side(self.to))
            found = outcome(here, there, off=self.off)
            says = f"{self.source}: {_says(here)}, {self.to}: {_says(there)}"
            left = until - time.monotonic()
            if found is not Outcome.UNCLEAR or left <= 0:
                return found, says
            self._report(0, 0, f"waiting until it is clear where it is: {says}")
            silent = [host for host, side in ((self.source, here), (self.to, there)) if side is None]
            for host in silent:
                await self._hosts.answers(host, min(left, _LOOK_WITHIN))
            await asyncio.sleep(_LOOK_EVERY)

    async def mend(self, found: Outcome) -> bool:
        """Does what both sides' saying so allows. False: nothing was to be done."""
        if found is Outcome.STRANDED:
            await self.ask(self.source, "vm.migrate.resume")
        elif found is Outcome.LEFT_BEHIND:
            await self.ask(self.source, "vm.migrate.remove")
        else:
            return False
        return True


def _says(side: Side | None) -> str:
    return "no answer" if side is None else side.text


async def move(hosts: Hosts, args: Mapping[str, Any], timeout: float, report: Report) -> dict[str, Any]:
    """The VM is at the destination, and only there. Any error: it is at the source, or it says where."""
    two = _Two(hosts, args, timeout, report)
    failure: VirtfleetError | None = None
    known = Outcome.STAYED if not args.get("again") else None
    for _ in range(_MOST_ROUNDS):
        found, says = (known, "") if known is not None else await two.look()
        known = None
        match found:
            case Outcome.MOVED:
                return {"host": two.to}
            case Outcome.STAYED if failure is not None:
                raise failure
            case Outcome.STAYED:
                failure = await _failure_of(two.migrate())
            case Outcome.UNDER_WAY:
                failure = await _failure_of(two.migrate(watch=True)) or failure
                failure = failure or HostError(f"the move was broken off; {two.name} is on {two.source}")
            case Outcome.STRANDED | Outcome.LEFT_BEHIND:
                await two.mend(found)
            case _:
                raise _unsettled(two, found, says, failure)
    raise HostError(f"{two.name} can't be settled on either host")


async def _failure_of(work: Awaitable[None]) -> VirtfleetError | None:
    """Never one that says that nothing was done: only both hosts know that."""
    try:
        await work
    except UnreachableError as error:
        return error
    except VirtfleetError as error:
        return error if isinstance(error, HostError) else HostError(error.message, cure=error.cure)
    return None


def _unsettled(two: _Two, found: Outcome, says: str, failure: VirtfleetError | None) -> HostError:
    why = f"; {failure.message}" if failure is not None else ""
    match found:
        case Outcome.TWICE:
            text = (
                f"{two.name} RUNS TWICE, on {two.source} and on {two.to}: power off the one that is not right"
            )
        case Outcome.GONE:
            text = f"{two.name} is neither on {two.source} nor on {two.to}"
        case Outcome.STOPPED:
            text = f"{two.name} was shut off meanwhile, on {two.source}"
        case _:
            text = f"where {two.name} is can't be told now ({says}); nothing was resumed"
    return HostError(f"{text}{why}", cure="`job resume` when both hosts answer")


async def back(hosts: Hosts, args: Mapping[str, Any], timeout: float, report: Report) -> dict[str, Any]:
    """Undoes a move: what is under way is given up and the VM runs on at the source; what is over stays over.

    `idle`: nothing is given up. HostError: a host that must be asked does not answer.
    """
    two = _Two(hosts, args, timeout, report)
    for _ in range(_MOST_ROUNDS):
        found, says = await two.look()
        match found:
            case Outcome.STAYED | Outcome.STOPPED:
                return {}
            case Outcome.MOVED:
                await two.arrive()
                return {"left": f"it is on {two.to} already, and stays there"}
            case Outcome.UNDER_WAY if args.get("idle"):
                raise HostError(f"{two.name} is being migrated just now", cure="wait until that has ended")
            case Outcome.UNDER_WAY:
                await two.ask(two.source, "vm.migrate.abort", 120.0)
            case Outcome.STRANDED | Outcome.LEFT_BEHIND:
                await two.mend(found)
            case Outcome.GONE:
                return {"left": f"it is on neither host ({says})"}
            case _:
                raise _unsettled(two, found, says, None)
    raise HostError(f"{two.name} can't be settled on either host")


async def disk_back(hosts: Hosts, args: Mapping[str, Any], timeout: float, report: Report) -> dict[str, Any]:
    """Deletes a volume that was made for a copy, unless the VM is there with it."""
    two = _Two(hosts, args, timeout, report)
    found, says = await two.look()
    if found not in (Outcome.STAYED, Outcome.STOPPED):
        return {"left": f"it may be the VM's own ({says})"}
    volume = {**dict(args["volume"]), "job": args["job"], "uncertain": bool(args.get("uncertain"))}
    return dict(await hosts.run(two.to, "volume.delete", volume, timeout, report))
