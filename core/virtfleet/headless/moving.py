"""The work of `vm migrate --explain`: where each VM could go, and why not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from virtfleet.errors import NotFoundError, VirtfleetError
from virtfleet.headless import acting, diagnostics, finding, session
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.options import Options
from virtfleet.headless.placing import show_rows
from virtfleet.query.clock import Clock
from virtfleet.query.filter import compile_filter
from virtfleet.query.nouns import NOUNS
from virtfleet.query.rows import VmRow
from virtfleet.query.ways import WAYS, WayRow

if TYPE_CHECKING:
    from virtfleet.decide.migration import Way
    from virtfleet.engine import Engine


def explain(names: Sequence[str], options: Options, to: str) -> int:
    """`to`: of this host alone."""
    settings = options.settings()
    if to and to not in settings.hosts:
        raise NotFoundError(f"no host {to!r} in this fleet")
    wants = [finding.wanted(name, settings.hosts) for name in names]

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        noun = NOUNS["vm"].with_clock(Clock.at(time.monotonic(), time.time()))
        everything = list(noun.rows(engine.snapshot))
        missing = session.missing(engine.snapshot, ("stats",), options.timeout)
        errors: list[VirtfleetError] = []
        if options.filter:
            matches = compile_filter(options.filter, noun).matches
            chosen = [row for row in everything if matches(row)]
        else:
            chosen, errors = finding.find_all(noun, everything, wants)
        rows, homeless = await _rows(engine, chosen, to)
        for error in errors:
            diagnostics.report(error, as_json=options.as_json)
        code = Exit.REFUSED if homeless or errors else Exit.DONE
        return show_rows(rows, WAYS, options, missing, code, filtered=False)

    return session.run(options, settings, work)


async def _rows(engine: Engine, chosen: Sequence[VmRow], to: str) -> tuple[list[WayRow], bool]:
    """And whether some VM fits nowhere."""
    from virtfleet.decide.migration import obstacles

    rows: list[WayRow] = []
    homeless = False
    for each in chosen:
        own = obstacles(each.vm)
        found = [
            _row(engine, each, way, own)
            for way in await engine.desk.ways(each.host, each.vm, engine.jobs_known)
            if not to or way.host == to
        ]
        homeless = homeless or all(row.reasons for row in found)
        rows += found
    return rows, homeless


def _row(engine: Engine, row: VmRow, way: Way, own: Sequence[str]) -> WayRow:
    """`own`: what keeps the VM from going anywhere."""
    return WayRow(
        vm=row.vm.name,
        here=row.host.name,
        host=way.host,
        zone=engine.snapshot.hosts[way.host].zone,
        fit="does not fit" if own else way.fit.value,
        score=None if own else way.score,
        copies=tuple(each.target for each in way.copies),
        bytes=sum(each.capacity for each in way.copies),
        rules=(*("vm" for _ in own[:1]), *dict.fromkeys(each.filter for each in way.refusals)),
        reasons=(*own, *(each.why for each in way.refusals)),
        cures=tuple(each.mend for each in way.refusals if each.mend),
    )
