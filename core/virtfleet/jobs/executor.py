"""Carries out one job: step after step, each in the journal before it acts; and takes back what was done
when one fails or somebody cancels.

What is known of a step after trouble decides what may be done about it:

    done        its result is in the journal: its undo may use it
    refused     the operation said no before it acted: there is nothing to undo
    uncertain   it was begun, and a crash, a lost connection or an unclear error came in between: it is run
                again with `again`, or undone with `uncertain`; the operations look before they act
    undoing     its undo was begun, and likewise nobody knows: it is uncertain in both directions
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from virtfleet.errors import (
    AmbiguousError,
    DeadlineError,
    InternalError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    UnsupportedError,
    VirtfleetError,
)
from virtfleet.jobs.errors import StoreError
from virtfleet.jobs.limits import Gates
from virtfleet.jobs.progress import Meter, progress_of
from virtfleet.jobs.references import resolved
from virtfleet.jobs.renewal import renewed
from virtfleet.jobs.runner import Runner
from virtfleet.model.job import Job, JobState, StepRecord, StepState
from virtfleet.model.plan import Step, Undo
from virtfleet.model.text import clean

if TYPE_CHECKING:
    from virtfleet.jobs.auditing import Auditor
    from virtfleet.jobs.journal import Journal

T = TypeVar("T")

HOST_BACK = 60.0
"""Seconds that a host which was lost in a step may take to come back."""
_TRIES = 3
"""Times that a step is begun anew because its host was lost."""
_TELL_EVERY = 0.1

_CERTAIN = (RefusedError, NotFoundError, AmbiguousError, UnsupportedError)
"""Errors of operations that had not acted."""
_LOST = (UnreachableError, DeadlineError)


class _Stopped(Exception):  # noqa: N818 - no error: somebody wants it so
    """Cancelled by a person."""


class Execution:
    """One job on its way. `tell(job)` is called in the loop with each new value of it.

    `owner`: who runs it, in the journal's words. `forward` and `backward` raise
    StoreError when the journal fails or somebody else has the job: then nothing
    more is done, and it can be resumed.
    """

    def __init__(
        self,
        job: Job,
        journal: Journal,
        runner: Runner,
        gates: Gates,
        tell: Callable[[Job], None],
        *,
        owner: str,
        auditor: Auditor | None = None,
    ) -> None:
        self.job = job
        self._journal = journal
        self._runner = runner
        self._gates = gates
        self._tell = tell
        self._owner = owner
        self._auditor = auditor
        self._cancelled = asyncio.Event()
        self._meter = Meter()
        self._told = 0.0
        self._repeated = False
        """The step that is under way was begun a second time: it may have acted the first."""
        self._away: set[str] = set()
        """Hosts that were waited for in vain."""

    # ---- from outside

    def cancel(self) -> None:
        """Stop as soon as possible and take back what was done."""
        if self.job.state in (JobState.WAITING, JobState.RUNNING):
            self._cancelled.set()
            self._now(replace(self.job, state=JobState.CANCELLING))

    async def forward(self) -> None:
        """Do what is not done yet. Ends with the job done, undone or broken."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._or_cancelled(stack.enter_async_context(self._gates.jobs))
                if self._auditor is not None and self.job.started is None:
                    await self._or_cancelled(self._auditor.begins(self.job))
                await self._begin(JobState.RUNNING, "begun" if self.job.started is None else "resumed")
                await stack.enter_async_context(renewed(lambda: self.job, self._ask))
                for n in range(len(self.job.plan.steps)):
                    await self._step(n)
                await self._end(JobState.DONE)
        except _Stopped:
            await self._take_back(JobState.CANCELLED, "", "")
        except StoreError:
            raise
        except VirtfleetError as error:
            await self._take_back(JobState.FAILED, _text(error), error.cure)

    async def backward(self) -> None:
        """Take back what was done, and what perhaps was."""
        error = next((record.error for record in self.job.records if record.error), "")
        async with self._gates.jobs:
            await self._take_back(JobState.CANCELLED, error, "")

    # ---- forward

    async def _step(self, n: int) -> None:
        step, record = self.job.plan.steps[n], self.job.records[n]
        if record.state is StepState.DONE:
            return
        self._repeated = record.state is not StepState.PENDING
        async with contextlib.AsyncExitStack() as stack:
            await self._or_cancelled(stack.enter_async_context(self._gates.step(step)))
            self._check_cancelled()
            await self._record(n, replace(record, state=StepState.BEGUN, began=time.time(), error=""))
            try:
                result = await self._act(step)
            except _CERTAIN as error:
                state = StepState.BEGUN if self._repeated else StepState.PENDING
                await self._failed(n, state, "refused", error)
                raise
            except StoreError:
                raise
            except VirtfleetError as error:
                await self._failed(n, StepState.FAILED, "failed", error)
                raise
        done = replace(self.job.records[n], state=StepState.DONE, result=result, ended=time.time())
        await self._record(n, done, step.title)

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise _Stopped

    async def _failed(self, n: int, state: StepState, how: str, error: VirtfleetError) -> None:
        failed = replace(
            self.job.records[n], state=state, error=_text(error), code=error.code, ended=time.time()
        )
        await self._record(n, failed, f"{self.job.plan.steps[n].title}: {how}: {_text(error)}")

    async def _act(self, step: Step) -> Any:
        """The step's result. A host that was lost is awaited, and the step begun again."""
        args = resolved(step.args, self._results()) | {"job": self.job.id}
        for attempt in range(1, _TRIES + 1):
            call = args | ({"again": True} if self._repeated else {})
            try:
                running = self._run(step, step.op, call)
                return await (running if step.final else self._or_cancelled(running))
            except _LOST as error:
                if attempt == _TRIES or not step.host:
                    raise
                self._repeated = True
                self._say(f"waiting for {step.host}: {_text(error)}")
                await self._note(f"{step.title}: {_text(error)}; waiting for {step.host}")
                if not await self._or_cancelled(self._runner.answers(step.host, HOST_BACK)):
                    self._away.add(step.host)
                    raise _stayed_away(error, step.host) from error
        raise AssertionError("unreachable")

    async def _run(self, step: Step, op: str, args: dict[str, Any]) -> Any:
        """The result of an operation on the step's host. Raises only what is ours to raise."""
        try:
            result = await self._runner.run(step.host, op, args, step.timeout, self._progressed)
        except _LOST as error:
            raise _of_host(error, step.host) from error
        except VirtfleetError:
            raise
        except Exception as error:
            raise InternalError(f"{op}: {type(error).__name__}: {error}") from error
        return {} if result is None else result

    async def _ask(self, host: str, op: str, args: dict[str, Any], timeout: float) -> Any:
        return await self._runner.run(host, op, args, timeout, lambda done, total, text: None)

    async def _or_cancelled(self, work: Awaitable[T]) -> T:
        """What `work` gives; _Stopped, with `work` cancelled, when somebody cancels the job first."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
                if task.cancelled() or task.exception() is not None:
                    raise _Stopped
            return await task
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()

    def _results(self) -> dict[str, Any]:
        return {each.id: each.result for each in self.job.records if each.state is StepState.DONE}

    # ---- backward

    async def _take_back(self, ending: JobState, error: str, cure: str) -> None:
        """Undoes what can be; a job that was deleting data is broken instead."""
        if not _is_final(self.job):
            await self._undo_all(ending, error, cure)
            return
        steps = zip(self.job.plan.steps, self.job.records, strict=True)
        left = "; ".join(step.title for step, record in steps if record.state is not StepState.DONE)
        await self._end(
            JobState.BROKEN,
            f"{error or 'cancelled'}; data was being deleted, so there is no way back; not done: {left}",
            cure or f"`job resume {self.job.id}` goes on with it",
        )

    async def _undo_all(self, ending: JobState, error: str, cure: str) -> None:
        self._cancelled.clear()
        await self._begin(JobState.UNDOING, "taking back", error, cure)
        steps, problems = self.job.plan.steps, list[str]()
        for n in reversed(range(len(steps))):
            record, undo = self.job.records[n], steps[n].undo
            if record.state in (StepState.PENDING, StepState.UNDONE):
                continue
            if undo is not None:
                try:
                    await self._undo(n, undo)
                except StoreError:
                    raise
                except VirtfleetError as problem:
                    host, why = steps[n].host, _text(problem)
                    what = undo.title or steps[n].title
                    problems.append(f"{what} on {host}: {why.removeprefix(f'{host}: ')}")
                    await self._note(f"could not undo: {problems[-1]}")
                    continue
            elif problems:
                continue  # a later step, which could not be undone, may need its result
            await self._record(n, replace(self.job.records[n], state=StepState.UNDONE, ended=time.time()))
        if problems:
            await self._end(
                JobState.BROKEN,
                f"{error or 'cancelled'}; not all could be taken back: {'; '.join(problems)}",
                f"`job rollback {self.job.id}` tries again",
            )
        else:
            await self._end(ending, error, cure)

    async def _undo(self, n: int, undo: Undo) -> None:
        step, record = self.job.plan.steps[n], self.job.records[n]
        uncertain = record.state is not StepState.DONE
        results = self._results()
        if record.result is not None:
            results[step.id] = record.result
        args = resolved(undo.args, results, lenient=uncertain) | {"job": self.job.id}
        await self._record(n, replace(record, state=StepState.UNDOING))
        self._say(undo.title or f"taking back: {step.title}")
        async with self._gates.step(step):
            result = await self._undone(step, undo, args, uncertain)
        left = result.get("left") if isinstance(result, dict) else None
        tail = f" (left alone: {clean(str(left), 500)})" if left else ""
        await self._note(f"{undo.title or f'taken back: {step.title}'}{tail}")

    async def _undone(self, step: Step, undo: Undo, args: dict[str, Any], uncertain: bool) -> Any:
        for attempt in range(1, _TRIES + 1):
            if step.host in self._away and not await self._runner.answers(step.host, 0.0):
                # Each step would cost its whole deadline, for nothing.
                raise UnreachableError("it still does not answer")
            self._away.discard(step.host)
            try:
                return await self._run(step, undo.op, args | ({"uncertain": True} if uncertain else {}))
            except NotFoundError as error:  # whoever deleted it has taken everything back
                return {"left": _text(error)}
            except _LOST as error:
                if attempt == _TRIES:
                    raise
                uncertain = True
                self._say(f"waiting for {step.host}: {_text(error)}")
                if not await self._runner.answers(step.host, HOST_BACK):
                    self._away.add(step.host)
                    raise _stayed_away(error, step.host) from error
        raise AssertionError("unreachable")

    # ---- what is written and told

    async def _begin(self, state: JobState, note: str, error: str = "", cure: str = "") -> None:
        if state is JobState.RUNNING:
            self._check_cancelled()
        now = time.time()
        started = self.job.started or now
        self._now(replace(self.job, state=state, error=error, cure=cure, started=started, ended=None))
        await self._journal.save(self.job, (), note, now, owner=self._owner)

    async def _end(self, state: JobState, error: str = "", cure: str = "") -> None:
        now = time.time()
        progress = progress_of(self.job.plan, self.job.records)
        job = replace(self.job, state=state, error=error, cure=cure, ended=now, progress=progress)
        note = f"{state.value}{': ' if error else ''}{error}"
        entry = None if self._auditor is None else await self._auditor.entry(job)
        await self._journal.save(job, (), note, now, owner=self._owner, entry=entry)
        self._now(job)

    async def _record(self, n: int, record: StepRecord, note: str = "") -> None:
        records = (*self.job.records[:n], record, *self.job.records[n + 1 :])
        text = self.job.plan.steps[n].title if record.state is StepState.BEGUN else self.job.progress.text
        job = replace(self.job, records=records, progress=progress_of(self.job.plan, records, text))
        await self._journal.save(job, (n,), note, time.time(), owner=self._owner)
        self._meter.next_step()
        # Somebody may have cancelled it while this was written.
        self._now(replace(job, state=self.job.state))

    async def _note(self, text: str) -> None:
        await self._journal.note(self.job.id, time.time(), text)

    def _progressed(self, done: int, total: int, text: str) -> None:
        later = _bytes_later(self.job)
        progress = self._meter.measured(self.job.progress, done, total, clean(text, 200), later)
        self.job = replace(self.job, progress=progress)
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            self._tell(self.job)

    def _say(self, text: str) -> None:
        self._now(replace(self.job, progress=replace(self.job.progress, text=text)))

    def _now(self, job: Job) -> None:
        self.job = job
        self._tell(job)


def _is_final(job: Job) -> bool:
    """Whether a step that can't be taken back was begun."""
    steps = zip(job.plan.steps, job.records, strict=True)
    return any(step.final and record.state is not StepState.PENDING for step, record in steps)


def _bytes_later(job: Job) -> int:
    """What the steps after the one that is under way will move."""
    steps = zip(job.plan.steps, job.records, strict=True)
    return sum(step.bytes for step, record in steps if record.state is StepState.PENDING)


def _of_host(error: VirtfleetError, host: str) -> VirtfleetError:
    """The same, saying which host it was."""
    if not host or host in error.message:
        return error
    return type(error)(f"{host}: {error.message}", cure=error.cure)


def _stayed_away(error: VirtfleetError, host: str) -> VirtfleetError:
    why = error.message.removeprefix(f"{host}: ")
    return UnreachableError(f"{host} was not back within {HOST_BACK:.0f} s: {why}", cure=error.cure)


def _text(error: VirtfleetError) -> str:
    """Hosts and guests may have written it."""
    return clean(error.message, 500)
