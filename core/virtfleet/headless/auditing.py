"""`audit`: who did what, when, from where, and how it ended."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from virtfleet.headless import output
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.editing import diff
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.model.job import AuditEntry

_NAMES = [field.name for field in msgspec.structs.fields(AuditEntry)]


def run(options: Options, *, since: float | None, name: str, limit: int, xml: bool) -> int:
    """`audit`. `since`: seconds ago."""

    async def read() -> tuple[AuditEntry, ...]:
        from virtfleet.engine import Engine

        engine = Engine(options.settings(), keep_history=False, zygote=options.zygote)
        try:
            return await engine.jobs.audit(limit, since=time.time() - since if since else 0.0, name=name)
        finally:
            await engine.stop()

    entries = asyncio.run(read())
    if options.output == "table":
        output.lines(line for entry in entries for line in _lines(entry, xml=xml))
        return Exit.DONE
    items: list[dict[str, Any]] = [msgspec.structs.asdict(entry) for entry in entries]
    emit(options, "audit", items, (), time.monotonic(), _NAMES)
    return Exit.DONE


def _lines(entry: AuditEntry, *, xml: bool) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
    lines = [f"{when}  {entry.outcome:<9}  {entry.who}  {entry.origin}  {entry.detail}  (job {entry.job})"]
    if xml and entry.before != entry.after:
        lines += [f"    {line}" for line in diff(entry.before, entry.after, colour=output.colour())]
    return lines
