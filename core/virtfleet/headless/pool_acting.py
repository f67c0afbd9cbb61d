"""Pools on the command line: which are meant, what is done to them, and what could be made of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from virtfleet.errors import NotFoundError, RefusedError, VirtfleetError
from virtfleet.headless import acting, diagnostics, finding, output, session
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.hypervisor.builders.pool_types import split_host, why_not
from virtfleet.model.action_storage import CreatePool, PoolAction, PoolRef, PoolSource
from virtfleet.query.nouns import NOUNS
from virtfleet.query.rows import PoolRow

if TYPE_CHECKING:
    from virtfleet.engine import Engine

_COLUMNS = ("name", "path", "devices", "hosts", "format", "pools")
_FIND = 60.0


def create(action: CreatePool, options: Options) -> int:
    """Only the hosts that it is made on are connected to."""
    settings = options.settings()
    _known(action.hosts, settings.hosts)
    settings = session.only(settings, action.hosts)

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        diagnostics.unreachable(session.missing(engine.snapshot, ("stats",), options.timeout))
        return await acting.carry_out(engine, [action], options)

    return session.run(options, settings, work)


def on_pools(
    names: Sequence[str],
    hosts: Sequence[str],
    options: Options,
    make: Callable[[tuple[PoolRef, ...]], PoolAction],
) -> int:
    """Do what `make` says to each pool that is named. All hosts are asked: others may use what is in it."""
    settings = options.settings()
    _known(hosts, settings.hosts)

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        rows = list(NOUNS["pool"].rows(engine.snapshot))
        diagnostics.unreachable(session.missing(engine.snapshot, ("stats",), options.timeout))
        found: list[tuple[PoolRef, ...]] = []
        errors: list[VirtfleetError] = []
        for name in names:
            try:
                found.append(refs(name, hosts, rows, settings.hosts))
            except VirtfleetError as error:
                errors.append(error)
        return await acting.carry_out(engine, [make(each) for each in found], options, errors)

    return session.run(options, settings, work)


def refs(name: str, hosts: Sequence[str], rows: Sequence[PoolRow], known: Any) -> tuple[PoolRef, ...]:
    """The pools that are meant by NAME, NAME@HOST or a UUID: on `hosts`, or on all that have that storage."""
    want = finding.wanted(name, known)
    if not hosts:
        row: PoolRow = finding.find(NOUNS["pool"], rows, want)
        members = [each for each in row.members if want.host in ("", each[0].name)]
        return tuple(PoolRef(host.name, pool.uuid, pool.name) for host, pool in members)
    if want.host:
        raise RefusedError(f"{name}: name the host after the @ or with --host, not both")
    made = []
    for host in hosts:
        row = finding.find(NOUNS["pool"], rows, finding.Wanted(f"{name}@{host}", want.name, host))
        its = [pool for each, pool in row.members if each.name == host]
        pool = next((each for each in its if want.name in (each.name, each.uuid)), its[0])
        made.append(PoolRef(host, pool.uuid, pool.name))
    return tuple(made)


def _known(hosts: Sequence[str], known: Any) -> None:
    for host in hosts:
        if host not in known:
            raise NotFoundError(f"no host {host!r} in this fleet", cure=f"there is {', '.join(known)}")


# ---------------------------------------------------------------- what could be made


def discover(host: str, kind: str, source: PoolSource, options: Options) -> int:
    """`pool discover`."""
    settings = options.settings()
    _known([host], settings.hosts)
    if why := why_not(kind, "discover"):
        raise RefusedError(why)
    for server in source.hosts:
        try:
            split_host(server)
        except ValueError as error:
            raise RefusedError(str(error)) from None

    async def work(engine: Engine) -> int:
        await engine.settled(("pools",), timeout=options.timeout, hosts=[host])
        args = {"type": kind, "source": msgspec.to_builtins(source)}
        found = await engine.request(host, "pool.sources", args, max(options.timeout, _FIND))
        having: dict[str, list[str]] = {}
        for pool in engine.snapshot.hosts[host].pools:
            having.setdefault(pool.identity, []).append(pool.name)
        items = [
            {**each, "pools": having.get(each["identity"], []) if each["identity"] else []} for each in found
        ]
        if options.output == "table" and not items:
            diagnostics.note(f"{host} finds no source for a {kind} pool")
        elif options.output == "table":
            output.lines(_table(items, header=not options.no_header))
        else:
            emit(options, "source", items, (), time.monotonic(), _COLUMNS)
        return Exit.DONE

    return session.run(options, session.only(settings, [host]), work)


def _table(items: Sequence[Mapping[str, Any]], *, header: bool) -> list[str]:
    cells = [
        [
            " ".join(value) if isinstance(value := each[name], list | tuple) else str(value)
            for name in _COLUMNS
        ]
        for each in items
    ]
    heads = [name.upper() for name in _COLUMNS]
    used = [n for n in range(len(heads)) if any(row[n] for row in cells)]
    widths = {n: max(len(row[n]) for row in [heads, *cells]) for n in used}
    rows = [heads, *cells] if header else cells
    return ["  ".join(row[n].ljust(widths[n]) for n in used).rstrip() for row in rows]
