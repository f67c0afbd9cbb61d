"""`top`: who uses most, once, so many times, or live on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.headless import formats, output, session, table
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import GROUPS, Listing, emit, style_of
from virtfleet.headless.options import Options
from virtfleet.query.clock import Clock
from virtfleet.query.nouns import Noun
from virtfleet.query.tally import totals

if TYPE_CHECKING:
    from virtfleet.config.settings import FleetSettings
    from virtfleet.engine import Engine
    from virtfleet.model import FleetSnapshot

BY: Mapping[str, tuple[str, ...]] = {
    "cpu": ("cpu_pct",),
    "mem": ("memory_used",),
    "disk": ("disk_read", "disk_write"),
    "net": ("net_rx", "net_tx"),
}
"""What to sort by: the sum of these fields, largest first."""


def usage_of(noun: Noun[Any], by: str) -> Callable[[Any], float | None]:
    """How much a row uses of what `by` names; None: unknown, sorted last."""
    getters = [field.get for name in BY[by] if (field := noun.field(name))]

    def usage(row: Any) -> float | None:
        known = [value for get in getters if isinstance(value := get(row), int | float)]
        return float(sum(known)) if known else None

    return usage


def ranked(rows: Sequence[Any], usage: Callable[[Any], float | None]) -> list[Any]:
    """`rows` by usage, largest first, unknown last; equal ones stay in their order."""
    measured = [(usage(row), row) for row in rows]
    known = sorted((pair for pair in measured if pair[0] is not None), key=lambda pair: -(pair[0] or 0.0))
    return [row for _, row in known] + [row for value, row in measured if value is None]


def summary(snapshot: FleetSnapshot, now: float, wall: float, settings: FleetSettings) -> str:
    """The line above the table."""
    sums = totals(snapshot, now, settings.groups)
    clock = time.strftime("%H:%M:%S", time.localtime(wall))
    marked = "  demo, simulated" if settings.demo else ""
    return (
        f"{clock}  hosts {sums.hosts_up}/{sums.hosts_total}  VMs {sums.vms_running}/{sums.vms_total}"
        f"  alerts {sums.alerts}{marked}"
    )


def run(
    noun: str, options: Options, *, by: str = "cpu", times: int | None = None, delay: float = 2.0,
    limit: int | None = None,
) -> int:  # fmt: skip
    """`virtfleet top`. `times`: how often; None: live on a terminal until interrupted, else once."""
    listing = Listing(noun, options)
    groups = GROUPS[noun]
    settings = session.sampled_every(options.settings(), delay)
    live = times is None and output.is_terminal() and options.output == "table"
    rounds = times if times is not None else (None if live else 1)

    async def work(engine: Engine) -> int:
        deadline = time.monotonic() + options.timeout
        await engine.settled(groups, timeout=options.timeout)
        await session.rates_known(engine, max(deadline, time.monotonic() + 2.5))
        done = 0
        partial = False
        with output.Screen() if live else contextlib.nullcontext() as screen:
            while True:
                now, wall = time.monotonic(), time.time()
                made = listing.noun_at(Clock.at(now, wall))
                snapshot = engine.snapshot
                rows = listing.select(snapshot, made)
                if not options.sort:
                    rows = ranked(rows, usage_of(made, by))
                rows = rows[:limit]
                missing = session.missing(snapshot, groups, options.timeout)
                partial = bool(missing)
                if options.output == "json":
                    items = [formats.item(row, listing.fields(made)) for row in rows]
                    emit(options, noun, items, missing, now, [])
                elif not (live and engine.prompts.pending):
                    head = summary(snapshot, now, wall, settings)
                    lost = [f"{host.name} is {host.state}: {reason}" for host, reason in missing]
                    body = table.render(rows, listing.fields(made), made, style_of(options), now)
                    gap = [""] if done and not live else []
                    frame = [*gap, head, *lost, *body]
                    if screen is not None:
                        screen.paint(frame)
                    else:
                        output.lines(frame)
                done += 1
                if rounds is not None and done >= rounds:
                    return Exit.PARTIAL if partial else Exit.DONE
                await asyncio.sleep(delay)

    return session.run(options, settings, work)
