"""All jobs: those of this process, those that others run, and those that a crash left behind.

    job = await book.submit(plan, origin="console")
    job = await book.wait(job.id)

Values only: who watches subscribes, and is told of each job that changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from virtfleet.config.settings import JobLimits
from virtfleet.errors import NotFoundError, RefusedError, VirtfleetError
from virtfleet.jobs.auditing import Auditor
from virtfleet.jobs.executor import Execution, Runner, resolved
from virtfleet.jobs.limits import Gates
from virtfleet.jobs.owners import BEAT_EVERY, is_alive
from virtfleet.jobs.owners import Runner as Owner
from virtfleet.jobs.who import origin_of, whoami
from virtfleet.model.job import AuditEntry, Job, JobState, Progress, StepRecord, StepState
from virtfleet.model.plan import Plan, Step

if TYPE_CHECKING:
    from virtfleet.jobs.journal import Journal, LogLine, Stored

log = logging.getLogger(__name__)

RECENT = 200
"""Jobs that ended and are still shown."""
UNDOABLE = frozenset(
    {
        "vm.autostart",
        "vm.rename",
        "vm.resize",
        "vm.tag",
        "vm.describe",
        "vm.assign",
        "vm.protect",
        "vm.edit",
        "vm.media.insert",
        "vm.media.eject",
        "vm.nic.attach",
        "vm.nic.detach",
    }
)
"""Verbs whose jobs can be taken back when they are done."""
_HANDED_OVER = 60.0
"""Seconds within which a job that was handed to the background must have been taken."""


class JobBook:
    """To be used from one loop. The journal is opened when it is first needed."""

    def __init__(
        self,
        folder: Path,
        runner: Runner,
        *,
        store: str = "",
        password: str = "",
        limits: JobLimits | None = None,
    ) -> None:
        """`folder`: the state folder. `store`: URL of a PostgreSQL database; empty: SQLite in the folder."""
        self._folder = folder
        self._runner = runner
        self._store = store
        self._password = password
        self._gates = Gates(limits or JobLimits())
        self._jobs: dict[str, Job] = {}
        self._owners: dict[str, str] = {}
        self._running: dict[str, tuple[Execution, asyncio.Task[None]]] = {}
        self._subscribers: list[Callable[[Job], None]] = []
        self._journal: Journal | None = None
        self._owner: Owner | None = None
        self._opening: asyncio.Lock = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

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
        """Reads the journal; jobs whose process is gone are INTERRUPTED. ConfigError: it can't be read."""
        journal = await self._opened()
        await self._reload(journal, recent)

    async def find(self, number: str) -> Job:
        """The job of this id, or of the only one that begins so. NotFoundError."""
        await self._opened()
        close = [each for each in self._jobs if each.startswith(number)]
        if number not in self._jobs and len(close) == 1:
            return self._jobs[close[0]]
        if number not in self._jobs:
            stored = await (await self._opened()).get(number)
            self._owners[number] = stored.owner
            self._jobs[number] = stored.job
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

    async def submit(self, plan: Plan, *, origin: str = "", batch: str = "", detached: bool = False) -> Job:
        """Begins to carry out a plan. `detached`: only writes it down, for another process to take."""
        journal = await self._opened()
        now = time.time()
        job = Job(
            id=_new_id(now),
            plan=plan,
            records=tuple(StepRecord(id=step.id) for step in plan.steps),
            progress=Progress(steps=len(plan.steps)),
            who=whoami(),
            origin=origin_of(origin),
            batch=batch,
            created=now,
        )
        owner = "" if detached else self._token
        await journal.add(job, owner)
        self._owners[job.id] = owner
        self._tell(job)
        if not detached:
            self._run(job, forward=True)
        return job

    async def wait(self, number: str) -> Job:
        """The job when it has ended, in whichever process it runs."""
        self.get(number)
        while self._jobs[number].state.active:
            if number in self._running:
                await asyncio.wait({self._running[number][1]})
                continue
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._changed.wait()
            if number not in self._running and self._jobs[number].state.active:
                await self._reload(await self._opened(), 0)
        return self._jobs[number]

    def cancel(self, number: str) -> None:
        """Stops it, soon; what it did is taken back. NotFoundError; RefusedError: it has ended."""
        job = self.get(number)
        if not job.state.active:
            raise RefusedError(f"job {number} is {job.state.value} already")
        if number in self._running:
            self._running[number][0].cancel()
        elif self._journal is not None:
            _spawn(self._journal.ask_cancel(number))

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
        job = await self.find(number)
        if job.state is not JobState.DONE or job.plan.verb not in UNDOABLE:
            what = job.plan.verb if job.state is JobState.DONE else f"job {job.id} is {job.state.value}: it"
            raise RefusedError(
                f"{what} can't be undone", cure=f"what can be: {', '.join(sorted(UNDOABLE))}, when done"
            )
        return await self.submit(undo_plan(job), origin=f"undo of {job.id}")

    async def close(self) -> None:
        """Ends. Jobs that still run here are interrupted: the next start offers to resume them."""
        for _, task in list(self._running.values()):
            task.cancel()
        if self._running:
            await asyncio.wait({task for _, task in self._running.values()}, timeout=5.0)
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        journal, self._journal = self._journal, None
        owner, self._owner = self._owner, None
        if journal is not None and owner is not None:
            with contextlib.suppress(VirtfleetError):
                await journal.forget_runner(owner.token)
        if owner is not None:
            owner.close()
        if journal is not None:
            await asyncio.to_thread(journal.close)

    # ----

    @property
    def _token(self) -> str:
        if self._owner is None:
            self._owner = Owner(self._folder)
        return self._owner.token

    async def _opened(self) -> Journal:
        async with self._opening:
            if self._journal is None:
                from virtfleet.jobs.journal import Journal

                journal = Journal(self._store or self._folder / "jobs.db", self._password)
                await journal.open()
                self._journal = journal
                await self._reload(journal, RECENT)
            return self._journal

    async def _reload(self, journal: Journal, recent: int) -> None:
        beats = await journal.beats()
        now = time.time()
        wanted = {number for number, job in self._jobs.items() if job.state.active}
        for stored in await journal.load(recent):
            number = stored.job.id
            wanted.discard(number)
            if number in self._running:
                continue
            self._owners[number] = stored.owner
            job = self._judged(stored, beats, now)
            if self._jobs.get(number) != job:
                self._tell(job)
        for number in wanted - set(self._running):  # ended meanwhile, in another process
            self._tell((await journal.get(number)).job)

    def _judged(self, stored: Stored, beats: dict[str, tuple[str, float]], now: float) -> Job:
        """The job, INTERRUPTED if it should run and nobody runs it."""
        job = stored.job
        if not job.state.active:
            return job
        if not stored.owner:
            alive = now - job.created < _HANDED_OVER
        else:
            alive = is_alive(stored.owner, self._folder, beats, now)
        return job if alive else replace(job, state=JobState.INTERRUPTED)

    async def _take(self, number: str, *, forward: bool) -> Job:
        job = await self.find(number)
        journal = await self._opened()
        await self._reload(journal, RECENT)
        job = self._jobs[job.id]
        handed = job.state is JobState.WAITING and not self._owners.get(job.id)
        if not job.state.resumable and not handed:
            raise RefusedError(f"job {job.id} is {job.state.value}: nothing to go on with")
        if not await journal.take(job.id, self._token, self._owners.get(job.id, "")):
            raise RefusedError(f"job {job.id} was just taken by another process")
        self._owners[job.id] = self._token
        job = replace(job, state=JobState.WAITING)
        self._tell(job)
        self._run(job, forward=forward)
        return job

    def _run(self, job: Job, *, forward: bool) -> None:
        assert self._journal is not None  # noqa: S101 - opened by whoever calls
        execution = Execution(job, self._journal, self._runner, self._gates, self._tell)
        auditor = Auditor(self._journal, self._runner)

        async def work() -> None:
            try:
                before = await auditor.before(job)
                await (execution.forward() if forward else execution.backward())
                await auditor.after(execution.job, before)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.exception("job %s", job.id)
                why = (
                    error.message if isinstance(error, VirtfleetError) else f"{type(error).__name__}: {error}"
                )
                self._tell(replace(execution.job, state=JobState.BROKEN, error=why))
            finally:
                self._running.pop(job.id, None)
                self._changed.set()

        self._running[job.id] = (execution, asyncio.ensure_future(work()))
        if self._beating is None:
            self._beating = asyncio.ensure_future(self._beat())

    async def _beat(self) -> None:
        """While jobs run: says that we live, and hears what others want cancelled."""
        while True:
            if self._journal is not None and self._owner is not None and self._running:
                try:
                    wanted = await self._journal.beat(self._owner.token, self._owner.machine, time.time())
                except VirtfleetError as error:
                    log.warning("%s", error)
                    wanted = ()
                for number in wanted:
                    if number in self._running:
                        self._running[number][0].cancel()
            await asyncio.sleep(BEAT_EVERY / 5 if self._running else BEAT_EVERY)

    def _tell(self, job: Job) -> None:
        self._jobs[job.id] = job
        for callback in tuple(self._subscribers):
            try:
                callback(job)
            except Exception:  # a face's mistake must not break the job
                log.exception("a subscriber of jobs failed")
        self._changed.set()


def undo_plan(job: Job) -> Plan:
    """The undoing of a job that is done, as a plan of its own."""
    results = {record.id: record.result for record in job.records}
    steps = [
        Step(
            id=f"undo-{step.id}",
            op=step.undo.op,
            host=step.host,
            title=step.undo.title or f"take back: {step.title}",
            args=resolved(step.undo.args, results, lenient=True),
            timeout=step.timeout,
        )
        for step in reversed(job.plan.steps)
        if step.undo is not None and step.op != "vm.claim"
    ]
    return replace(
        job.plan, title=f"undo: {job.plan.title}", steps=tuple(steps), conditions=(), made=time.time()
    )


def _new_id(now: float) -> str:
    """Sorts by time; two of one millisecond differ."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    number, text = int(now * 1000), ""
    while number:
        number, digit = divmod(number, 36)
        text = letters[digit] + text
    return f"{text}{secrets.choice(letters)}{secrets.choice(letters)}"


_tasks: set[asyncio.Future[None]] = set()


def _spawn(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
