"""Keeps one worker process running per host, and the fleet's snapshot up to date.

What a worker says becomes a new snapshot and a delta. A worker that dies or
falls silent is replaced, with back-off and jitter, and no other host notices.
A pause of our own (Ctrl-Z, a closed lid, a busy loop) is recognised by the
clock of the loop, and nobody is blamed for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from virtfleet.errors import UnreachableError
from virtfleet.fleet.assembly import Assembly
from virtfleet.fleet.link import Link, Report
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.zygote import Exited, Failed, Forked, Zygote
from virtfleet.model import Event, HostState, HostView, Severity

log = logging.getLogger(__name__)

STARTING_AT_ONCE = 24
"""Workers that may be between their start and their first word at one time."""
_MANY = 12
"""Hosts from which on it pays to prepare the zygote for many workers."""
_TICK = 0.5
_SLEPT = 2.0
"""The loop was away for longer than this: sockets are drained before anybody is judged."""
_PATIENCE = 3.0
_WORST_BACKOFF = 15.0
_LASTING = 20.0
"""Seconds that a host was up after which the loss of its worker counts as the first."""


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
            link = await Link.open(end, self._message, self._gone)
        except OSError as error:
            self._starting = False
            self._lost(f"no worker process: {error}")
            return
        if attempt != self._attempt:  # stopped meanwhile
            link.close()
            return
        self._starting, self.link = False, link
        self._fleet.started(token, link)
        link.send(wire.Configure(self.settings))
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
            if now - link.pinged > _PATIENCE:
                self._kill(link)
        elif now - link.heard > max(3 * self.settings.interval, 6.0):
            link.ping(now)

    def _kill(self, link: Link) -> None:
        if link.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(link.pid, signal.SIGKILL)
        link.close()
        self._gone("its worker did not answer and was killed")

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
        if status.state is HostState.CONNECTING and (
            self.stuck or self.assembly.view.state in (HostState.HUNG, HostState.UNREACHABLE)
        ):
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

    def _gone(self, why: str) -> None:
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
        if not self.stuck and self.assembly.view.state is not HostState.UNREACHABLE:
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


class Supervisor:
    """All hosts. `on_change(view, groups)`, `on_event(event)` and so on are called in the loop."""

    def __init__(
        self,
        hosts: list[tuple[wire.WorkerSettings, HostView]],
        *,
        zygote: Zygote | None,
        log_file: Path | None,
        on_change: Callable[[HostView, frozenset[str]], None],
        on_event: Callable[[Event], None],
        on_sample: Callable[[str, wire.Sample], None],
        on_pools: Callable[[str, wire.Pools], None],
        on_prompt: Callable[[wire.Asks], None],
        on_prompt_gone: Callable[[str, int], None],
        on_worker_lost: Callable[[str], None],
    ) -> None:
        self.hosts = {settings.name: HostSupervisor(settings, view, self) for settings, view in hosts}
        self.changed = on_change
        self.happened = on_event
        self.sampled = on_sample
        self.pooled = on_pools
        self.prompted = on_prompt
        self.unprompted = on_prompt_gone
        self.link_lost = on_worker_lost
        self.stopping = False
        self._zygote = zygote
        self._log_file = log_file
        self._many = len(hosts) > _MANY or any(settings.simulate is not None for settings, _ in hosts)
        self._expected: dict[int, Link | int | None] = {}
        """What is known of workers that were asked for: None, or their link, or their process."""
        self._pids: dict[int, str] = {}
        self._queue: asyncio.Queue[HostSupervisor] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to connect all hosts that are not disabled; returns at once."""
        loop = asyncio.get_running_loop()
        self._listen(self._zygote or Zygote.start(self._log_file))
        for host in self.hosts.values():
            if host.assembly.view.state is not HostState.DISABLED:
                self._queue.put_nowait(host)
        starters = min(self._starters(), max(1, len(self.hosts)))
        self._tasks = [loop.create_task(self._starter()) for _ in range(starters)]
        self._tasks.append(loop.create_task(self._watch()))

    def _starters(self) -> int:
        """Far hosts are waited for, so many may start at once; simulated ones only need our own CPU."""
        if all(host.settings.simulate is not None for host in self.hosts.values()):
            return 2 * (os.cpu_count() or 1)
        return STARTING_AT_ONCE

    async def stop(self) -> None:
        """Ends all workers and the zygote."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for host in self.hosts.values():
            host.stop()
        if self._zygote is not None:
            asyncio.get_running_loop().remove_reader(self._zygote.fileno())
            self._zygote.close()
            self._zygote = None

    async def request(
        self,
        name: str,
        op: str,
        args: dict[str, Any],
        timeout: float,
        on_progress: Report | None = None,
    ) -> Any:
        host = self.hosts[name]
        if host.link is None:
            view = host.assembly.view
            raise UnreachableError(f"{name} is {view.state}: {view.reason}", cure=view.cure)
        return await host.link.request(op, args, timeout, on_progress)

    def reconnect(self, name: str) -> None:
        """Tries again at once, whatever the state or back-off."""
        host = self.hosts[name]
        if host.link is not None:
            host.link.send(wire.Reconnect())
        elif host.assembly.view.state is not HostState.DISABLED:
            host.stop()
            self.enqueue(host)

    def send(self, name: str, message: wire.ToWorker) -> None:
        link = self.hosts[name].link
        if link is not None:
            link.send(message)

    def enqueue(self, host: HostSupervisor) -> None:
        self._queue.put_nowait(host)

    def fork(self) -> tuple[int, Any]:
        zygote = self._zygote
        if zygote is None:
            zygote = Zygote.start(self._log_file)
            self._listen(zygote)
        return zygote.fork(warm=self._many)

    def expect(self, token: int) -> None:
        """A worker was asked for under this token."""
        self._expected[token] = None

    def started(self, token: int, link: Link) -> None:
        """Its link is open, which may be before or after the zygote tells its process."""
        found = self._expected.pop(token, None)
        if isinstance(found, int):
            self._pair(link, found)
        else:
            self._expected[token] = link

    def _pair(self, link: Link, pid: int) -> None:
        name = next((name for name, host in self.hosts.items() if host.link is link), None)
        if name is not None:
            link.pid = pid
            self._pids[pid] = name

    # ---- own tasks

    async def _starter(self) -> None:
        while True:
            host = await self._queue.get()
            try:
                await host.start()
            except Exception:  # a starter that ends would never start the others
                log.exception("%s could not be started", host.name)

    async def _watch(self) -> None:
        last = time.monotonic()
        judge_after = last
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if now - last > _SLEPT:
                judge_after = now + _PATIENCE
                for host in self.hosts.values():
                    if host.link is not None:
                        host.link.heard = now
                        host.link.pinged = None
            last = now
            if now >= judge_after:
                for host in self.hosts.values():
                    host.watch(now)

    # ---- the zygote

    def _listen(self, zygote: Zygote) -> None:
        self._zygote = zygote
        asyncio.get_running_loop().add_reader(zygote.fileno(), self._zygote_speaks)

    def _zygote_speaks(self) -> None:
        zygote = self._zygote
        if zygote is None:
            return
        try:
            messages = zygote.messages()
        except EOFError:
            self._zygote_died()
            return
        for message in messages:
            match message:
                case Forked(token, pid):
                    found = self._expected.pop(token, None)
                    if isinstance(found, Link):
                        self._pair(found, pid)
                    else:
                        self._expected[token] = pid  # its link is just being opened
                case Exited(pid, status):
                    host = self.hosts.get(self._pids.pop(pid, ""))
                    if host is not None:
                        host.exited(status)
                case Failed(reason):
                    self._cannot_work(reason)

    def _zygote_died(self) -> None:
        """Workers that run go on; the next fork starts another zygote."""
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            asyncio.get_running_loop().remove_reader(zygote.fileno())
            zygote.reap()
        log.warning("the zygote died; another is started when a worker is needed")
        self._expected.clear()
        for host in self.hosts.values():
            if host.link is not None and host.link.pid is None:
                host.link.close()  # its fork request died with the zygote
                host._gone("the zygote ended before it started a worker")

    def _cannot_work(self, reason: str) -> None:
        cure = "is libvirt's client library installed? (Debian: libvirt0)"
        while not self._queue.empty():
            self._queue.get_nowait()
        for host in self.hosts.values():
            if host.assembly.view.state is HostState.DISABLED:
                continue
            host.stop()
            host.assembly.state(HostState.REFUSED, f"workers can't start: {reason}", cure)
            self.changed(host.assembly.view, frozenset({"state"}))


def _event(host: str, what: str, detail: str, severity: Severity) -> Event:
    return Event(time.time(), host, "host", host, what, detail, "", severity)
