"""An engine that watches a lab, and how tests wait for what it should see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from lab.fleet import Lab
from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.model import HostState, HostView, Vm


class Watched:
    """An engine, and every state that its hosts went through."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.states: dict[str, list[HostState]] = {name: [] for name in engine.snapshot.hosts}
        engine.subscribe(lambda delta: self._note(delta.host))

    def _note(self, host: str) -> None:
        seen, state = self.states[host], self.engine.snapshot.hosts[host].state
        if not seen or seen[-1] is not state:
            seen.append(state)

    def host(self, name: str) -> HostView:
        return self.engine.snapshot.hosts[name]

    def vm(self, host: str, name: str) -> Vm:
        return next(vm for vm in self.host(host).vms if vm.name == name)

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = 40.0) -> None:
        """Waits for a condition; fails, saying `what`, when it does not come true."""
        deadline = time.monotonic() + timeout
        while not condition():
            views = {
                name: (view.state.value, view.reason) for name, view in self.engine.snapshot.hosts.items()
            }
            assert time.monotonic() < deadline, f"never: {what}; {views}"
            await asyncio.sleep(0.02)

    async def until_state(self, host: str, *states: HostState, timeout: float = 40.0) -> HostView:
        await self.until(lambda: self.host(host).state in states, f"{host} is {states}", timeout)
        return self.host(host)

    async def until_fresh(self, host: str) -> None:
        """Waits for a sample taken after now, in good health."""
        now = time.monotonic()

        def fresh() -> bool:
            view = self.host(host)
            return view.state.answers and (view.freshness.stats or 0.0) > now

        await self.until(fresh, f"a fresh sample of {host}")


@asynccontextmanager
async def watching(lab: Lab, *, interactive: bool = False, **changes: object) -> AsyncIterator[Watched]:
    """Watches all hosts of the lab; `changes` are made to every host's settings."""
    settings = load(lab.fleet_file)
    if changes:
        hosts = {name: replace(host, **changes) for name, host in settings.hosts.items()}
        settings = replace(settings, hosts=hosts)
    engine = Engine(settings, interactive=interactive)
    watched = Watched(engine)
    await engine.start()
    try:
        await engine.settled(timeout=30)
        yield watched
    finally:
        await engine.stop()
