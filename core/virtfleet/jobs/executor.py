"""Carries out one job: step after step, each in the journal before it acts; and takes back what was done
when one fails or somebody cancels.

What is known of a step after trouble decides what may be done about it:

    done        its result is in the journal: its undo may use it
    refused     the operation said no before it acted: there is nothing to undo
    uncertain   it was begun, and a crash, a lost connection or an unclear error came in between: it is run
                again with `again`, or undone with `uncertain`; the operations look before they act
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec.structs import replace

from virtfleet.errors import (
    AmbiguousError,
    DeadlineError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    UnsupportedError,
    VirtfleetError,
)
from virtfleet.jobs.journal import Journal
from virtfleet.jobs.limits import Gates
from virtfleet.model.job import Job, JobState, Progress, StepRecord, StepState
from virtfleet.model.plan import Step, Undo

Report = Callable[[int, int, str], None]

HOST_BACK = 60.0
"""Seconds that a host which was lost in a step may take to come back."""
_TRIES = 3
"""Times that a step is begun anew because its host was lost."""
_RATE_OVER = 5.0
"""Seconds over which the rate is measured."""
_TELL_EVERY = 0.1

_CERTAIN = (RefusedError, NotFoundError, AmbiguousError, UnsupportedError)
"""Errors of operations that had not acted."""
_LOST = (UnreachableError, DeadlineError)


class Runner(Protocol):
    """Who runs the operations of steps: the engine."""

    async def run(
        self, host: str, op: str, args: dict[str, Any], timeout: float, on_progress: Report
    ) -> Any: ...

    async def answers(self, host: str, within: float) -> bool:
        """Waits until a host answers again; False: not within these seconds."""
        ...


class _Stopped(Exception):  # noqa: N818 - no error: somebody wants it so
    """Cancelled by a person."""


class Execution:
    """One job on its way. `tell(job)` is called in the loop with each new value of it."""

    def __init__(
        self, job: Job, journal: Journal, runner: Runner, gates: Gates, tell: Callable[[Job], None]
    ) -> None:
        self.job = job
        self._journal = journal
        self._runner = runner
        self._gates = gates
        self._tell = tell
        self._cancelled = asyncio.Event()
        self._moved: deque[tuple[float, int]] = deque()
        self._told = 0.0

    # ---- from outside

    def cancel(self) -> None:
        """Stop as soon as possible and take back what was done."""
        if self.job.state in (JobState.WAITING, JobState.RUNNING):
            self._cancelled.set()
            self._now(replace(self.job, state=JobState.CANCELLING))

    async def forward(self) -> None:
        """Do what is not done yet. Ends with the job done, undone or broken."""
        try:
            async with self._gates.jobs:
                await self._begin(JobState.RUNNING, "begun" if self.job.started is None else "resumed")
                for n in range(len(self.job.plan.steps)):
                    await self._step(n)
                await self._end(JobState.DONE)
        except _Stopped:
            await self._take_back(JobState.CANCELLED, "", "")
        except VirtfleetError as error:
            await self._take_back(JobState.FAILED, error.message, error.cure)

    async def backward(self) -> None:
        """Take back what was done, and what perhaps was."""
        error, cure = self.job.error, self.job.cure
        if self._is_final():
            return
        async with self._gates.jobs:
            await self._undo_all(JobState.CANCELLED, error, cure)

    # ---- forward

    async def _step(self, n: int) -> None:
        step, record = self.job.plan.steps[n], self.job.records[n]
        if record.state is StepState.DONE:
            return
        again = record.state is not StepState.PENDING
        self._check_cancelled(step)
        async with self._gates.step(step):
            self._check_cancelled(step)
            await self._record(n, replace(record, state=StepState.BEGUN, began=time.time(), error=""))
            try:
                result = await self._act(step, again)
            except _CERTAIN as error:
                # A step that was begun before may have acted then.
                state = StepState.BEGUN if again else StepState.PENDING
                failed = replace(self.job.records[n], state=state, error=error.message, ended=time.time())
                await self._record(n, failed, f"{step.title}: refused: {error.message}")
                raise
            except VirtfleetError as error:
                failed = replace(
                    self.job.records[n], state=StepState.FAILED, error=error.message, ended=time.time()
                )
                await self._record(n, failed, f"{step.title}: failed: {error.message}")
                raise
        done = replace(self.job.records[n], state=StepState.DONE, result=result, ended=time.time())
        await self._record(n, done, step.title)

    def _check_cancelled(self, step: Step) -> None:
        if self._cancelled.is_set() and not self._is_final():
            raise _Stopped

    def _is_final(self) -> bool:
        """Whether a step that can't be taken back was begun."""
        return any(
            step.final and record.state is not StepState.PENDING
            for step, record in zip(self.job.plan.steps, self.job.records, strict=True)
        )

    async def _act(self, step: Step, again: bool) -> Any:
        """The step's result. A host that was lost is awaited, and the step begun again."""
        results = {record.id: record.result for record in self.job.records if record.state is StepState.DONE}
        args = resolved(step.args, results) | {"job": self.job.id}
        for attempt in range(1, _TRIES + 1):
            call = args | ({"again": True} if again else {})
            try:
                return await self._or_cancelled(
                    self._runner.run(step.host, step.op, call, step.timeout, self._progressed), step
                )
            except _LOST as error:
                if attempt == _TRIES or not step.host:
                    raise
                self._say(f"waiting for {step.host}: {error.message}")
                await self._journal.note(self.job.id, time.time(), f"{step.title}: {error.message}; waiting")
                if not await self._or_cancelled(self._runner.answers(step.host, HOST_BACK), step):
                    raise
                again = True
        raise AssertionError("unreachable")

    async def _or_cancelled(self, work: Any, step: Step) -> Any:
        """What `work` gives; _Stopped, with `work` cancelled, when somebody cancels the job first."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not step.final:
                task.cancel()
                await asyncio.wait({task})
                if task.cancelled() or task.exception() is not None:
                    raise _Stopped
            return await task
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()

    # ---- backward

    async def _take_back(self, ending: JobState, error: str, cure: str) -> None:
        if self._is_final():
            why = error or "cancelled"
            await self._end(
                JobState.BROKEN,
                f"{why}; data was being deleted, so there is no way back",
                cure or "`job resume` goes on with it",
            )
            return
        await self._undo_all(ending, error, cure)

    async def _undo_all(self, ending: JobState, error: str, cure: str) -> None:
        self._cancelled.clear()
        await self._begin(JobState.UNDOING, "taking back", error, cure)
        steps, problems = self.job.plan.steps, []
        for n in reversed(range(len(steps))):
            record = self.job.records[n]
            if record.state in (StepState.PENDING, StepState.UNDONE):
                continue
            undo = steps[n].undo
            uncertain = record.state is not StepState.DONE
            if undo is not None:
                try:
                    await self._undo(n, undo, uncertain)
                except VirtfleetError as problem:
                    problems.append(f"{undo.title or steps[n].title} on {steps[n].host}: {problem.message}")
                    await self._journal.note(self.job.id, time.time(), f"could not undo: {problems[-1]}")
                    continue
            await self._record(n, replace(self.job.records[n], state=StepState.UNDONE, ended=time.time()))
        if problems:
            left = "; ".join(problems)
            await self._end(
                JobState.BROKEN,
                f"{error or 'cancelled'}; not all could be taken back: {left}",
                "`job rollback` tries again",
            )
        else:
            await self._end(ending, error, cure)

    async def _undo(self, n: int, undo: Undo, uncertain: bool) -> None:
        step, record = self.job.plan.steps[n], self.job.records[n]
        results = {each.id: each.result for each in self.job.records if each.state is StepState.DONE}
        if not uncertain:
            results[step.id] = record.result
        args = resolved(undo.args, results, lenient=uncertain) | {"job": self.job.id}
        if uncertain:
            args["uncertain"] = True
        await self._record(n, replace(record, state=StepState.UNDOING if uncertain else record.state))
        self._say(undo.title or f"taking back: {step.title}")
        async with self._gates.step(step):
            for attempt in range(1, _TRIES + 1):
                try:
                    await self._runner.run(step.host, undo.op, args, step.timeout, self._progressed)
                    break
                except _LOST as error:
                    self._say(f"waiting for {step.host}: {error.message}")
                    if attempt == _TRIES or not await self._runner.answers(step.host, HOST_BACK):
                        raise
        await self._journal.note(self.job.id, time.time(), undo.title or f"taken back: {step.title}")

    # ---- what is written and told

    async def _begin(self, state: JobState, note: str, error: str = "", cure: str = "") -> None:
        now = time.time()
        job = replace(
            self.job, state=state, error=error, cure=cure, started=self.job.started or now, ended=None
        )
        if state is JobState.RUNNING and self._cancelled.is_set():
            raise _Stopped
        self._now(job)
        await self._journal.save(job, note=note, time=now)

    async def _end(self, state: JobState, error: str = "", cure: str = "") -> None:
        now = time.time()
        done = len(self.job.plan.steps) if state is JobState.DONE else self.job.progress.step
        job = replace(
            self.job,
            state=state,
            error=error,
            cure=cure,
            ended=now,
            progress=Progress(step=done, steps=len(self.job.plan.steps)),
        )
        await self._journal.save(job, note=f"{state.value}{': ' if error else ''}{error}", time=now)
        self._now(job)

    async def _record(self, n: int, record: StepRecord, note: str = "") -> None:
        records = (*self.job.records[:n], record, *self.job.records[n + 1 :])
        done = sum(each.state is StepState.DONE for each in records)
        text = self.job.plan.steps[n].title if record.state is StepState.BEGUN else self.job.progress.text
        progress = Progress(step=done, steps=len(records), text=text)
        self._moved.clear()
        job = replace(self.job, records=records, progress=progress)
        await self._journal.save(job, (n,), note, time.time())
        # Somebody may have cancelled it while this was written.
        self._now(replace(job, state=self.job.state))

    def _progressed(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        self._moved.append((now, done))
        while now - self._moved[0][0] > _RATE_OVER and len(self._moved) > 2:
            self._moved.popleft()
        since, before = self._moved[0]
        seconds = now - since
        rate = (done - before) / seconds if seconds > 0.2 and done >= before else None
        eta = (total - done) / rate if rate and total else None
        progress = replace(
            self.job.progress, done=done, total=total, rate=rate, eta=eta, text=text or self.job.progress.text
        )
        self.job = replace(self.job, progress=progress)
        if now - self._told >= _TELL_EVERY:
            self._told = now
            self._tell(self.job)

    def _say(self, text: str) -> None:
        self._now(replace(self.job, progress=replace(self.job.progress, text=text)))

    def _now(self, job: Job) -> None:
        self.job = job
        self._tell(job)


def resolved(args: Mapping[str, Any], results: Mapping[str, Any], *, lenient: bool = False) -> dict[str, Any]:
    """`args` with each `{"$from": STEP, "key": KEY}` replaced by that value of the step's result.

    `lenient`: what has no result is left out, for the undo of a step that perhaps was never done.
    """
    found: dict[str, Any] = {}
    for name, value in args.items():
        if isinstance(value, Mapping) and "$from" in value:
            result = results.get(value["$from"])
            if isinstance(result, Mapping) and value["key"] in result:
                found[name] = result[value["key"]]
            elif not lenient:
                raise RefusedError(f"the step {value['$from']} gave no {value['key']}")
        elif isinstance(value, Mapping):
            found[name] = resolved(value, results, lenient=lenient)
        elif isinstance(value, list | tuple):
            found[name] = [
                resolved(each, results, lenient=lenient)
                if isinstance(each, Mapping) and "$from" not in each
                else resolved({"_": each}, results, lenient=lenient).get("_")
                for each in value
            ]
        else:
            found[name] = value
    return found
