"""Where engine and Textual meet, and the only place where they do.

The engine calls back for every sample of every host: 250 times a second at
500 hosts. A screen needs to know about ten times a second what changed. So
the bridge collects what changed and posts one `FleetChanged` at a time; the
next one waits until the last was handled, and until `PACE` has passed. Work
that the screen does per message is thereby bounded, whatever the fleet does,
and nothing is lost: what arrives meanwhile is merged into the next message.
What changed on very many hosts goes in several messages one after the other,
so that a key never waits for all of it, and not while keys are pressed.

Everything happens in the one event loop: no lock, no thread, no blocking.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from textual.message import Message
from textual.message_pump import MessagePump

from virtfleet.errors import VirtfleetError
from virtfleet.model import Delta, Event, FleetSnapshot, Prompt
from virtfleet_tui.hands import Hands

if TYPE_CHECKING:
    from virtfleet.actions.desk import Desk
    from virtfleet.config.settings import FleetSettings
    from virtfleet.model.action import Action
    from virtfleet.model.job import Job
    from virtfleet.model.plan import Plan

PACE = 0.1
"""Seconds between two rounds of messages to the screen, at least."""
PORTION = 24
"""Hosts in one message: some milliseconds of work."""
_NEXT_PORTION = 0.01


class Recent(Protocol):
    """What happened lately: fleet/events.py."""

    def recent(
        self,
        limit: int = ...,
        *,
        host: str | None = None,
        kind: str | None = None,
        name: str | None = None,
        uuid: str | None = None,
    ) -> list[Event]: ...


class Series(Protocol):
    """Fifteen minutes of figures: fleet/history.py. Ages in seconds, newest last; NaN is a gap."""

    def series(
        self, kind: str, host: str, uuid: str, metric: str, now: float, span: float = 900
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def sparkline(self, kind: str, host: str, uuid: str, metric: str, n: int = 8) -> list[float]: ...


class Prompts(Protocol):
    """Questions that wait for a person: fleet/prompts.py."""

    @property
    def pending(self) -> tuple[Prompt, ...]: ...

    def sharing(self, prompt_id: int) -> tuple[str, ...]: ...
    def answer(self, prompt_id: int, text: str | None) -> bool: ...


class Jobs(Protocol):
    """What is being changed: jobs/book.py."""

    @property
    def jobs(self) -> tuple[Job, ...]: ...
    @property
    def active(self) -> tuple[Job, ...]: ...

    def subscribe(self, callback: Callable[[Job], None]) -> Callable[[], None]: ...
    async def open(self) -> None: ...
    def cancel(self, number: str) -> None: ...
    async def resume(self, number: str) -> Job: ...
    async def roll_back(self, number: str) -> Job: ...
    async def undo(self, number: str) -> Job: ...
    async def log(self, number: str) -> tuple[Any, ...]: ...


class Fleet(Protocol):
    """The part of `virtfleet.engine.Engine` that the console uses."""

    @property
    def snapshot(self) -> FleetSnapshot: ...
    @property
    def settings(self) -> FleetSettings: ...
    @property
    def events(self) -> Recent: ...
    @property
    def history(self) -> Series: ...
    @property
    def prompts(self) -> Prompts: ...
    @property
    def calls_per_s(self) -> float | None: ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, callback: Callable[[Delta], None]) -> Callable[[], None]: ...
    def subscribe_events(self, callback: Callable[[Event], None]) -> Callable[[], None]: ...
    def subscribe_prompts(self, callback: Callable[[], None]) -> Callable[[], None]: ...
    async def request(
        self, host: str, op: str, args: dict[str, Any] | None = None, timeout: float = 5.0
    ) -> Any: ...
    def reconnect(self, host: str) -> None: ...
    @property
    def jobs(self) -> Jobs: ...
    async def plan(self, action: Action, *, beside: Sequence[Plan] = ()) -> Plan: ...
    async def plan_all(self, actions: Sequence[Action]) -> tuple[list[Plan], list[VirtfleetError]]: ...
    async def apply(self, plan: Plan, *, origin: str = "", batch: str = "") -> Job: ...
    @property
    def desk(self) -> Desk: ...


_BUSY = 0.15
"""Share of a core above which this process counts as busy."""
_SLOWEST = 1.2
"""Seconds between messages at the most."""


class Changes:
    """What changed since the last message: hosts with their groups, and whether there are new events."""

    def __init__(self) -> None:
        self.hosts: dict[str, frozenset[str]] = {}
        self.events = False

    def __bool__(self) -> bool:
        return bool(self.hosts) or self.events

    def touch(self, delta: Delta) -> None:
        self.hosts[delta.host] = self.hosts.get(delta.host, frozenset()) | delta.groups

    def portion(self, count: int) -> Changes:
        """Some of it, at most `count` hosts, which it then no longer has; events go with the last ones."""
        taken = Changes()
        if len(self.hosts) <= count:
            taken.hosts, self.hosts = self.hosts, {}
            taken.events, self.events = self.events, False
            return taken
        for name in list(islice(self.hosts, count)):
            taken.hosts[name] = self.hosts.pop(name)
        return taken

    def touched(self, *groups: str, hosts: Collection[str] | None = None) -> bool:
        """Whether one of `groups` changed, on one of `hosts` or anywhere."""
        wanted = frozenset(groups)
        return any(
            (hosts is None or host in hosts) and not wanted.isdisjoint(changed)
            for host, changed in self.hosts.items()
        )


class FleetChanged(Message):
    """The fleet is now `snapshot`; `changes` is all that differs from the message before."""

    bubble = False

    def __init__(self, snapshot: FleetSnapshot, changes: Changes) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.changes = changes


class PromptsChanged(Message):
    """`engine.prompts.pending` is not what it was. Says nothing itself, so a newer one may stand for it."""

    bubble = False

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, PromptsChanged)


class JobsChanged(Message):
    """These jobs are now so. Twenty that run tell of a thousand changes a second: what a job was in between
    is not told."""

    bubble = False

    def __init__(self, jobs: tuple[Job, ...]) -> None:
        super().__init__()
        self.jobs = jobs


class Bridge:
    """Subscribes to `fleet` and posts to `target` until it is closed.

    `target` must call `handled()` when it has dealt with a `FleetChanged`.
    """

    def __init__(
        self, fleet: Fleet, target: MessagePump, pace: float = PACE, hands: Hands | None = None
    ) -> None:
        self._fleet = fleet
        self._target = target
        self._hands = hands or Hands()
        self._least = pace
        self._pace = pace
        self._posted = (time.monotonic(), time.process_time())
        self._changes = Changes()
        """What came since the round began."""
        self._round = Changes()
        """What is still to be told in this round."""
        self._due = 0.0
        """When the round was to begin."""
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = False
        self._jobs: dict[str, Job] = {}
        """What became of jobs since the last message about them."""
        self._jobs_due = 0.0
        self._jobs_timer: asyncio.TimerHandle | None = None
        self._unsubscribe: list[Callable[[], None]] = []

    def open(self) -> None:
        self._unsubscribe = [
            self._fleet.subscribe(self._on_delta),
            self._fleet.subscribe_events(self._on_event),
            self._fleet.subscribe_prompts(self._on_prompts),
            self._fleet.jobs.subscribe(self._on_job),
        ]

    def close(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        for timer in (self._timer, self._jobs_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._jobs_timer = None

    def handled(self) -> None:
        """The last message was dealt with: the next may go."""
        self._in_flight = False
        self._plan()

    def _on_delta(self, delta: Delta) -> None:
        self._changes.touch(delta)
        self._plan()

    def _on_event(self, event: Event) -> None:
        self._changes.events = True
        self._plan()

    def _on_prompts(self) -> None:
        self._target.post_message(PromptsChanged())

    def _on_job(self, job: Job) -> None:
        self._jobs[job.id] = job
        if self._jobs_timer is None:
            self._jobs_due = time.monotonic() + self._least
            self._jobs_timer = asyncio.get_running_loop().call_later(self._least, self._post_jobs)

    def _post_jobs(self) -> None:
        wait = self._hands.wait(self._jobs_due)
        if wait > 0.0:
            self._jobs_timer = asyncio.get_running_loop().call_later(wait, self._post_jobs)
            return
        self._jobs_timer = None
        jobs, self._jobs = tuple(self._jobs.values()), {}
        self._target.post_message(JobsChanged(jobs))

    @property
    def is_idle(self) -> bool:
        """Whether everything that the fleet said was told and dealt with."""
        waiting = self._timer is not None or self._jobs_timer is not None
        return not (self._changes or self._round or self._in_flight or waiting)

    def _plan(self) -> None:
        if self._in_flight or self._timer is not None or not self._unsubscribe:
            return
        if self._round:
            self._post_in(_NEXT_PORTION)
        elif self._changes:
            self._due = time.monotonic() + self._pace
            self._post_in(self._pace)

    def _post_in(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._post)

    def _post(self) -> None:
        wait = self._hands.wait(self._due)
        if wait > 0.0:
            self._post_in(wait)
            return
        self._timer = None
        if not self._round:
            self._adapt()
            self._round, self._changes = self._changes, Changes()
        self._in_flight = True
        self._target.post_message(FleetChanged(self._fleet.snapshot, self._round.portion(PORTION)))

    def _adapt(self) -> None:
        """Begins a round; less often while this process is busy, because keys come before news, and a fleet
        of hundreds that starts must not spend its time on painting every step of it."""
        now, used = time.monotonic(), time.process_time()
        before, used_before = self._posted
        self._posted = (now, used)
        busy = (used - used_before) / max(now - before, 0.001)
        slower = self._pace * 1.5 if busy > _BUSY else self._pace / 1.5
        self._pace = min(max(slower, self._least), max(self._least, _SLOWEST))
