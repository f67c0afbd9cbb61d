"""`host check`: connect to each host, explain what fails, tell what it is and what works there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.errors import NotFoundError, VirtfleetError
from virtfleet.headless import diagnostics, formats, output, session
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.model import HostState, HostView
from virtfleet.query.clock import Clock
from virtfleet.query.display import format_duration, format_value
from virtfleet.query.field import Unit
from virtfleet.query.hosts import memory_total
from virtfleet.query.looks import host_look
from virtfleet.query.nouns import NOUNS
from virtfleet.query.rows import HostRow

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_GROUPS = ("stats", "facts")


def run(names: Sequence[str], options: Options) -> int:
    """`virtfleet host check [HOST...]`: 0 if all are well, 1 if none is, 3 if some are."""
    settings = options.settings()
    unknown = [name for name in names if name not in settings.hosts]
    if unknown:
        raise NotFoundError(
            f"no host {', '.join(unknown)} in this fleet", cure=f"hosts: {', '.join(settings.hosts)}"
        )
    settings = session.only(settings, set(names) if names else None)

    async def work(engine: Engine) -> int:
        await engine.settled(_GROUPS, timeout=options.timeout)
        missing = session.missing(engine.snapshot, _GROUPS, options.timeout)
        reasons = {host.name: reason for host, reason in missing}
        found = await asyncio.gather(
            *(
                _check(engine, host, options.timeout, reasons.get(host.name, ""))
                for host in engine.snapshot.hosts.values()
            )
        )
        _print(found, engine, missing, options)
        judged = [each for each in found if each["state"] != HostState.DISABLED]
        failed = [each for each in judged if each["problem"]]
        if not failed:
            return Exit.DONE
        return Exit.FAILED if len(failed) == len(judged) else Exit.PARTIAL

    return session.run(options, settings, work)


async def _check(engine: Engine, host: HostView, timeout: float, reason: str) -> dict[str, Any]:
    """One host's findings: its fields, then `problem` (null: none) and what works on it."""
    noun = NOUNS["host"].with_clock(Clock.at(time.monotonic(), time.time()))
    found: dict[str, Any] = formats.item(HostRow(host), noun.fields)
    found |= {"problem": reason or None, "calls_s": {}, "encrypted": None, "supported": {}}
    if host.state is HostState.DISABLED or not host.state.answers:
        return found
    try:
        result = await engine.request(host.name, "host.check", {}, timeout)
    except VirtfleetError as error:
        found["problem"] = str(error)
        found["cure"] = error.cure
        return found
    found["calls_s"] = {lane: round(seconds, 6) for lane, seconds in result["lanes"].items()}
    found["encrypted"] = result["encrypted"]
    found["supported"] = result["supported"]
    return found


def _print(
    found: Sequence[dict[str, Any]], engine: Engine, missing: formats.Missing, options: Options
) -> None:
    if options.output == "table":
        for index, each in enumerate(found):
            view = engine.snapshot.hosts[each["name"]]
            output.lines([*([""] if index else []), *_block(each, view)])
        return
    names = list(found[0]) if found else []
    items = [_flat(each) if options.output == "csv" else each for each in found]
    emit(options, "host", items, missing, time.monotonic(), names)
    if options.output == "csv":
        diagnostics.unreachable(missing)


def _flat(each: dict[str, Any]) -> dict[str, Any]:
    """Mappings as one text, for CSV."""
    return {
        key: " ".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else value
        for key, value in each.items()
    }


def _block(each: dict[str, Any], host: HostView) -> list[str]:
    look = host_look(host)
    mark = f"{look.glyph} {look.word}" if not each["problem"] or not host.state.answers else "✖ fails"
    lines = [f"{host.name}  {mark}", f"    uri        {host.uri}"]
    if each["problem"]:
        lines.append(f"    problem    {each['problem']}")
        if each["cure"]:
            lines.append(f"    try        {each['cure']}")
    elif host.state is HostState.DISABLED:
        lines.append(f"    reason     {host.reason}")
    lines += [f"    {name:<10} {text}" for name, text in _facts(host) if text]
    if each["calls_s"]:
        calls = ", ".join(f"{lane} {format_duration(s)}" for lane, s in each["calls_s"].items())
        lines.append(f"    calls      {calls}")
    works = [name for name, why in each["supported"].items() if not why]
    if works:
        lines.append(f"    works      {', '.join(works)}")
    lines += [f"    lacks      {name}: {why}" for name, why in each["supported"].items() if why]
    return lines


def _facts(host: HostView) -> list[tuple[str, str]]:
    facts = host.facts
    if facts is None:
        return []
    simulated = ", simulated" if host.simulated else ""
    return [
        ("hypervisor", f"{facts.hypervisor} {facts.hypervisor_version}".strip() + simulated),
        ("libvirt", facts.libvirt_version),
        ("system", ", ".join(part for part in (facts.os, facts.kernel, facts.arch) if part)),
        ("cpu", f"{facts.cpus} × {facts.cpu_model or facts.cpu_vendor or facts.arch}" if facts.cpus else ""),
        ("memory", _memory(host)),
    ]


def _memory(host: HostView) -> str:
    total = memory_total(host)
    return format_value(total, Unit.BYTES) if total else ""
