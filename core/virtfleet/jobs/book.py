"""All jobs: those of this process, those that others run, and those that a crash left behind.

    job = await book.submit(plan, origin="console")
    job = await book.wait(job.id)

Values only: who watches subscribes, and is told of each job that changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from virtfleet.config.settings import JobLimits, Store
from virtfleet.errors import NotFoundError, RefusedError, VirtfleetError
from virtfleet.jobs import vigil
from virtfleet.jobs.auditing import Auditor
from virtfleet.jobs.errors import StoreError, TakenError
from virtfleet.jobs.executor import Execution
from virtfleet.jobs.limits import Gates
from virtfleet.jobs.owners import NOBODY, Owner, is_alive
from virtfleet.jobs.progress import progress_of
from virtfleet.jobs.runner import Runner
from virtfleet.jobs.undoing import undo_plan
from virtfleet.jobs.who import Numbers, origin_of, whoami
from virtfleet.model.job import AuditEntry, Job, JobState, StepRecord, StepState
from virtfleet.model.plan import Plan

if TYPE_CHECKING:
    from virtfleet.decide.quotas import Room
    from virtfleet.jobs.journal import Journal
    from virtfleet.jobs.rows import LogLine, Stored

log = logging.getLogger(__name__)

RECENT = 200
"""Jobs that ended and are still shown."""
_HANDED_OVER = 60.0
"""Seconds within which a job that was handed to the background must have been taken."""


class JobBook:
    """To be used from one loop. The journal is opened when it is first needed.

    Whatever needs it raises ConfigError when it can't be opened, and StoreError
    when it fails later.
    """

    def __init__(
        self,
        folder: Path,
        runner: Runner,
        *,
        store: Store | None = None,
        limits: JobLimits | None = None,
        read_only: bool = False,
    ) -> None:
        """`folder`: the state folder. `store`: without a URL it is SQLite in that folder."""
        self._folder = folder
        self._runner = runner
        self._store = store or Store()
        self._read_only = read_only
        self._gates = Gates(limits or JobLimits())
        self._jobs: dict[str, Job] = {}
        self._ours: set[str] = set()
        """Those that this process began: whoever asked for one may ask about it as long as we live."""
        self._running: dict[str, tuple[Execution, asyncio.Task[None]]] = {}
        self._starting: set[str] = set()
        """Ours by the journal, and not yet among those that run."""
        self._subscribers: list[Callable[[Job], None]] = []
        self._journal: Journal | None = None
        self._owner: Owner | None = None
        self._opening = asyncio.Lock()
        self._changed = asyncio.Event()
        self._numbers = Numbers()
        self._beating: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[None]] = set()

    # ---- reading

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Newest last: what runs, what waits for a word, and what ended lately; read by `open`."""
        return tuple(sorted(self._jobs.values(), key=lambda job: (job.created, job.id)))

    @property
    def active(self) -> tuple[Job, ...]:
        """Those that this process runs now."""
        return tuple(self._jobs[number] for number in self._running)

    def get(self, number: str) -> Job:
        """NotFoundError: not among `jobs`."""
        if number not in self._jobs:
            raise NotFoundError(f"no job {number}", cure="`job list --all` shows them")
        return self._jobs[number]

    def subscribe(self, callback: Callable[[Job], None]) -> Callable[[], None]:
        """`callback(job)` is called in the loop for each change and must be quick. Returns its end."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    async def open(self, recent: int = RECENT) -> None:
        """Reads the journal; jobs whose process is gone are INTERRUPTED."""
        await self._reload(await self._opened(), recent)

    async def find(self, number: str) -> Job:
        """The job of this id, or the only one of `jobs` whose id begins so. NotFoundError."""
        journal = await self._opened()
        if number in self._jobs:
            return self._jobs[number]
        close = [each for each in self._jobs if each.startswith(number)]
        if len(close) == 1:
            return self._jobs[close[0]]
        stored = await journal.get(number)
        self._jobs[number] = self._judged(stored, await journal.beats(), time.time())
        return self._jobs[number]

    async def log(self, number: str) -> tuple[LogLine, ...]:
        """What it did, line by line."""
        return await (await self._opened()).log(number)

    async def audit(
        self, limit: int = 200, *, since: float = 0.0, name: str = "", job: str = ""
    ) -> tuple[AuditEntry, ...]:
        """What was done to the fleet, the latest `limit` entries, oldest first."""
        return await (await self._opened()).audited(limit, since=since, name=name, job=job)

    # ---- doing

    async def submit(
        self,
        plan: Plan,
        *,
        origin: str = "",
        batch: str = "",
        detached: bool = False,
        room: Room | None = None,
    ) -> Job:
        """Begins to carry out a plan. `detached`: only writes it down, for another process to take.

        `room`: the quota that its claims must fit into. RefusedError: they don't.
        """
        self._may_change()
        journal = await self._opened()
        now = time.time()
        records = tuple(StepRecord(id=step.id) for step in plan.steps)
        job = Job(
            id=self._numbers.next(now),
            plan=plan,
            records=records,
            progress=progress_of(plan, records),
            who=whoami(),
            origin=origin_of(origin),
            batch=batch,
            created=now,
        )
        self._ours.add(job.id)
        if detached:
            await journal.add(job, NOBODY, room)
            self._tell(job)
            return job
        self._starting.add(job.id)
        try:
            await journal.add(job, self._token, room)
            self._tell(job)
            self._run(journal, job, forward=True)
        finally:
            self._starting.discard(job.id)
        return job

    async def refused(self, plan: Plan, reasons: Sequence[str], *, origin: str = "") -> None:
        """Notes in the audit log that a plan was asked for and not begun."""
        try:
            await Auditor(await self._opened(), self._runner).refused(plan, origin_of(origin), reasons)
        except VirtfleetError as error:  # the refusal itself is what a person must hear of
            log.warning("the audit log: %s", error)

    async def wait(self, number: str) -> Job:
        """The job when it has ended, in whichever process it runs."""
        while self.get(number).state.active:
            if number in self._running:
                await asyncio.wait({self._running[number][1]})
                continue
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(vigil.LISTEN_EVERY):
                    await self._changed.wait()
            if number not in self._running and self._jobs[number].state.active:
                await self._reload(await self._opened(), 0)
        return self._jobs[number]

    def cancel(self, number: str) -> None:
        """Stops it, soon; what it did is taken back. NotFoundError; RefusedError: it has ended."""
        self._may_change()
        job = self.get(number)
        if not job.state.active:
            raise RefusedError(f"job {number} is {job.state.value} already")
        if number in self._running:
            self._running[number][0].cancel()
        else:
            self._errand(self._cancel_elsewhere(number))

    async def resume(self, number: str) -> Job:
        """Goes on with a job that was interrupted, broke or was handed over. RefusedError: it was not."""
        return await self._take(number, forward=True)

    async def roll_back(self, number: str) -> Job:
        """Takes back what an interrupted or broken job had done. RefusedError: it deletes already."""
        job = await self.find(number)
        begun = zip(job.plan.steps, job.records, strict=True)
        if any(step.final and record.state is not StepState.PENDING for step, record in begun):
            raise RefusedError(
                f"job {job.id} was deleting data already: there is no way back", cure=f"`job resume {job.id}`"
            )
        return await self._take(number, forward=False)

    async def undo(self, number: str) -> Job:
        """Takes back a job that is done, as a new job. RefusedError: of this kind it can't be."""
        self._may_change()
        job = await self.find(number)
        return await self.submit(undo_plan(job), origin=f"undo of {job.id}")

    async def close(self) -> None:
        """Ends. Jobs that still run here are interrupted: the next start offers to resume them."""
        await asyncio.gather(*self._errands, return_exceptions=True)
        tasks = [task for _, task in self._running.values()]
        tasks += [task for task in (self._beating, self._watching) if task is not None]
        self._beating = self._watching = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        journal, self._journal = self._journal, None
        owner, self._owner = self._owner, None
        if journal is not None and owner is not None and journal.shared:
            with contextlib.suppress(VirtfleetError):
                await journal.forget_owner(owner.token)
        if owner is not None:
            owner.close()
        if journal is not None:
            await asyncio.to_thread(journal.close)

    # ---- what the journal says

    @property
    def _token(self) -> str:
        if self._owner is None:
            self._owner = Owner(self._folder)
        return self._owner.token

    async def _opened(self) -> Journal:
        async with self._opening:
            if self._journal is None:
                from virtfleet.jobs.journal import open_journal

                self._journal = journal = await open_journal(self._folder, self._store)
                await self._reload(journal, RECENT)
                self._watching = asyncio.ensure_future(
                    vigil.watch(
                        journal,
                        lambda: "" if self._owner is None else self._owner.token,
                        lambda: bool(self._subscribers),
                        lambda: any(
                            job.state.active for job in self._jobs.values() if not self._here(job.id)
                        ),
                        lambda everything: self._reload(journal, RECENT if everything else 0),
                    )
                )
            return self._journal

    async def _reload(self, journal: Journal, recent: int) -> None:
        """Takes over what others did. Jobs that others ended a while ago are forgotten."""
        beats = await journal.beats()
        followed = {number for number, job in self._jobs.items() if job.state.active}
        found = await journal.load(recent)
        read = {stored.job.id for stored in found}
        found += [await journal.get(number) for number in followed - read if not self._here(number)]
        now = time.time()
        for stored in found:
            if not self._here(stored.job.id):
                job = self._judged(stored, beats, now)
                if self._jobs.get(job.id) != job:
                    self._tell(job)
        over = [job.id for job in self.jobs if not (job.state.active or job.state.resumable)]
        for number in over[: -max(recent, RECENT)]:
            if number not in self._ours and number not in read:
                del self._jobs[number]

    def _here(self, number: str) -> bool:
        """Whether this process runs it."""
        return number in self._running or number in self._starting

    def _judged(self, stored: Stored, beats: dict[str, float] | None, now: float) -> Job:
        """The job, INTERRUPTED if it should run and nobody runs it."""
        job = stored.job
        if not job.state.active:
            return job
        if stored.owner == NOBODY:
            alive = now - job.created < _HANDED_OVER
        elif self._owner is not None and stored.owner == self._owner.token:
            alive = self._here(job.id)
        else:
            alive = is_alive(stored.owner, self._folder, beats, now)
        return job if alive else replace(job, state=JobState.INTERRUPTED)

    async def _take(self, number: str, *, forward: bool) -> Job:
        """Makes it ours. RefusedError: there is nothing to go on with, or another process was quicker."""
        self._may_change()
        number = (await self.find(number)).id
        journal = await self._opened()
        stored, beats = await journal.get(number), await journal.beats()
        job = self._jobs[number] if self._here(number) else self._judged(stored, beats, time.time())
        handed = job.state is JobState.WAITING and stored.owner == NOBODY
        if not job.state.resumable and not handed:
            raise RefusedError(f"job {number} is {job.state.value}: nothing to go on with")
        self._starting.add(number)
        try:
            if not await journal.take(number, self._token, stored):
                raise RefusedError(f"job {number} was just taken by another process")
            job = replace(job, state=JobState.WAITING)
            self._ours.add(number)
            self._tell(job)
            self._run(journal, job, forward=forward)
        finally:
            self._starting.discard(number)
        return job

    async def _cancel_elsewhere(self, number: str) -> None:
        journal = await self._opened()
        if (await journal.get(number)).owner == NOBODY:
            with contextlib.suppress(RefusedError):  # somebody has just taken it
                await self._take(number, forward=False)
                return
        await journal.ask_cancel(number)

    # ---- carrying out

    def _run(self, journal: Journal, job: Job, *, forward: bool) -> None:
        execution = Execution(
            job,
            journal,
            self._runner,
            self._gates,
            self._tell,
            owner=self._token,
            auditor=Auditor(journal, self._runner),
        )
        task = asyncio.ensure_future(self._carry_out(journal, execution, forward=forward))
        self._running[job.id] = (execution, task)
        if self._beating is None or self._beating.done():
            beating = vigil.beat(journal, self._token, self._running, self._heard, self._let_go)
            self._beating = asyncio.ensure_future(beating)

    async def _carry_out(self, journal: Journal, execution: Execution, *, forward: bool) -> None:
        number, token = execution.job.id, self._token
        why, taken = "", False
        try:
            await (execution.forward() if forward else execution.backward())
        except TakenError as error:
            log.warning("%s", error)
            taken = True
        except StoreError as error:
            why = error.message
        except Exception as error:
            log.exception("job %s", number)
            why = f"{type(error).__name__}: {error}"
        finally:
            self._running.pop(number, None)
            if taken:
                self._errand(self._reload(journal, 0))
            elif execution.job.state.active:
                with contextlib.suppress(VirtfleetError):
                    await journal.give_up(number, token)
                cure = f"`job resume {number}` or `job rollback {number}`"
                self._tell(replace(execution.job, state=JobState.INTERRUPTED, error=why, cure=cure))
            self._changed.set()

    def _heard(self, number: str) -> None:
        """Another process wants it cancelled."""
        if number in self._running:
            self._running[number][0].cancel()

    def _let_go(self) -> None:
        """Another process may take our jobs."""
        for _, task in list(self._running.values()):
            task.cancel()

    def _may_change(self) -> None:
        if self._read_only:
            raise RefusedError("read-only: nothing may be changed")

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except VirtfleetError as error:
                log.warning("%s", error)

        task = asyncio.ensure_future(run())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _tell(self, job: Job) -> None:
        self._jobs[job.id] = job
        for callback in tuple(self._subscribers):
            try:
                callback(job)
            except Exception:  # a face's mistake must not break the job
                log.exception("a subscriber of jobs failed")
        self._changed.set()
