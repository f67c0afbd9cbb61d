"""`NOUN show NAME...`: everything about single objects, or their XML as libvirt has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.errors import AmbiguousError, NotFoundError, VirtfleetError
from virtfleet.headless import diagnostics, finding, formats, output, session
from virtfleet.headless.card import card
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import GROUPS, emit, style_of
from virtfleet.headless.options import Options
from virtfleet.query.clock import Clock
from virtfleet.query.nouns import NOUNS, Noun
from virtfleet.query.rows import HostRow, PoolRow, VmRow, VolumeRow

if TYPE_CHECKING:
    from virtfleet.engine import Engine


def run(noun: str, names: Sequence[str], options: Options, *, xml: bool = False) -> int:
    """`virtfleet NOUN show NAME...`."""
    settings = options.settings()
    wants = [finding.wanted(name, settings.hosts) for name in names]
    # Whoever has a volume may be anywhere.
    hosts = None if noun == "volume" else finding.hosts_to_ask(NOUNS[noun], wants, settings.hosts)
    settings = session.sampled_every(session.only(settings, hosts))
    groups = GROUPS[noun]

    async def work(engine: Engine) -> int:
        deadline = time.monotonic() + options.timeout
        await engine.settled(groups, timeout=options.timeout)
        if not xml and noun in ("host", "vm"):
            await session.rates_known(engine, max(deadline, time.monotonic() + 2.5))
        now = time.monotonic()
        made = NOUNS[noun].with_clock(Clock.at(now, time.time()))
        rows, errors = finding.find_all(made, list(made.rows(engine.snapshot)), wants)
        missing = session.missing(engine.snapshot, groups, options.timeout)
        if xml:
            errors += await _print_xml(engine, rows, options.timeout)
        else:
            _print(made, rows, missing, now, options)
        for error in errors:
            diagnostics.report(error, as_json=options.as_json)
        if errors and missing and (xml or options.output not in ("table", "csv")):
            diagnostics.unreachable(missing)
        return _code(rows, errors, bool(missing))

    return session.run(options, settings, work)


def _code(rows: Sequence[Any], errors: Sequence[VirtfleetError], partial: bool) -> int:
    if not errors:
        return Exit.PARTIAL if partial else Exit.DONE
    if any(isinstance(error, AmbiguousError) for error in errors):
        return Exit.USAGE
    if rows and len(errors) < len(rows) + len(errors):
        return Exit.PARTIAL
    # What was not found may be on a host that did not answer.
    if partial and any(isinstance(error, NotFoundError) for error in errors):
        return Exit.PARTIAL
    return diagnostics.exit_code(errors[0])


def _print(
    noun: Noun[Any], rows: Sequence[Any], missing: formats.Missing, now: float, options: Options
) -> None:
    if options.output == "table":
        style = style_of(options)
        for index, row in enumerate(rows):
            output.lines([*([""] if index else []), *card(row, noun.fields, style)])
    else:
        items = [formats.item(row, noun.fields) for row in rows]
        emit(options, noun.name, items, missing, now, [field.name for field in noun.fields])
    if options.output in ("table", "csv"):
        diagnostics.unreachable(missing)


async def _print_xml(engine: Engine, rows: Sequence[Any], timeout: float) -> list[VirtfleetError]:
    """Prints the XML of each; returns an error for each that could not be read."""
    errors: list[VirtfleetError] = []
    for row in rows:
        host, op, args = _xml_request(row)
        try:
            text = await engine.request(host, op, args, timeout)
        except VirtfleetError as error:
            errors.append(error)
            continue
        output.lines([str(text).rstrip("\n")])
    return errors


def _xml_request(row: Any) -> tuple[str, str, dict[str, Any]]:
    match row:
        case HostRow(host):
            return host.name, "host.capabilities", {}
        case VmRow(host, vm):
            return host.name, "vm.xml", {"uuid": vm.uuid}
        case PoolRow(_, members):
            host, pool = next((m for m in members if m[0].state.answers), members[0])
            return host.name, "pool.xml", {"uuid": pool.uuid}
        case VolumeRow(host, volume):
            pool_uuid = next((pool.uuid for pool in host.pools if pool.name == volume.pool), "")
            return host.name, "volume.xml", {"pool_uuid": pool_uuid, "name": volume.name}
    return row.host.name, "network.xml", {"uuid": row.network.uuid}
