"""What a job is about to do and has done, on disk before it goes on; in a thread, so that no loop waits.

SQLite in the state folder by default, PostgreSQL by URL for a team. This file
and what it is made of (database.py, schema.py, rows.py) need SQLAlchemy, which
takes long to import: import it where a journal is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from virtfleet.config.settings import Store
from virtfleet.decide.quotas import Room
from virtfleet.errors import ConfigError, NotFoundError
from virtfleet.jobs import quotas, rows, schema
from virtfleet.jobs.database import QUICK, READING, open_postgresql, open_sqlite
from virtfleet.jobs.errors import StoreError, TakenError
from virtfleet.jobs.owners import GIVEN_UP, NOBODY
from virtfleet.jobs.rows import LogLine, Stored
from virtfleet.jobs.schema import audit, jobs, log, runners
from virtfleet.model.job import AuditEntry, Job, JobState, StepState

T = TypeVar("T")

_ACTIVE = tuple(state.value for state in JobState if state.active)
_OPEN = (*_ACTIVE, JobState.BROKEN.value)
_BEFORE_ACTING = frozenset({StepState.BEGUN, StepState.UNDOING})


class Journal:
    """To be opened once, then used from one loop. Every method is a transaction of its own.

    All raise StoreError when the database does not do it.
    """

    def __init__(self, place: Path | str, password: str = "") -> None:
        """`place`: a file for SQLite, or the URL of a PostgreSQL database, whose password stands apart."""
        self._place = place
        self._password = password
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._engine: sa.Engine | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Journal({self._place if isinstance(self._place, Path) else 'postgresql'})"

    @property
    def shared(self) -> bool:
        """Whether other machines may use the same one."""
        return not isinstance(self._place, Path)

    async def open(self) -> None:
        """Makes what is missing. ConfigError: it can't be opened, or is newer than we are."""
        await self._in_thread(self._open)

    def close(self) -> None:
        """Waits for what is being written. Blocks."""
        if not self._closed:
            self._closed = True
            self._thread.submit(self._dispose)
            self._thread.shutdown(wait=True)

    # ---- jobs

    async def add(self, job: Job, owner: str, room: Room | None = None) -> None:
        """RefusedError: there is text in it that can't be written down, or `room` has none for its claims."""
        row, steps = rows.row_of_job(job, owner), rows.rows_of_steps(job)

        def work(connection: sa.Connection) -> None:
            quotas.claim(connection, job, room)
            connection.execute(rows.ADD_JOB, row)
            if steps:
                connection.execute(rows.ADD_STEP, steps)

        # Before its first step acts it reaches the disk, with the word that says so.
        await self._write(work, quick=owner != NOBODY)

    async def save(
        self,
        job: Job,
        records: Sequence[int] = (),
        note: str = "",
        time: float = 0.0,
        *,
        owner: str,
        entry: AuditEntry | None = None,
    ) -> None:
        """What the job is now, or, with `records`, what these of its steps are; a line of its log; and, when
        it ends, an entry of the audit log.

        What is about to be done is on the disk when this returns. What is done
        may come there later: a step that was begun and of which no more is
        known is looked at before it is repeated.

        TakenError: `owner` does not run it any more; then nothing is written.
        """
        durable = any(job.records[n].state in _BEFORE_ACTING for n in records) or not job.state.active
        ours = {"for_job": job.id, "for_owner": owner}
        states = [{"for_n": n, **ours, **rows.state_of_step(job.records[n])} for n in records]

        def work(connection: sa.Connection) -> None:
            if states:
                changed = min(connection.execute(rows.SAVE_STEP, each).rowcount for each in states)
            else:
                changed = connection.execute(rows.SAVE_JOB, ours | rows.state_of_job(job)).rowcount
            if changed != 1:
                raise TakenError(f"job {job.id} is run by another process now")
            if note:
                connection.execute(rows.ADD_LINE, {"job": job.id, "time": time, "text": note})
            if entry is not None:
                connection.execute(rows.ADD_ENTRY, msgspec.structs.asdict(entry))

        await self._write(work, quick=not durable)

    async def note(self, job: str, time: float, text: str) -> None:
        """A line of a job's log."""
        line = {"job": job, "time": time, "text": text}
        await self._write(lambda connection: connection.execute(rows.ADD_LINE, line), quick=True)

    async def load(self, recent: int, since: float = 0.0) -> list[Stored]:
        """All that are not over, and the `recent` latest of all from `since` on; oldest first."""
        latest = (
            sa.select(jobs.c.id).where(jobs.c.created >= since).order_by(jobs.c.created.desc()).limit(recent)
        )
        wanted = sa.or_(jobs.c.state.in_(_OPEN), jobs.c.id.in_(latest.scalar_subquery()))
        return await self._read(lambda connection: rows.stored(connection, wanted))

    async def get(self, number: str) -> Stored:
        """NotFoundError."""
        found = await self._read(lambda connection: rows.stored(connection, jobs.c.id == number))
        if not found:
            raise NotFoundError(f"no job {number}", cure="`job list --all` shows them")
        return found[0]

    async def pulse(self, but: str) -> tuple[tuple[str, str, str], ...]:
        """Id, state and owner of what is not over, and of the newest; equal as long as nothing happened.

        Without what belongs to the owner `but`.
        """
        some = sa.select(jobs.c.id, jobs.c.state, jobs.c.owner).where(jobs.c.owner != but)
        queries = (
            some.where(jobs.c.state.in_(_OPEN)).order_by(jobs.c.id),
            some.order_by(jobs.c.created.desc()).limit(1),
        )

        def work(connection: sa.Connection) -> tuple[tuple[str, str, str], ...]:
            return tuple((row[0], row[1], row[2]) for query in queries for row in connection.execute(query))

        return await self._read(work)

    async def take(self, number: str, owner: str, before: Stored) -> bool:
        """Makes `owner` the one who runs it, if it still is as it was read: of two at once, one may."""
        taken = jobs.update().where(
            jobs.c.id == number,
            jobs.c.owner == before.owner,
            jobs.c.state == before.job.state.value,
        )
        values = {"owner": owner, "cancel": 0, "state": JobState.WAITING.value}
        return await self._write(lambda connection: connection.execute(taken.values(values)).rowcount == 1)

    async def give_up(self, number: str, owner: str) -> None:
        """`owner` lives and does not run it any more, though it is not over."""
        ours = jobs.update().where(jobs.c.id == number, jobs.c.owner == owner, jobs.c.state.in_(_ACTIVE))
        await self._write(lambda connection: connection.execute(ours.values(owner=GIVEN_UP)))

    async def ask_cancel(self, number: str) -> None:
        """Tells whoever runs it, in whichever process, to cancel it."""
        asked = jobs.update().where(jobs.c.id == number).values(cancel=1)
        await self._write(lambda connection: connection.execute(asked))

    async def keep_before(self, number: str, xml: str) -> None:
        """What its VM was before it began, for the audit log."""
        kept = jobs.update().where(jobs.c.id == number).values(before=xml)
        await self._write(lambda connection: connection.execute(kept), quick=True)

    async def before(self, number: str) -> str:
        """What its VM was before it began; empty: unknown."""
        query = sa.select(jobs.c.before).where(jobs.c.id == number)
        return await self._read(lambda connection: str(connection.execute(query).scalar() or ""))

    async def log(self, number: str) -> tuple[LogLine, ...]:
        query = sa.select(log.c.time, log.c.text).where(log.c.job == number).order_by(log.c.n)
        return await self._read(
            lambda connection: tuple(LogLine(time, text) for time, text in connection.execute(query))
        )

    # ---- owners

    async def beat(self, token: str, machine: str, now: float) -> None:
        """Says that an owner lives."""
        known = runners.update().where(runners.c.token == token).values(beat=now)
        new = runners.insert().values(token=token, machine=machine, beat=now)

        def work(connection: sa.Connection) -> None:
            if not connection.execute(known).rowcount:
                connection.execute(new)

        await self._write(work, quick=True)

    async def unwanted(self, token: str) -> tuple[str, ...]:
        """Which of an owner's jobs somebody wants cancelled."""
        query = sa.select(jobs.c.id).where(
            jobs.c.owner == token, jobs.c.cancel == 1, jobs.c.state.in_(_ACTIVE)
        )
        return await self._read(lambda connection: tuple(connection.execute(query).scalars()))

    async def beats(self) -> dict[str, float] | None:
        """Last sign of life of each owner; None: the journal is this machine's alone."""
        if not self.shared:
            return None
        query = sa.select(runners.c.token, runners.c.beat)
        return await self._read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})

    async def forget_owner(self, token: str) -> None:
        gone = runners.delete().where(runners.c.token == token)
        await self._write(lambda connection: connection.execute(gone), quick=True)

    # ---- audit

    async def audit(self, entry: AuditEntry) -> None:
        values = msgspec.structs.asdict(entry)
        await self._write(lambda connection: connection.execute(rows.ADD_ENTRY, values))

    async def audited(
        self, limit: int = 200, *, since: float = 0.0, name: str = "", job: str = ""
    ) -> tuple[AuditEntry, ...]:
        """The latest `limit` entries, oldest first. `name`: of the object, or its UUID."""
        query = sa.select(audit).where(audit.c.time >= since).order_by(audit.c.n.desc()).limit(limit)
        if name:
            query = query.where(sa.or_(audit.c.name == name, audit.c.uuid == name))
        if job:
            query = query.where(audit.c.job == job)
        return await self._read(
            lambda connection: rows.entries(connection.execute(query).mappings().all()[::-1])
        )

    # ---- in the thread

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreError("the journal is closed")
        # Shielded: what has begun to be written is written, though nobody waits for it any more.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    async def _write(self, work: Callable[[sa.Connection], T], *, quick: bool = False) -> T:
        return await self._in_thread(lambda: self._transaction(work, QUICK if quick else ""))

    async def _read(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._in_thread(lambda: self._transaction(work, READING))

    def _transaction(self, work: Callable[[sa.Connection], T], kind: str) -> T:
        if self._engine is None:
            raise StoreError("the journal is not open")
        try:
            with self._engine.connect() as connection:
                if kind:
                    connection.execution_options(**{kind: True})
                with connection.begin():
                    return work(connection)
        except SQLAlchemyError as error:
            raise StoreError(f"the journal can't be used: {_why(error)}") from None

    def _open(self) -> None:
        try:
            if isinstance(self._place, Path):
                self._engine = open_sqlite(self._place)
            else:
                self._engine = open_postgresql(self._place, self._password)
            with self._engine.begin() as connection:
                schema.create(connection)
        except SQLAlchemyError as error:
            raise ConfigError(f"the journal can't be opened: {_why(error)}", where=self._shown) from None
        except OSError as error:
            raise ConfigError(f"the journal can't be opened: {error.strerror}", where=self._shown) from None
        except ValueError as error:
            raise ConfigError(str(error), where=self._shown) from None
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"this store needs the Python package {error.name}",
                where=self._shown,
                cure="pip install 'virtfleet[postgresql]'",
            ) from None

    @property
    def _shown(self) -> str:
        """Without what may be a password."""
        if isinstance(self._place, Path):
            return str(self._place)
        return self._place.rpartition("@")[2].partition("?")[0]

    def _dispose(self) -> None:
        if self._engine is not None:
            with contextlib.suppress(Exception):
                self._engine.dispose()


async def open_journal(folder: Path, store: Store) -> Journal:
    """The one that the settings name; without a URL it is in `folder`. ConfigError."""
    password = "" if store.password is None else store.password.read()
    if password is None:
        raise ConfigError("the password of the store can't be asked for", cure="env:NAME or file:PATH")
    journal = Journal(store.url or folder / "jobs.db", password)
    try:
        await journal.open()
    except BaseException:
        journal.close()
        raise
    return journal


def _why(error: Exception) -> str:
    """What the database says, without the statement and its values."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__
