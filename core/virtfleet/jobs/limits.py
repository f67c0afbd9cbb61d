"""How much happens at once: per host, per pool and in the whole fleet; and what must not meet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from virtfleet.config.settings import JobLimits
from virtfleet.model.plan import Step


class Gates:
    """Opens when there is room. Asked in one order by all (lock, pool, host), so that none waits for another
    in a circle."""

    def __init__(self, limits: JobLimits) -> None:
        self._limits = limits
        self.jobs = asyncio.Semaphore(limits.total)
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._pools: dict[tuple[str, str], asyncio.Semaphore] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def step(self, step: Step) -> AsyncIterator[None]:
        """While a step acts."""
        async with contextlib.AsyncExitStack() as stack:
            if step.lock:
                await stack.enter_async_context(self._locks.setdefault(step.lock, asyncio.Lock()))
            if step.pool:
                key = (step.host, step.pool)
                pool = self._pools.setdefault(key, asyncio.Semaphore(self._limits.per_pool))
                await stack.enter_async_context(pool)
            if step.host:
                host = self._hosts.setdefault(step.host, asyncio.Semaphore(self._limits.per_host))
                await stack.enter_async_context(host)
            yield
