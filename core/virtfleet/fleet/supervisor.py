"""Keeps one worker process running per host, and the fleet's snapshot up to date.

What a worker says becomes a new snapshot and a delta; each host is looked
after by a `HostSupervisor`. A pause of our own (Ctrl-Z, a closed lid, a busy
loop) is recognised by the clock of the loop, and nobody is blamed for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from virtfleet.errors import UnreachableError
from virtfleet.fleet.host_supervisor import PATIENCE, HostSupervisor
from virtfleet.fleet.link import Link, Report, inbox
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.zygote import Exited, Failed, Forked, Zygote
from virtfleet.model import Event, HostState, HostView

log = logging.getLogger(__name__)

STARTING_AT_ONCE = 24
"""Workers that may be between their start and their first word at one time."""
_STARTS_PER_S = 25.0
"""Workers that have their rows per second, while a large fleet starts."""
_TICK = 0.5
_SLEPT = 2.0
"""The loop was away for longer than this: sockets are drained before anybody is judged."""


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
        self.inbox = inbox()
        self._zygote = zygote
        self._log_file = log_file
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
        far = sum(host.settings.simulate is None for host in self.hosts.values())
        return min(STARTING_AT_ONCE, far + 2 * (os.cpu_count() or 1))

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
        return zygote.fork()

    def patient(self, settings: wire.WorkerSettings) -> wire.WorkerSettings:
        """The same with the time that those will take which are still to be started: their rows come first.

        At 500 simulated hosts, a quarter of what the workers do in the first minute is not about VMs.
        """
        waiting = 0 if settings.groups else self._queue.qsize()
        return replace(settings, rows_first=waiting / _STARTS_PER_S) if waiting else settings

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
                judge_after = now + PATIENCE
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
                host.gone("the zygote ended before it started a worker")

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
