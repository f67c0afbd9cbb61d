"""A plan being carried out: its state, its steps' states and its progress, as values for whoever watches."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from virtfleet.model.plan import Plan


class JobState(StrEnum):
    WAITING = "waiting"
    """For its turn: limits per host, pool and fleet."""
    RUNNING = "running"
    CANCELLING = "cancelling"
    UNDOING = "undoing"
    """A step failed or it was cancelled; what was done is taken back."""
    DONE = "done"
    FAILED = "failed"
    """And undone: nothing of it is left."""
    CANCELLED = "cancelled"
    """And undone."""
    BROKEN = "broken"
    """Failed, and could not be undone or must not be: `error` says what is left. Resume or roll back."""
    INTERRUPTED = "interrupted"
    """The process that ran it is gone. Resume or roll back."""

    @property
    def active(self) -> bool:
        return self in _ACTIVE

    @property
    def resumable(self) -> bool:
        return self in (JobState.INTERRUPTED, JobState.BROKEN)


_ACTIVE = frozenset({JobState.WAITING, JobState.RUNNING, JobState.CANCELLING, JobState.UNDOING})


class StepState(StrEnum):
    PENDING = "pending"
    BEGUN = "begun"
    """Journaled before it acts: after a crash nobody knows whether it acted."""
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    state: StepState = StepState.PENDING
    began: float | None = None
    """Unix time."""
    ended: float | None = None
    result: Any = None
    error: str = ""
    code: str = ""
    """Of the error, as in errors.py; known to the process that ran it alone."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole job. `total` 0: unknown."""

    step: int = 0
    """Steps done."""
    steps: int = 0
    done: int = 0
    """Bytes moved by the step that is under way."""
    total: int = 0
    rate: float | None = None
    """Bytes per second, of the last seconds."""
    eta: float | None = None
    """Seconds."""
    base: float = 0.0
    """Share of the job, 0 to 1, that the steps have which are done; bytes weigh."""
    share: float = 0.0
    """And that the step has which is under way."""
    text: str = ""
    """What it does now."""

    @property
    def fraction(self) -> float:
        """0 to 1: steps, with bytes inside the step that moves them."""
        inside = max(0.0, min(1.0, self.done / self.total)) if self.total > 0 else 0.0
        return min(1.0, self.base + inside * self.share)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """Short, unique, sorts by time: what people type."""
    plan: Plan
    state: JobState = JobState.WAITING
    records: tuple[StepRecord, ...] = ()
    """One for each step of the plan, in its order."""
    progress: Progress = Progress()
    error: str = ""
    cure: str = ""
    who: str = ""
    """user@machine."""
    origin: str = ""
    """console, command line, batch FILE ..."""
    batch: str = ""
    """Jobs that were asked for together."""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    """Unix times."""

    @property
    def title(self) -> str:
        return self.plan.title


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did to an object; never changed once written."""

    time: float
    who: str
    """user@machine."""
    origin: str
    """console, command line, batch FILE; with SSH_CONNECTION's address if there is one."""
    job: str
    verb: str
    kind: str
    host: str
    uuid: str
    name: str
    outcome: str
    """done, failed, cancelled, broken; refused: it was not begun."""
    detail: str = ""
    before: str = ""
    """XML, without secrets."""
    after: str = ""
