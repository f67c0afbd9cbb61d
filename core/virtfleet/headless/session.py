"""One command's life with the engine: start, do, stop; signals, questions and deadlines on the way."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING

import msgspec

from virtfleet.config.settings import FleetSettings
from virtfleet.headless import diagnostics, output
from virtfleet.headless.asking import Asker
from virtfleet.headless.diagnostics import Exit
from virtfleet.headless.options import Options
from virtfleet.model import FleetSnapshot, HostState, HostView

if TYPE_CHECKING:
    from virtfleet.engine import Engine

Work = Callable[["Engine"], Awaitable[int]]

_RATE_INTERVAL = 1.0
"""Seconds between samples where somebody waits for the second one, without which there are no rates."""


def only(settings: FleetSettings, hosts: Collection[str] | None) -> FleetSettings:
    """The fleet reduced to `hosts`; None: all."""
    if hosts is None:
        return settings
    kept = {name: host for name, host in settings.hosts.items() if name in hosts}
    return msgspec.structs.replace(settings, hosts=kept)


def sampled_every(settings: FleetSettings, seconds: float = _RATE_INTERVAL) -> FleetSettings:
    """The fleet sampled at least that often."""
    hosts = {
        name: msgspec.structs.replace(host, interval=max(0.5, min(seconds, host.interval)))
        for name, host in settings.hosts.items()
    }
    return msgspec.structs.replace(settings, hosts=hosts)


def run(options: Options, settings: FleetSettings, work: Work, groups: Collection[str] = ()) -> int:
    """The exit code of `work`, which is given a started engine; of an interruption, if one comes first.

    `groups`: the engine reads only these, for work that asks once and ends.
    """
    if settings.demo:
        diagnostics.note("demo fleet: all figures are simulated")
    return asyncio.run(_supervised(options, settings, work, groups))


async def _supervised(options: Options, settings: FleetSettings, work: Work, groups: Collection[str]) -> int:
    from virtfleet.engine import Engine

    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made one
    interrupted: list[int] = []

    def interrupt(code: int) -> None:
        if interrupted:  # twice: the person does not want to wait for our tidying
            output.leave(code)
        interrupted.append(code)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number, code in (
        (signal.SIGINT, Exit.INTERRUPTED),
        (signal.SIGTERM, Exit.TERMINATED),
        (signal.SIGHUP, Exit.HUNG_UP),
    ):
        loop.add_signal_handler(number, interrupt, code)
    asker = None if options.no_input else Asker.on_terminal()
    engine = Engine(
        settings,
        read_only=options.read_only,
        interactive=asker is not None,
        keep_history=False,
        groups=groups,
        zygote=options.zygote,
    )
    try:
        await engine.start()
        if asker is not None:
            asker.serve(engine.prompts)
        return await work(engine)
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return interrupted[0]
    finally:
        if asker is not None:
            asker.close()
        await engine.stop()


async def rates_known(engine: Engine, deadline: float) -> None:
    """Returns when each host that answers has given rates, or a second sample; or at `deadline`
    (CLOCK_MONOTONIC)."""
    first: dict[str, float] = {}
    changed = asyncio.Event()
    stop = engine.subscribe(lambda delta: changed.set())
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not any(_lacks_rates(host, first) for host in engine.snapshot.hosts.values()):
                return
            changed.clear()
            try:
                async with asyncio.timeout(left):
                    await changed.wait()
            except TimeoutError:
                return
    finally:
        stop()


def _lacks_rates(host: HostView, first: dict[str, float]) -> bool:
    taken = host.freshness.stats
    if not host.state.answers or taken is None:
        return False
    active = [vm for vm in host.vms if vm.state.active and not vm.stats.monitor_stuck]
    if active:
        known = any(vm.stats.cpu_pct is not None for vm in active)
    else:
        known = host.stats is not None and host.stats.cpu_pct is not None
    return not known and taken <= first.setdefault(host.name, taken)


def missing(snapshot: FleetSnapshot, groups: Sequence[str], timeout: float) -> list[tuple[HostView, str]]:
    """The hosts whose `groups` of values are not there, each with the reason. Disabled ones are meant so."""
    found: list[tuple[HostView, str]] = []
    for host in snapshot.hosts.values():
        if host.state is HostState.DISABLED:
            continue
        late = [group for group in groups if not _has(host, group)]
        if host.state.answers:
            if late:
                found.append((host, f"its {' and '.join(late)} were not read within {timeout:g} s"))
        elif host.state in (HostState.CONNECTING, HostState.ASKING):
            why = f"no answer within {timeout:g} s"
            found.append((host, f"{host.reason}; {why}" if host.reason else why))
        else:
            found.append((host, host.reason or str(host.state)))
    return found


def _has(host: HostView, group: str) -> bool:
    fresh = host.freshness
    match group:
        case "stats":
            return fresh.stats is not None
        case "pools":
            return fresh.pools is not None
        case "volumes":
            return fresh.volumes is not None or (fresh.pools is not None and not host.pools)
        case "networks":
            return fresh.networks is not None
        case _:
            return host.facts is not None
