"""`NOUN list`: rows of a snapshot, chosen, sorted and printed in the form asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.headless import diagnostics, formats, output, session, table
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.options import Options
from virtfleet.query.clock import Clock
from virtfleet.query.columns import default_columns, parse_columns, parse_sort, sort_rows
from virtfleet.query.field import Field
from virtfleet.query.filter import compile_filter
from virtfleet.query.filter_parser import Both, Compare, Either, Node, Not, Parser
from virtfleet.query.nouns import NOUNS, Noun

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.model import FleetSnapshot

GROUPS = {
    "host": ("stats", "facts"),
    "vm": ("stats", "networks"),
    "pool": ("stats", "pools"),
    "volume": ("stats", "pools", "volumes"),
    "network": ("stats", "networks"),
}
"""The values that must have come before a noun can be listed; without stats nobody knows whether a host's
figures are still true, and without networks nobody knows a VM's address."""

RATES = frozenset(
    {
        "cpu_pct",
        "iowait_pct",
        "disk_read",
        "disk_write",
        "disk_read_iops",
        "disk_write_iops",
        "net_rx",
        "net_tx",
    }
)
"""Fields that are known only after a second sample."""


class Listing:
    """What of a noun is wanted and how it is to look. QueryError: the options are wrong."""

    def __init__(self, noun: str, options: Options) -> None:
        self.name = noun
        self.options = options
        live = self.noun_at(Clock(time.monotonic, time.time))
        fields = self.fields(live)
        used = {field.name for field in fields} if options.columns else set()
        used |= {name.removeprefix("-") for name in parse_sort(options.sort, live)}
        compile_filter(options.filter, live)
        parser = Parser(options.filter, lambda word: live.field(word) is not None)
        used |= _named(parser.parse(), live)
        self.needs_rates = options.rates or bool(used & RATES)

    def noun_at(self, clock: Clock) -> Noun[Any]:
        return NOUNS[self.name].with_clock(clock)

    def fields(self, noun: Noun[Any]) -> tuple[Field[Any], ...]:
        """The fields asked for; without asking, the usual ones in a table and all in other forms."""
        if self.options.columns:
            return parse_columns(self.options.columns, noun)
        return default_columns(noun) if self.options.output == "table" else noun.fields

    def select(self, snapshot: FleetSnapshot, noun: Noun[Any], sort: Sequence[str] = ()) -> list[Any]:
        """The rows that pass the filter, in the order asked for, else in that of `sort` or the noun."""
        matches = compile_filter(self.options.filter, noun).matches
        spec = parse_sort(self.options.sort, noun) or sort or noun.default_sort
        return sort_rows((row for row in noun.rows(snapshot) if matches(row)), spec, noun.fields)

    def show(self, rows: Sequence[Any], noun: Noun[Any], missing: formats.Missing, now: float) -> None:
        """Print `rows`. A host that is missing is told in the envelope, or where there is none on stderr."""
        fields = self.fields(noun)
        options = self.options
        if options.output == "table":
            style = style_of(options)
            output.lines(table.render(rows, fields, noun, style, now))
        else:
            items = [formats.item(row, fields) for row in rows]
            emit(options, noun.name, items, missing, now, [field.name for field in fields])
        if options.output in ("table", "csv"):
            diagnostics.unreachable(missing)


def style_of(options: Options) -> table.Style:
    return table.Style(
        width=output.width(),
        colour=output.colour(),
        header=not options.no_header,
        chosen=bool(options.columns),
    )


def emit(
    options: Options,
    kind: str,
    items: Sequence[formats.Item],
    missing: formats.Missing,
    now: float,
    names: Sequence[str],
) -> None:
    """Print items as JSON, YAML or CSV. `names`: the columns of CSV."""
    if options.output == "csv":
        output.data(formats.to_csv(items, names, header=not options.no_header))
        return
    body = formats.envelope(kind, items, missing, now)
    if options.output == "yaml":
        output.data(formats.to_yaml(body))
    else:
        output.data(formats.to_json(body, pretty=output.is_terminal()))


def _named(node: Node | None, noun: Noun[Any]) -> set[str]:
    """The fields that a filter compares."""
    match node:
        case Both(parts) | Either(parts):
            return {name for part in parts for name in _named(part, noun)}
        case Not(part):
            return _named(part, noun)
        case Compare(word, _, _):
            field = noun.field(word.text)
            return {field.name} if field else set()
    return set()


def run(noun: str, options: Options) -> int:
    """`virtfleet NOUN list`."""
    listing = Listing(noun, options)
    groups = GROUPS[noun]
    settings = options.settings()
    if listing.needs_rates:
        settings = session.sampled_every(settings)

    async def work(engine: Engine) -> int:
        deadline = time.monotonic() + options.timeout
        await engine.settled(groups, timeout=options.timeout)
        if listing.needs_rates:
            await session.rates_known(engine, max(deadline, time.monotonic() + 2.5))
        snapshot = engine.snapshot
        now = time.monotonic()
        made = listing.noun_at(Clock.at(now, time.time()))
        missing = session.missing(snapshot, groups, options.timeout)
        listing.show(listing.select(snapshot, made), made, missing, now)
        return Exit.PARTIAL if missing else Exit.DONE

    # rates need a second sample, and some of them the lanes that a single look does without
    return session.run(options, settings, work, () if listing.needs_rates else groups)
