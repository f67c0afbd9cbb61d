"""What a job is about to do and has done, on disk before it goes on; in a thread, so that no loop waits.

SQLite in the state folder by default, PostgreSQL by URL for a team. Only this
file and `schema.py` know SQLAlchemy; it is imported when a journal is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from virtfleet.errors import ConfigError, InternalError, NotFoundError
from virtfleet.model.job import AuditEntry, Job, JobState, Progress, StepRecord, StepState
from virtfleet.model.plan import Plan

if TYPE_CHECKING:
    import sqlalchemy as sa

T = TypeVar("T")

_ACTIVE = tuple(state.value for state in JobState if state.active)
_OPEN = (*_ACTIVE, JobState.INTERRUPTED.value, JobState.BROKEN.value)
_BUSY_MS = 10_000


class LogLine(msgspec.Struct, frozen=True):
    time: float
    text: str


class Stored(msgspec.Struct, frozen=True):
    """A job as the journal has it, with who runs it."""

    job: Job
    owner: str
    """Token of a runner; empty: nobody yet."""
    cancel: bool = False


class Journal:
    """To be opened once, then used from one loop. Every method but `close` is a transaction of its own."""

    def __init__(self, place: Path | str, password: str = "") -> None:
        """`place`: a file for SQLite, or the URL of a PostgreSQL database, whose password stands apart."""
        self._place = place
        self._password = password
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._engine: sa.Engine | None = None
        self._quick: sa.Engine | None = None
        """For words that may be lost with the power; the next one that may not takes them along."""
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
        """Waits for what is being written."""
        if self._closed:
            return
        self._closed = True
        self._thread.submit(self._dispose)
        self._thread.shutdown(wait=True)

    # ---- jobs

    async def add(self, job: Job, owner: str) -> None:
        def work(connection: sa.Connection) -> None:
            from virtfleet.jobs.schema import jobs, steps

            connection.execute(jobs.insert().values(owner=owner, cancel=0, **_row(job)))
            if job.records:
                connection.execute(
                    steps.insert(), [_step_row(job.id, n, each) for n, each in enumerate(job.records)]
                )

        await self._write(work)

    async def save(self, job: Job, records: Sequence[int] = (), note: str = "", time: float = 0.0) -> None:
        """The job's state and these of its steps, and a line of its log, in one transaction.

        That a step is begun must reach the disk before it acts. That it is done need not: a step that is
        begun and not known to be done is looked at before it is repeated.
        """
        begun = not records or any(job.records[n].state is StepState.BEGUN for n in records)

        def work(connection: sa.Connection) -> None:
            from virtfleet.jobs.schema import jobs, log, steps

            row = _row(job)
            for key in ("id", "plan", "created", "who", "origin", "batch"):
                del row[key]
            connection.execute(jobs.update().where(jobs.c.id == job.id).values(**row))
            for n in records:
                connection.execute(
                    steps.update()
                    .where(steps.c.job == job.id, steps.c.n == n)
                    .values(**_step_row(job.id, n, job.records[n]))
                )
            if note:
                connection.execute(log.insert().values(job=job.id, time=time, text=note))

        await self._write(work, quick=not begun)

    async def note(self, job: str, time: float, text: str) -> None:
        """A line of a job's log."""

        def work(connection: sa.Connection) -> None:
            from virtfleet.jobs.schema import log

            connection.execute(log.insert().values(job=job, time=time, text=text))

        await self._write(work)

    async def load(self, recent: int, since: float = 0.0) -> list[Stored]:
        """All that is open, and the `recent` latest of the others from `since` on; oldest first."""

        def work(connection: sa.Connection) -> list[Stored]:
            import sqlalchemy as sa

            from virtfleet.jobs.schema import jobs

            latest = (
                sa.select(jobs.c.id)
                .where(jobs.c.created >= since)
                .order_by(jobs.c.created.desc())
                .limit(recent)
            )
            wanted = sa.or_(jobs.c.state.in_(_OPEN), jobs.c.id.in_(latest.scalar_subquery()))
            return _stored(connection, wanted)

        return await self._read(work)

    async def get(self, number: str) -> Stored:
        """NotFoundError."""

        def work(connection: sa.Connection) -> list[Stored]:
            from virtfleet.jobs.schema import jobs

            return _stored(connection, jobs.c.id == number)

        found = await self._read(work)
        if not found:
            raise NotFoundError(f"no job {number}", cure="`job list --all` shows them")
        return found[0]

    async def take(self, number: str, owner: str, before: str) -> bool:
        """Makes `owner` the one who runs it, if it is still `before`'s."""

        def work(connection: sa.Connection) -> bool:
            from virtfleet.jobs.schema import jobs

            done = connection.execute(
                jobs.update().where(jobs.c.id == number, jobs.c.owner == before).values(owner=owner, cancel=0)
            )
            return done.rowcount == 1

        return await self._write(work)

    async def ask_cancel(self, number: str) -> None:
        """Tells whoever runs it, in whichever process, to cancel it."""

        def work(connection: sa.Connection) -> None:
            from virtfleet.jobs.schema import jobs

            connection.execute(jobs.update().where(jobs.c.id == number).values(cancel=1))

        await self._write(work)

    async def log(self, number: str) -> tuple[LogLine, ...]:
        def work(connection: sa.Connection) -> tuple[LogLine, ...]:
            import sqlalchemy as sa

            from virtfleet.jobs.schema import log

            rows = connection.execute(
                sa.select(log.c.time, log.c.text).where(log.c.job == number).order_by(log.c.n)
            )
            return tuple(LogLine(time, text) for time, text in rows)

        return await self._read(work)

    # ---- runners

    async def beat(self, token: str, machine: str, now: float) -> tuple[str, ...]:
        """Says that a runner lives; tells which of its jobs somebody wants cancelled."""

        def work(connection: sa.Connection) -> tuple[str, ...]:
            import sqlalchemy as sa

            from virtfleet.jobs.schema import jobs, runners

            known = connection.execute(
                runners.update().where(runners.c.token == token).values(beat=now)
            ).rowcount
            if not known:
                connection.execute(runners.insert().values(token=token, machine=machine, beat=now))
            rows = connection.execute(
                sa.select(jobs.c.id).where(
                    jobs.c.owner == token, jobs.c.cancel == 1, jobs.c.state.in_(_ACTIVE)
                )
            )
            return tuple(number for (number,) in rows)

        return await self._write(work)

    async def beats(self) -> dict[str, tuple[str, float]]:
        """Machine and last sign of life of each runner."""

        def work(connection: sa.Connection) -> dict[str, tuple[str, float]]:
            import sqlalchemy as sa

            from virtfleet.jobs.schema import runners

            return {
                token: (machine, beat)
                for token, machine, beat in connection.execute(
                    sa.select(runners.c.token, runners.c.machine, runners.c.beat)
                )
            }

        return await self._read(work)

    async def forget_runner(self, token: str) -> None:
        def work(connection: sa.Connection) -> None:
            from virtfleet.jobs.schema import runners

            connection.execute(runners.delete().where(runners.c.token == token))

        await self._write(work)

    # ---- audit

    async def audit(self, entry: AuditEntry) -> None:
        def work(connection: sa.Connection) -> None:
            from virtfleet.jobs.schema import audit

            connection.execute(audit.insert().values(**msgspec.structs.asdict(entry)))

        await self._write(work)

    async def audited(
        self, limit: int = 200, *, since: float = 0.0, name: str = "", job: str = ""
    ) -> tuple[AuditEntry, ...]:
        """The latest `limit` entries, oldest first. `name`: of the object, or its UUID."""

        def work(connection: sa.Connection) -> tuple[AuditEntry, ...]:
            import sqlalchemy as sa

            from virtfleet.jobs.schema import audit

            query = sa.select(audit).where(audit.c.time >= since).order_by(audit.c.n.desc()).limit(limit)
            if name:
                query = query.where(sa.or_(audit.c.name == name, audit.c.uuid == name))
            if job:
                query = query.where(audit.c.job == job)
            rows = connection.execute(query).mappings().all()
            return tuple(
                AuditEntry(**{key: value for key, value in row.items() if key != "n"})
                for row in reversed(rows)
            )

        return await self._read(work)

    # ---- in the thread

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise InternalError("the journal is closed")
        # Shielded: what has begun to be written is written, though nobody waits for it any more.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    async def _write(self, work: Callable[[sa.Connection], T], *, quick: bool = False) -> T:
        return await self._in_thread(lambda: self._transaction(work, quick=quick))

    async def _read(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._in_thread(lambda: self._transaction(work))

    def _transaction(self, work: Callable[[sa.Connection], T], *, quick: bool = False) -> T:
        from sqlalchemy.exc import SQLAlchemyError

        engine = self._quick if quick else self._engine
        if engine is None:
            raise InternalError("the journal is not open")
        try:
            with engine.begin() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise InternalError(f"the journal can't be used: {_why(error)}") from None

    def _open(self) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        from virtfleet.jobs import schema

        try:
            self._engine = self._make_engine("FULL")
            self._quick = self._make_engine("NORMAL") if isinstance(self._place, Path) else self._engine
            with self._engine.begin() as connection:
                schema.create(connection)
        except SQLAlchemyError as error:
            raise ConfigError(f"the journal can't be opened: {_why(error)}", where=self._shown) from None
        except ValueError as error:
            raise ConfigError(str(error), where=self._shown) from None
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"this store needs the Python package {error.name}",
                where=self._shown,
                cure=f"pip install {error.name}",
            ) from None

    @property
    def _shown(self) -> str:
        return str(self._place) if isinstance(self._place, Path) else str(self._place).split("@")[-1]

    def _make_engine(self, synchronous: str) -> sa.Engine:
        import sqlalchemy as sa

        if not isinstance(self._place, Path):
            url = sa.make_url(self._place)
            if url.get_backend_name() != "postgresql":
                raise ValueError("accepted: postgresql://USER@HOST/DATABASE")
            url = url.set(drivername="postgresql+psycopg")
            if self._password:
                url = url.set(password=self._password)
            return sa.create_engine(url, pool_pre_ping=True, pool_size=1, max_overflow=1)
        # The file must never exist with a mode that others can read.
        os.close(os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        made = sa.create_engine(
            f"sqlite:///{self._place}",
            connect_args={"timeout": _BUSY_MS / 1000, "check_same_thread": False},
        )

        def settings(raw: Any, _record: Any) -> None:
            raw.isolation_level = None  # transactions are begun by us, at once for writing
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute(f"PRAGMA synchronous = {synchronous}")

        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        sa.event.listen(made, "connect", settings)
        sa.event.listen(made, "begin", begin)
        return made

    def _dispose(self) -> None:
        for engine in (self._engine, self._quick):
            if engine is not None:
                with contextlib.suppress(Exception):
                    engine.dispose()


def _why(error: Exception) -> str:
    """What the database says, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "created": job.created,
        "who": job.who,
        "origin": job.origin,
        "batch": job.batch,
        "state": job.state.value,
        "error": job.error,
        "cure": job.cure,
        "started": job.started,
        "ended": job.ended,
        "plan": msgspec.json.encode(job.plan).decode(),
    }


def _step_row(job: str, n: int, record: StepRecord) -> dict[str, Any]:
    result = None if record.result is None else msgspec.json.encode(record.result).decode()
    return {
        "job": job,
        "n": n,
        "id": record.id,
        "state": record.state.value,
        "began": record.began,
        "ended": record.ended,
        "result": result,
        "error": record.error,
    }


def _stored(connection: sa.Connection, wanted: Any) -> list[Stored]:
    import sqlalchemy as sa

    from virtfleet.jobs.schema import jobs, steps

    rows = (
        connection.execute(sa.select(jobs).where(wanted).order_by(jobs.c.created, jobs.c.id)).mappings().all()
    )
    if not rows:
        return []
    records: dict[str, list[StepRecord]] = {}
    numbers = [row["id"] for row in rows]
    for start in range(0, len(numbers), 500):
        some = sa.select(steps).where(steps.c.job.in_(numbers[start : start + 500]))
        for row in connection.execute(some.order_by(steps.c.job, steps.c.n)).mappings():
            records.setdefault(row["job"], []).append(
                StepRecord(
                    id=row["id"],
                    state=StepState(row["state"]),
                    began=row["began"],
                    ended=row["ended"],
                    result=None if row["result"] is None else msgspec.json.decode(row["result"]),
                    error=row["error"],
                )
            )
    return [_of_row(row, records.get(row["id"], [])) for row in rows]


def _of_row(row: Any, records: list[StepRecord]) -> Stored:
    done = sum(each.state is StepState.DONE for each in records)
    job = Job(
        id=row["id"],
        plan=msgspec.json.decode(row["plan"], type=Plan),
        state=JobState(row["state"]),
        records=tuple(records),
        progress=Progress(step=done, steps=len(records)),
        error=row["error"],
        cure=row["cure"],
        who=row["who"],
        origin=row["origin"],
        batch=row["batch"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
    )
    return Stored(job, row["owner"], bool(row["cancel"]))
