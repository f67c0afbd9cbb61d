"""The tables of the journal, the same on SQLite and PostgreSQL. JSON is text, times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Column, Float, Index, Integer, MetaData, Table, Text

VERSION = 3

tables = MetaData()

versions = Table("virtfleet_version", tables, Column("version", Integer, nullable=False))

jobs = Table(
    "jobs",
    tables,
    Column("id", Text, primary_key=True),
    Column("created", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("cure", Text, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("plan", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("cancel", Integer, nullable=False, server_default="0"),
    Column("before", Text, nullable=False, server_default=""),
    Index("jobs_by_state", "state"),
    Index("jobs_by_created", "created"),
)

steps = Table(
    "steps",
    tables,
    Column("job", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("began", Float),
    Column("ended", Float),
    Column("result", Text),
    Column("error", Text, nullable=False),
)

log = Table(
    "log",
    tables,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("job", Text, nullable=False),
    Column("time", Float, nullable=False),
    Column("text", Text, nullable=False),
    Index("log_by_job", "job"),
)

runners = Table(
    "runners",
    tables,
    Column("token", Text, primary_key=True),
    Column("machine", Text, nullable=False),
    Column("beat", Float, nullable=False),
)

claims = Table(
    "claims",
    tables,
    Column("job", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("uuid", Text, primary_key=True),
    Column("use", Text, nullable=False),
    Index("claims_by_project", "project"),
)

audit = Table(
    "audit",
    tables,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("uuid", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Index("audit_by_time", "time"),
    Index("audit_by_name", "name"),
)

_SQLITE_APPEND_ONLY = tuple(
    f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for verb in ("UPDATE", "DELETE")
)
_SQLITE_NO_REPLACE = (
    # INSERT OR REPLACE takes the old row away without asking the trigger of DELETE.
    "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit "
    "WHEN EXISTS (SELECT 1 FROM audit WHERE n = NEW.n) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
)
_POSTGRESQL_APPEND_ONLY = (
    "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
)
_NEW: Mapping[str, Sequence[str]] = {
    "sqlite": (*_SQLITE_APPEND_ONLY, _SQLITE_NO_REPLACE),
    "postgresql": _POSTGRESQL_APPEND_ONLY,
}
_ADD_BEFORE = "ALTER TABLE jobs ADD COLUMN before TEXT NOT NULL DEFAULT ''"
_ADD_CLAIMS = (
    "CREATE TABLE claims (job TEXT NOT NULL, project TEXT NOT NULL, uuid TEXT NOT NULL, use TEXT NOT NULL, "
    "PRIMARY KEY (job, project, uuid))",
    "CREATE INDEX claims_by_project ON claims (project)",
)
_UPGRADES: Mapping[int, Mapping[str, Sequence[str]]] = {
    2: {"sqlite": (_ADD_BEFORE, _SQLITE_NO_REPLACE), "postgresql": (_ADD_BEFORE,)},
    3: {"sqlite": _ADD_CLAIMS, "postgresql": _ADD_CLAIMS},
}
"""What makes a version of the one before it."""


def create(connection: sa.Connection) -> None:
    """Makes the tables, or makes old ones new. ValueError: they are of a newer version of us."""
    engine = connection.dialect.name
    if engine == "postgresql":
        # Two consoles that start at once must not both make them; the number is ours alone.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7312645)"))
    if not sa.inspect(connection).has_table(versions.name):
        tables.create_all(connection)
        for statement in _NEW[engine]:
            connection.exec_driver_sql(statement)
        connection.execute(versions.insert().values(version=VERSION))
        return
    found = connection.execute(sa.select(versions.c.version)).scalar_one()
    if found > VERSION:
        raise ValueError(f"the journal is of version {found}, this virtfleet knows up to {VERSION}")
    for version in range(found + 1, VERSION + 1):
        for statement in _UPGRADES[version][engine]:
            connection.exec_driver_sql(statement)
    if found < VERSION:
        connection.execute(versions.update().values(version=VERSION))
