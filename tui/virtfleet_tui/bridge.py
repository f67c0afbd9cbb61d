"""Where engine and Textual meet, and the only place where they do.

The engine calls back for every sample of every host: 250 times a second at
500 hosts. A screen needs to know about ten times a second what changed. So
the bridge collects what changed and posts one `FleetChanged` at a time; the
next one waits until the last was handled, and until `PACE` has passed. Work
that the screen does per message is thereby bounded, whatever the fleet does,
and nothing is lost: what arrives meanwhile is merged into the next message.

Everything happens in the one event loop: no lock, no thread, no blocking.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from textual.message import Message
from textual.message_pump import MessagePump

from virtfleet.model import Delta, Event, FleetSnapshot, Prompt

if TYPE_CHECKING:
    from virtfleet.config.settings import FleetSettings

PACE = 0.1
"""Seconds between two messages to the screen, at least."""


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
    def calls_per_s(self) -> float: ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, callback: Callable[[Delta], None]) -> Callable[[], None]: ...
    def subscribe_events(self, callback: Callable[[Event], None]) -> Callable[[], None]: ...
    def subscribe_prompts(self, callback: Callable[[], None]) -> Callable[[], None]: ...
    async def request(
        self, host: str, op: str, args: dict[str, Any] | None = None, timeout: float = 5.0
    ) -> Any: ...
    def reconnect(self, host: str) -> None: ...


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


class Bridge:
    """Subscribes to `fleet` and posts to `target` until it is closed.

    `target` must call `handled()` when it has dealt with a `FleetChanged`.
    """

    def __init__(self, fleet: Fleet, target: MessagePump, pace: float = PACE) -> None:
        self._fleet = fleet
        self._target = target
        self._least = pace
        self._pace = pace
        self._posted = (time.monotonic(), time.process_time())
        self._changes = Changes()
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = False
        self._unsubscribe: list[Callable[[], None]] = []

    def open(self) -> None:
        self._unsubscribe = [
            self._fleet.subscribe(self._on_delta),
            self._fleet.subscribe_events(self._on_event),
            self._fleet.subscribe_prompts(self._on_prompts),
        ]

    def close(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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

    def _plan(self) -> None:
        if self._changes and not self._in_flight and self._timer is None and self._unsubscribe:
            self._timer = asyncio.get_running_loop().call_later(self._pace, self._post)

    def _post(self) -> None:
        self._timer = None
        self._adapt()
        changes, self._changes = self._changes, Changes()
        self._in_flight = True
        self._target.post_message(FleetChanged(self._fleet.snapshot, changes))

    def _adapt(self) -> None:
        """Tells less often while this process is busy: keys come before news, and a fleet of hundreds that
        starts must not spend its time on painting every step of it."""
        now, used = time.monotonic(), time.process_time()
        before, used_before = self._posted
        self._posted = (now, used)
        busy = (used - used_before) / max(now - before, 0.001)
        slower = self._pace * 1.5 if busy > _BUSY else self._pace / 1.5
        self._pace = min(max(slower, self._least), max(self._least, _SLOWEST))
