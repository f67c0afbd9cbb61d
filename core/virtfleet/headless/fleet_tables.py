"""The fleet once, as tables: hosts, VMs and pools. What `virtfleet` prints where there is no terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from virtfleet.headless import diagnostics, output, session, table
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import style_of
from virtfleet.headless.options import Options
from virtfleet.headless.top import summary
from virtfleet.query.clock import Clock
from virtfleet.query.columns import default_columns, sort_rows
from virtfleet.query.nouns import NOUNS

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_GROUPS = ("stats", "facts", "pools")


def run(options: Options, *, or_demo: bool = False) -> int:
    """`virtfleet overview`. `or_demo`: without a fleet file, of the demo fleet."""
    settings = session.sampled_every(options.settings(or_demo=or_demo))

    async def work(engine: Engine) -> int:
        deadline = time.monotonic() + options.timeout
        await engine.settled(_GROUPS, timeout=options.timeout)
        await session.rates_known(engine, max(deadline, time.monotonic() + 2.5))
        snapshot = engine.snapshot
        now, wall = time.monotonic(), time.time()
        missing = session.missing(snapshot, _GROUPS, options.timeout)
        lines = [f"{settings.name or 'fleet'}  {summary(snapshot, now, wall, settings)}"]
        for name in ("host", "vm", "pool"):
            noun = NOUNS[name].with_clock(Clock.at(now, wall))
            rows = sort_rows(noun.rows(snapshot), noun.default_sort, noun.fields)
            lines += ["", f"{noun.title}: {len(rows)}"]
            if rows:
                lines += table.render(rows, default_columns(noun), noun, style_of(options), now)
        output.lines(lines)
        diagnostics.unreachable(missing)
        return Exit.PARTIAL if missing else Exit.DONE

    return session.run(options, settings, work)
