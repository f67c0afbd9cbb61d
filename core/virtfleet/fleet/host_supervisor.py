"""One host of the fleet: its worker, what is known of it, and when to try again.

A worker that dies or falls silent is replaced, with back-off and jitter, and
no other host notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING

from virtfleet.fleet.assembly import Assembly
from virtfleet.fleet.link import Link
from virtfleet.hypervisor import wire
from virtfleet.model import Event, HostState, HostView, Severity

if TYPE_CHECKING:
    from virtfleet.fleet.supervisor import Supervisor

PATIENCE = 3.0
"""Seconds that a silent worker has to answer a ping."""
_WORST_BACKOFF = 15.0
_LASTING = 20.0
"""Seconds that a host was up after which the loss of its worker counts as the first."""

_IN_TROUBLE = (HostState.HUNG, HostState.UNREACHABLE)
"""States that stay on screen while it is tried again, also by another worker, until something answers."""


class HostSupervisor:
    """One host: its link, its assembly, and when to try again."""

    def __init__(self, settings: wire.WorkerSettings, view: HostView, fleet: Supervisor) -> None:
        self.settings = settings
        self.assembly = Assembly(view)
        self.link: Link | None = None
        self.stuck = False
        """The last worker died because a call could not be freed: *hung* stands until one answers."""
        self._fleet = fleet
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._well_since: float | None = None
        self._starting = False
        self._attempt = 0
        self._word = asyncio.Event()

    @property
    def name(self) -> str:
        return self.settings.name

    async def start(self) -> None:
        """Forks a worker and waits, briefly, for its first word: a fleet must not start all at once."""
        if self.link is not None or self._starting:
            return  # asked for twice
        self._cancel_retry()
        self._word.clear()
        self._starting = True
        self._attempt = attempt = self._attempt + 1
        try:
            token, end = self._fleet.fork()
            self._fleet.expect(token)  # before the first pause: the zygote may answer in it
            link = await Link.open(end, self._message, self.gone, self._fleet.inbox)
        except OSError as error:
            self._starting = False
            self._lost(f"no worker process: {error}")
            return
        if attempt != self._attempt:  # stopped meanwhile
            link.close()
            return
        self._starting, self.link = False, link
        self._fleet.started(token, link)
        link.send(wire.Configure(self._fleet.patient(self.settings)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                await self._word.wait()

    def stop(self) -> None:
        self._attempt, self._starting = self._attempt + 1, False
        self._cancel_retry()
        if self.link is not None:
            self.link.close()
            self.link = None
        self._word.set()
        self._fleet.link_lost(self.name)

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def watch(self, now: float) -> None:
        """Called twice a second: has the worker fallen silent?"""
        link = self.link
        if link is None:
            return
        if link.pinged is not None:
            if now - link.pinged > PATIENCE:
                self._kill(link)
        elif now - link.heard > max(3 * self.settings.interval, 6.0):
            link.ping(now)

    def _kill(self, link: Link) -> None:
        if link.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(link.pid, signal.SIGKILL)
        link.close()
        self.gone("its worker did not answer and was killed")

    def _message(self, message: wire.FromWorker) -> None:
        match message:
            case wire.Asks():
                self._fleet.prompted(message)
            case wire.PromptGone():
                self._fleet.unprompted(self.name, message.id)
            case wire.Happened():
                self._fleet.happened(message.event)
            case wire.Pong():
                pass
            case _:
                if isinstance(message, wire.Status):
                    self._status(message)
                    return
                self._tell(self.assembly.fold(message))
                if isinstance(message, wire.Sample):
                    self._word.set()
                    self._fleet.sampled(self.name, message)
                elif isinstance(message, wire.Pools):
                    self._fleet.pooled(self.name, message)

    def _status(self, status: wire.Status) -> None:
        if status.state is HostState.CONNECTING and (self.stuck or self.assembly.view.state in _IN_TROUBLE):
            return  # trying again is no news: what is wrong stays on screen until something answers
        if status.state.answers:
            self.stuck = False
            if self._well_since is None:
                self._well_since = time.monotonic()
        if status.state is not HostState.CONNECTING:
            self._word.set()
        self._tell(self.assembly.fold(status))

    def _tell(self, groups: frozenset[str]) -> None:
        if groups:
            self._fleet.changed(self.assembly.view, groups)

    def gone(self, why: str) -> None:
        """Its worker is no more."""
        self.link = None
        self._word.set()
        self._fleet.link_lost(self.name)
        self._lost(why)

    def exited(self, status: int) -> None:
        """The zygote's word on how the worker ended, which may come before or after its socket closed."""
        code = os.waitstatus_to_exitcode(status)
        if code == wire.EXIT_STUCK:
            self.stuck = True
            self._tell(self.assembly.fold(wire.STUCK))
        elif code < 0:
            name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
            self._fleet.happened(_event(self.name, "worker ended", f"by {name}", Severity.WARNING))
            if self.assembly.view.state is HostState.CONNECTING:
                self._tell(
                    self.assembly.state(HostState.CONNECTING, f"its worker ended by {name}; starting again")
                )

    def _lost(self, why: str) -> None:
        if self._fleet.stopping:
            return
        if not self.stuck and self.assembly.view.state not in _IN_TROUBLE:
            self._tell(self.assembly.state(HostState.CONNECTING, f"{why}; starting again"))
        well = self._well_since
        if well is not None and time.monotonic() - well > _LASTING:
            self._failures = 0  # a worker that dies as soon as it is up is not started four times a second
        self._well_since = None
        self._failures += 1
        ceiling = min(_WORST_BACKOFF, 0.25 * 2 ** min(self._failures, 10))
        delay = ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        self._cancel_retry()
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(delay, self._fleet.enqueue, self)


def _event(host: str, what: str, detail: str, severity: Severity) -> Event:
    return Event(time.time(), host, "host", host, what, detail, "", severity)
