"""The two databases a journal may be in, opened as it needs them: SQLite in a file, PostgreSQL by URL.

Three ways to begin a transaction, as options of one engine:

    (none)      what is written is on the disk when it is committed
    QUICK       it may be lost with the power, not with the process; the next durable one takes it along
    READING     does not ask for SQLite's one lock for writing
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

QUICK = "virtfleet_quick"
READING = "virtfleet_reading"

_FORM = "accepted: postgresql://USER@HOST/DATABASE"
_BUSY = 10.0
"""Seconds that SQLite waits for another process's transaction."""
_PATIENCE = 10
"""Seconds that PostgreSQL may take to accept a connection, or to acknowledge what was sent."""


def open_sqlite(path: Path) -> sa.Engine:
    """OSError. The file is never there with a mode that lets others read it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _BUSY, "check_same_thread": False},
    )

    def connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # transactions are begun by us, below
        _write_ahead(raw)

    def begin(connection: sa.Connection) -> None:
        raw: Any = connection.connection.driver_connection
        options = connection.get_execution_options()
        if options.get(READING):
            raw.execute("BEGIN")
            return
        raw.execute(f"PRAGMA synchronous = {'NORMAL' if options.get(QUICK) else 'FULL'}")
        # At once for writing: a transaction that begins with reading could not wait for its turn.
        raw.execute("BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begin)
    return engine


def _write_ahead(raw: Any) -> None:
    """SQLite's own patience does not cover this: while another process closes the file as its last, or makes
    it good after a crash, it is refused at once."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def open_postgresql(text: str, password: str) -> sa.Engine:
    """ValueError: not a URL of the accepted form. ModuleNotFoundError: psycopg is not installed."""
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ValueError(_FORM) from None
    if url.get_backend_name() != "postgresql":
        raise ValueError(_FORM)
    if url.password is not None or "password" in url.query:
        raise ValueError(
            "the URL holds a password (not shown); write `password: env:NAME` or `file:PATH` beside it"
        )
    url = url.set(drivername="postgresql+psycopg")
    if password:
        url = url.set(password=password)
    # A server that is cut off must not hold up jobs for as long as TCP would wait.
    given = {
        "connect_timeout": _PATIENCE,
        "tcp_user_timeout": _PATIENCE * 1000,
        "keepalives_idle": _PATIENCE,
        "application_name": "virtfleet",
    }
    return sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_size=1,
        max_overflow=0,
        connect_args={key: value for key, value in given.items() if key not in url.query},
    )
