"""The work of `placement explain`, `capacity`, `group` and `project`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from virtfleet.headless import acting, diagnostics, finding, formats, output, session, table
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import emit, style_of
from virtfleet.headless.options import Options
from virtfleet.query.clock import Clock
from virtfleet.query.columns import default_columns, parse_columns, parse_sort, sort_rows
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS, Noun
from virtfleet.query.placement import CASES, GROUPS, PROJECTS, ROOM

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_NO_STORE = (
    "quotas are advisory: without a `store` that operators share, two of them at once may exceed one together"
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of `placement explain`."""

    flavor: str
    vcpus: int | None
    memory: int | None
    disk: int | None
    image: str
    zone: str
    group: str
    project: str
    network: tuple[str, ...]
    pool: str
    vm: str


def show_rows(
    rows: Sequence[Any],
    noun: Noun[Any],
    options: Options,
    missing: formats.Missing,
    code: int = Exit.DONE,
    *,
    filtered: bool = True,
) -> int:
    """Print rows as they were asked for. Returns the exit code: `code`, or 3 when hosts are missing.

    `filtered` False: --filter chose something else, and not among these rows.
    """
    kept = list(rows)
    if filtered:
        matches = compile_filter(options.filter, noun).matches
        kept = [row for row in rows if matches(row)]
    if spec := parse_sort(options.sort, noun):
        kept = sort_rows(kept, spec, noun.fields)
    fields = parse_columns(options.columns, noun) if options.columns else noun.fields
    if options.output == "table":
        shown = fields if options.columns else default_columns(noun)
        output.lines(table.render(kept, shown, noun, style_of(options), time.monotonic()))
    else:
        items = [formats.item(row, fields) for row in kept]
        emit(options, noun.name, items, missing, time.monotonic(), [field.name for field in fields])
    if options.output in ("table", "csv"):
        diagnostics.unreachable(missing)
    return Exit.PARTIAL if missing and code == Exit.DONE else code


def _with_fleet(options: Options, work: Callable[[Engine, formats.Missing], Any], flavor: str = "") -> int:
    settings = options.settings()

    async def run(engine: Engine) -> int:
        await engine.settled(acting.groups_for(settings, flavor), timeout=options.timeout)
        missing = session.missing(engine.snapshot, ("stats",), options.timeout)
        return int(await work(engine, missing))

    return session.run(options, settings, run)


def explain(options: Options, wanted: Wanted) -> int:
    """`placement explain`."""

    async def work(engine: Engine, missing: formats.Missing) -> int:
        from virtfleet.decide.report import cases

        found = await (_for_vm(engine, wanted.vm) if wanted.vm else _for_new(engine, wanted))
        code = show_rows(cases(found), CASES, options, missing, Exit.DONE if found.winner else Exit.REFUSED)
        if options.output == "table" and not found.winner:
            diagnostics.note("no valid host")
        return code

    return _with_fleet(options, work, wanted.flavor)


async def _for_new(engine: Engine, wanted: Wanted) -> Any:
    from virtfleet.model.action import CreateVm

    action = CreateVm(
        name="",
        flavor=wanted.flavor,
        vcpus=wanted.vcpus,
        memory=wanted.memory,
        disk=wanted.disk,
        image=wanted.image,
        zone=wanted.zone,
        group=wanted.group,
        project=wanted.project,
        networks=wanted.network,
        pool=wanted.pool,
    )
    return await engine.desk.explain(action, engine.jobs_known)


async def _for_vm(engine: Engine, name: str) -> Any:
    noun = NOUNS["vm"].with_clock(Clock.at(time.monotonic(), time.time()))
    want = finding.wanted(name, engine.settings.hosts)
    row = finding.find(noun, list(noun.rows(engine.snapshot)), want)
    return await engine.desk.explain_for(row.host, row.vm, engine.jobs_known)


def capacity(options: Options, *, by_host: bool) -> int:
    """`capacity`."""

    async def work(engine: Engine, missing: formats.Missing) -> int:
        from virtfleet.decide import capacity as decide
        from virtfleet.decide.report import room

        if not engine.settings.flavors:
            diagnostics.note("the fleet file has no flavors: there is nothing to count")
        ledger = engine.desk.ledger(engine.jobs_known)
        now = time.monotonic()
        deaths = decide.deaths(ledger, engine.settings.flavors, now)
        rows = room(ledger, decide.room(ledger, engine.settings.flavors, now), deaths)
        shown = [row for row in rows if by_host or row.scope != "host"]
        code = show_rows(shown, ROOM, options, missing, Exit.REFUSED if deaths.homeless else Exit.DONE)
        for each in deaths.homeless:
            diagnostics.note(f"if {each.host} died, {each.name} would find no place")
        return code

    return _with_fleet(options, work)


def groups(options: Options, *, check: bool) -> int:
    """`group list` and `group check`."""

    async def work(engine: Engine, missing: formats.Missing) -> int:
        from virtfleet.decide import report

        rows = report.groups(engine.snapshot, engine.settings)
        if not check:
            return show_rows(rows, GROUPS, options, missing)
        broken = [row for row in rows if row.problems]
        hard = any(not row.soft for row in broken)
        return show_rows(broken, GROUPS, options, missing, Exit.FAILED if hard else Exit.DONE)

    return _with_fleet(options, work)


def projects(options: Options) -> int:
    """`project list`."""

    async def work(engine: Engine, missing: formats.Missing) -> int:
        from virtfleet.decide import report

        code = show_rows(report.projects(engine.snapshot, engine.settings), PROJECTS, options, missing)
        if not engine.settings.store.url and any(engine.settings.projects.values()):
            diagnostics.note(_NO_STORE)
        return code

    return _with_fleet(options, work)
