"""The engine: what both faces, the console and the command line, see of everything else.

One object in one asyncio loop. It is started with a fleet's settings, keeps a
`FleetSnapshot` true, tells subscribers what changed, carries questions to a
person and requests to hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from virtfleet.config import folders
from virtfleet.config.settings import FleetSettings, HostSettings
from virtfleet.errors import NotFoundError, RefusedError, VirtfleetError
from virtfleet.fleet.assembly import blank
from virtfleet.fleet.events import EventLog
from virtfleet.fleet.link import Report
from virtfleet.fleet.prompts import PromptQueue
from virtfleet.fleet.runtime import raise_descriptor_limit, runtime_folder
from virtfleet.fleet.supervisor import Supervisor
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.zygote import Zygote
from virtfleet.model import Delta, Event, FleetSnapshot, HostState, HostView

if TYPE_CHECKING:
    from virtfleet.actions.attempts import Attempts
    from virtfleet.actions.desk import Desk
    from virtfleet.fleet.history import History
    from virtfleet.jobs.book import JobBook
    from virtfleet.model.action import Action
    from virtfleet.model.job import Job
    from virtfleet.model.plan import Plan

log = logging.getLogger(__name__)

_SETTLE = 8.0
"""Seconds over which a fleet of 400 hosts and more begins with pools, networks and facts."""

_FINAL = frozenset({HostState.REFUSED, HostState.UNREACHABLE, HostState.HUNG, HostState.DISABLED})
"""States in which waiting longer for a first sample is of no use."""


class Engine:
    """To be used from one asyncio loop.

    `interactive`: whether somebody answers `prompts`; without, hosts that must
    ask are refused. `keep_history`: rings for plots (costs memory and numpy's
    import). `groups`: read only these (see WorkerSettings.groups), for a
    command that asks and leaves. `zygote`: one that was started early.
    """

    def __init__(
        self,
        settings: FleetSettings,
        *,
        read_only: bool = False,
        interactive: bool = True,
        keep_history: bool = True,
        groups: Collection[str] = (),
        zygote: Zygote | None = None,
    ) -> None:
        self.settings = settings
        self.read_only = read_only
        self.prompts = PromptQueue(interactive=interactive)
        self.events = EventLog()
        self._history = self._make_history() if keep_history else None
        self._runtime, self._runtime_lock = runtime_folder()
        self._groups = tuple(groups)
        self._zygote = zygote
        self._supervisor: Supervisor | None = None
        self._subscribers: list[Callable[[Delta], None]] = []
        self._waiters: set[asyncio.Event] = set()
        self._jobs: JobBook | None = None
        self._desk: Desk | None = None
        self._attempts: Attempts | None = None
        self.stale_ok = False
        """Act also on hosts whose data is old: only when the operator said so."""
        now = time.time()
        views = {host.name: _first_view(host, now) for host in settings.hosts.values()}
        self._snapshot = FleetSnapshot(0, MappingProxyType(views))

    # ---- life

    async def start(self) -> None:
        """Begins to connect; returns at once."""
        raise_descriptor_limit()
        hosts = [
            (
                self._worker_settings(host),
                self._snapshot.hosts[host.name],
            )
            for host in self.settings.hosts.values()
        ]
        supervisor = Supervisor(
            hosts,
            zygote=self._zygote,
            log_file=folders.state_dir() / "workers.log",
            on_change=self._changed,
            on_event=self.events.add,
            on_sample=self._sampled,
            on_pools=self._pooled,
            on_prompt=lambda asks: self.prompts.ask(asks.prompt),
            on_prompt_gone=self.prompts.gone,
            on_worker_lost=self.prompts.drop_host,
        )
        self._supervisor = supervisor
        self.prompts.answers(
            lambda host, number, text: supervisor.send(host, wire.PromptAnswer(number, text))
        )
        self.prompts.retries(self._try_refused)
        supervisor.start()

    async def stop(self) -> None:
        """Ends every worker. Safe to call twice."""
        if self._attempts is not None:
            self._attempts.close()
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            await jobs.close()
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            await supervisor.stop()
        shutil.rmtree(self._runtime, ignore_errors=True)
        if self._runtime_lock >= 0:
            os.close(self._runtime_lock)
            self._runtime_lock = -1

    # ---- reading

    @property
    def snapshot(self) -> FleetSnapshot:
        return self._snapshot

    @property
    def history(self) -> History:
        """Rings of the last 15 minutes. RuntimeError: made with keep_history=False."""
        if self._history is None:
            raise RuntimeError("this engine keeps no history")
        return self._history

    @property
    def calls_per_s(self) -> float | None:
        """libvirt calls per second that watching costs, over all hosts."""
        known = [c for host in self._snapshot.hosts.values() if (c := host.calls_per_s) is not None]
        return sum(known) if known else None

    def subscribe(self, callback: Callable[[Delta], None]) -> Callable[[], None]:
        """`callback(delta)` is called in the loop after each change and must be quick. Returns its end."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def subscribe_events(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        return self.events.subscribe(callback)

    def subscribe_prompts(self, callback: Callable[[], None]) -> Callable[[], None]:
        return self.prompts.subscribe(callback)

    async def settled(
        self,
        groups: Collection[str] = ("stats",),
        timeout: float = 10.0,
        hosts: Collection[str] | None = None,
    ) -> None:
        """Returns when each host has sent these groups, or can't.

        Groups: stats, facts, pools, volumes, networks, devices.

        Hosts that are refused, unreachable, hung or disabled are not waited
        for; nor is anybody once `timeout` seconds have passed. Waiting while a
        person is asked does not count.
        """
        names = list(self._snapshot.hosts) if hosts is None else list(hosts)
        woken = asyncio.Event()
        self._waiters.add(woken)
        until = time.monotonic() + timeout
        try:
            while not all(self._is_settled(name, groups) for name in names):
                woken.clear()
                started = time.monotonic()
                if started >= until:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(until - started, 0.5)):
                        await woken.wait()
                if self.prompts.pending:
                    until += time.monotonic() - started
        finally:
            self._waiters.discard(woken)

    # ---- asking and acting

    async def request(
        self,
        host: str,
        op: str,
        args: dict[str, Any] | None = None,
        timeout: float = 5.0,
        on_progress: Report | None = None,
    ) -> Any:
        """The result of an operation of hypervisor/operations.py or hypervisor/acts on a host.

        `timeout`: seconds, from the last progress, of which `on_progress(done, total, text)` is told.

        Raises NotFoundError (no such host), UnreachableError, DeadlineError
        and what the operation itself raises.
        """
        if host not in self._snapshot.hosts or self._supervisor is None:
            raise NotFoundError(f"no host {host!r} in this fleet")
        return await self._supervisor.request(host, op, args or {}, timeout, on_progress)

    # ---- changing something

    async def plan(self, action: Action, *, beside: Sequence[Plan] = (), avoid: Sequence[str] = ()) -> Plan:
        """What doing `action` would mean; changes nothing. `beside`: what shall be done at the same time;
        `avoid`: hosts that a new VM shall not go to.

        Raises NotFoundError, and RefusedError with all reasons why it can't be done.
        """
        self._may_change()
        return await self.desk.plan(action, beside, self.jobs_known, avoid)

    async def plan_all(
        self, actions: Sequence[Action], *, partial: bool = False
    ) -> tuple[list[Plan], list[VirtfleetError]]:
        """Plans of what shall be done together, and why the rest can't be.

        New VMs are placed together: all or none; with `partial` as many as find a place.
        NoValidHostError: not all do.
        """
        self._may_change()
        return await self.desk.plan_all(actions, self.jobs_known, partial=partial)

    async def apply(self, plan: Plan, *, origin: str = "", batch: str = "", detached: bool = False) -> Job:
        """Begins to carry out a plan, as a job. `detached`: leaves it to another process.

        RefusedError: the world is no longer the one that was planned for, with what has changed; or its
        project's quota has no room any more.
        """
        self._may_change()
        from virtfleet.actions.conditions import check

        changed = check(plan.conditions, self._snapshot, time.monotonic(), stale_ok=self.stale_ok)
        if changed:
            await self.jobs.refused(plan, changed, origin=origin)
            raise RefusedError(
                f"{plan.title}: since it was planned, {'; '.join(changed)}", cure="plan it again"
            )
        room = self.desk.room(plan)
        job = await self.jobs.submit(plan, origin=origin, batch=batch, detached=detached, room=room)
        if not detached:
            self.attempts.follow(job)
        return job

    async def finished(self, number: str) -> Job:
        """A job when it has ended; of a VM whose host had no room after all, and of a volume whose pool
        failed, the job of the last attempt."""
        await self.jobs.wait(number)
        return await self.jobs.wait(await self.attempts.final(number))

    async def _again(self, action: Action, avoid: Sequence[str], before: Job) -> Job:
        from virtfleet.model.plan import Reason

        plan = await self.plan(action, avoid=avoid)
        why = Reason(text=f"{before.plan.title}: {before.error}", warning=True)
        plan = replace(plan, reasons=(why, *plan.reasons))
        room = self.desk.room(plan)
        origin = f"next attempt of {before.id}"
        return await self.jobs.submit(plan, origin=origin, batch=before.batch, room=room)

    @property
    def attempts(self) -> Attempts:
        if self._attempts is None:
            from virtfleet.actions.attempts import Attempts

            self._attempts = Attempts(self.jobs.wait, self._again)
        return self._attempts

    def _may_change(self) -> None:
        if self.read_only:
            raise RefusedError("read-only: nothing may be changed")

    @property
    def desk(self) -> Desk:
        """Where plans are made."""
        if self._desk is None:
            from virtfleet.actions.desk import Desk

            self._desk = Desk(self)
        return self._desk

    @property
    def jobs_known(self) -> Sequence[Job]:
        """Those of the journal, if it was opened; newest last."""
        return self._jobs.jobs if self._jobs is not None else ()

    @property
    def jobs(self) -> JobBook:
        """What is being done, was done, or was interrupted. Its `open` reads the journal."""
        if self._jobs is None:
            from virtfleet.actions.running import StepRunner
            from virtfleet.jobs.book import JobBook

            self._jobs = JobBook(
                folders.state_dir(),
                StepRunner(self),
                store=self.settings.store,
                limits=self.settings.limits,
                read_only=self.read_only,
            )
        return self._jobs

    def reconnect(self, host: str) -> None:
        """Tries a host again at once, also when it refused us."""
        if self._supervisor is not None and host in self._snapshot.hosts:
            self._supervisor.reconnect(host)

    def _try_refused(self, host: str) -> None:
        if host in self._snapshot.hosts and self._snapshot.hosts[host].state is HostState.REFUSED:
            self.reconnect(host)

    # ---- what the supervisor tells

    def _changed(self, view: HostView, groups: frozenset[str]) -> None:
        self._snapshot = self._snapshot.with_host(view)
        delta = Delta(self._snapshot.generation, view.name, groups)
        for callback in tuple(self._subscribers):
            try:
                callback(delta)
            except Exception:  # a face's mistake must not cost the host its worker
                log.exception("a subscriber of deltas failed")
        for waiter in self._waiters:
            waiter.set()

    def _sampled(self, host: str, sample: wire.Sample) -> None:
        if self._history is not None:
            self._history.record_sample(host, sample.taken, sample.host, sample.vms)

    def _pooled(self, host: str, message: wire.Pools) -> None:
        if self._history is not None:
            self._history.record_pools(host, message.taken, message.pools)

    def _worker_settings(self, host: HostSettings) -> wire.WorkerSettings:
        ssh = host.ssh
        folder = Path(tempfile.mkdtemp(dir=self._runtime))
        return wire.WorkerSettings(
            name=host.name,
            uri=host.uri,
            ssh=wire.SshSettings(
                user=ssh.user,
                port=ssh.port,
                identity=ssh.identity,
                known_hosts=ssh.known_hosts,
                jump=ssh.jump,
                config=ssh.config,
                connect_timeout=ssh.connect_timeout,
                agent=ssh.agent,
            ),
            interval=host.interval,
            pools_interval=host.pools_interval,
            volumes_interval=host.volumes_interval,
            networks_interval=host.networks_interval,
            runtime_dir=str(folder),
            read_only=self.read_only,
            groups=self._groups,
            settle=0.0 if self._groups else min(_SETTLE, len(self.settings.hosts) / 50),
            notes_dir="" if host.simulate is not None else str(folders.state_dir() / "hosts"),
            simulate=host.simulate,
        )

    def _is_settled(self, name: str, groups: Collection[str]) -> bool:
        view = self._snapshot.hosts[name]
        if view.state in _FINAL:
            return True
        fresh = view.freshness
        taken = {
            "stats": fresh.stats,
            "facts": view.facts,
            "pools": fresh.pools,
            "volumes": fresh.volumes,
            "networks": fresh.networks,
            "devices": view.facts.pci if view.facts is not None else None,
        }
        if view.pools == () and fresh.pools is not None:
            taken["volumes"] = fresh.pools  # no pools, no volumes
        return all(taken[group] is not None for group in groups)

    @staticmethod
    def _make_history() -> History:
        from virtfleet.fleet.history import History  # numpy takes 0.18 s to import

        return History()


def _first_view(host: HostSettings, now: float) -> HostView:
    view = blank(host.name, host.uri, host.zone, host.traits, host.interval)
    view = replace(
        view,
        pools_interval=host.pools_interval,
        volumes_interval=host.volumes_interval,
        networks_interval=host.networks_interval,
    )
    if host.disabled:
        view = replace(view, state=HostState.DISABLED, reason=host.disabled, since=now)
    return view
