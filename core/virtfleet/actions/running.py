"""Runs the operations of steps: those of a host in its worker, those of no host or of two here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from virtfleet.errors import InternalError, RefusedError, VirtfleetError
from virtfleet.model import Delta, FleetSnapshot

Report = Callable[[int, int, str], None]
Local = Callable[[Mapping[str, Any], Report], Awaitable[Any]]


class Hosts(Protocol):
    """What of the engine is needed."""

    @property
    def snapshot(self) -> FleetSnapshot: ...
    def subscribe(self, callback: Callable[[Delta], None]) -> Callable[[], None]: ...
    async def request(
        self,
        host: str,
        op: str,
        args: dict[str, Any] | None = None,
        timeout: float = 5.0,
        on_progress: Report | None = None,
    ) -> Any: ...


async def _fetch(args: Mapping[str, Any], report: Report) -> Any:
    from virtfleet.images.fetch import fetch_step

    return await fetch_step(args, report)


LOCAL: Mapping[str, Local] = {"image.fetch": _fetch}
"""Operations of steps without a host."""
BETWEEN: Mapping[str, str] = {"vm.move": "move", "vm.move.back": "back", "vm.move.disk.back": "disk_back"}
"""Operations of steps that ask two hosts, whichever the step names: functions of moving_steps.py."""


_PEER = 30.0


async def _tell_peers(hosts: Hosts, args: Mapping[str, Any]) -> dict[str, Any]:
    """Has the `pools` [host, UUID] refreshed, all at once. What fails is told and does not fail the step."""

    async def tell(host: str, uuid: str) -> str:
        try:
            await hosts.request(host, "pool.refresh", {"uuid": uuid}, _PEER)
        except VirtfleetError as error:
            return f"{host}: {error.message}"
        return ""

    found = await asyncio.gather(*(tell(host, uuid) for host, uuid in args["pools"]))
    return {"failed": [each for each in found if each]}


class StepRunner:
    """A `jobs.executor.Runner` over the engine."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def run(self, host: str, op: str, args: dict[str, Any], timeout: float, on_progress: Report) -> Any:
        if op in BETWEEN:
            from virtfleet.actions import moving_steps

            return await getattr(moving_steps, BETWEEN[op])(self, args, timeout, on_progress)
        if host:
            if (
                host not in self._hosts.snapshot.hosts
            ):  # not NotFoundError: what the step is about may be there
                raise RefusedError(f"no host {host} in this fleet any more")
            return await self._hosts.request(host, op, args, timeout, on_progress)
        if op == "pool.peers":
            return await _tell_peers(self._hosts, args)
        if op not in LOCAL:
            raise InternalError(f"no operation {op!r}")
        return await LOCAL[op](args, on_progress)

    async def answers(self, host: str, within: float) -> bool:
        """Waits until `host` answers again; False: not within these seconds."""
        if host not in self._hosts.snapshot.hosts:
            raise RefusedError(f"no host {host} in this fleet any more")
        changed = asyncio.Event()
        stop = self._hosts.subscribe(lambda delta: changed.set())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    # A host that was just lost may not have been noticed yet.
                    await asyncio.sleep(min(1.0, within / 4))
                    while not self._hosts.snapshot.hosts[host].state.answers:
                        changed.clear()
                        await changed.wait()
            return self._hosts.snapshot.hosts[host].state.answers
        finally:
            stop()
