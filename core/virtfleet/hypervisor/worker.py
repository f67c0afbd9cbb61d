"""The worker process of one hypervisor: obeys the engine's messages until their socket closes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from functools import partial
from typing import Any

import libvirt

from virtfleet.errors import DeadlineError, InternalError, VirtfleetError
from virtfleet.hypervisor import happenings, operations, wire
from virtfleet.hypervisor.port import Port
from virtfleet.hypervisor.session import Session
from virtfleet.model import HostState

log = logging.getLogger(__name__)

_REPORT_EVERY = 0.2
"""Seconds between two words on how far a request is."""
_TELL_EVERY = 1.0
"""Seconds between two words on what is waited for."""


def main(end: socket.socket) -> int:
    """Runs until the engine goes away. The exit status is the process's."""
    logging.basicConfig(
        level=logging.WARNING, format=f"%(asctime)s worker {os.getpid()} %(levelname)s %(message)s"
    )
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    libvirt.registerErrorHandler(lambda *_: None, None)  # its default prints on stderr
    happenings.start_event_loop()
    asyncio.run(_Worker(end).run())
    # Threads may be inside C calls that never return: nothing is gained by waiting for them.
    os._exit(0)


class _Worker:
    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._jobs: dict[asyncio.Task[Any], str] = {}
        """Requests of jobs that are under way, or cancelled and not over yet."""
        self._session: Session | None = None
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._port = port = Port(self._end)
        with contextlib.suppress(ConnectionError):
            async for message in port.receive():
                match message:
                    case wire.Configure(settings):
                        self._session = Session(settings, port, self._stuck)
                        self._running = asyncio.ensure_future(self._run(self._session))
                    case wire.Ping(number):
                        port.send(wire.Pong(number))
                    case wire.Reconnect():
                        if self._session is not None:
                            self._session.reconnect()
                    case wire.PromptAnswer(number, answer):
                        if self._session is not None:
                            self._session.asker.answer(number, answer)
                    case wire.Request():
                        task = asyncio.ensure_future(self._in_turn(message))
                        self._tasks[message.id] = task
                        task.add_done_callback(partial(self._forget, message.id))
                    case wire.CancelRequest(number):
                        if number in self._tasks:
                            self._tasks[number].cancel()
        os._exit(0)

    def _forget(self, number: int, _: object) -> None:
        self._tasks.pop(number, None)

    async def _run(self, session: Session) -> None:
        try:
            await session.run()
        except Exception:
            log.exception("the session failed")
            os._exit(1)  # the engine starts another

    async def _in_turn(self, request: wire.Request) -> None:
        """A job's requests come one after another: what was cancelled may still act, and must not overtake
        what takes it back."""
        job, task = request.args.get("job"), asyncio.current_task()
        if job and task is not None:
            before = [each for each, other in self._jobs.items() if other == job]
            self._jobs[task] = job
            task.add_done_callback(lambda done: self._jobs.pop(done, None))
            if before and not await self._ended(before, request):
                why = f"what was asked before {request.op} still runs on the host"
                self._port.send(_failed(request.id, DeadlineError(why)))
                return
        await self._answer(request)

    async def _ended(self, tasks: list[asyncio.Task[None]], request: wire.Request) -> bool:
        """Waits for them, as long as the request may take itself."""
        until = time.monotonic() + request.deadline
        while time.monotonic() < until:
            _, running = await asyncio.wait(tasks, timeout=min(_TELL_EVERY, request.deadline))
            if not running:
                return True
            self._port.send(wire.Progress(request.id, 0, 0, "waiting for what was cancelled"))
        return False

    async def _answer(self, request: wire.Request) -> None:
        loop = asyncio.get_running_loop()
        told = -1.0

        def report(done: int, total: int, text: str) -> None:
            nonlocal told
            now = loop.time()
            limit.reschedule(now + request.deadline)
            if now - told >= _REPORT_EVERY or done == total:
                told = now
                self._port.send(wire.Progress(request.id, done, total, text))

        try:
            async with asyncio.timeout(request.deadline) as limit:
                result: Any = await operations.run(self._session, request, report)
            self._port.send(wire.Response(request.id, result))  # here: what can't be encoded is answered too
            return
        except TimeoutError:
            response = _failed(
                request.id, DeadlineError(f"{request.op} took longer than {request.deadline:g} s")
            )
        except VirtfleetError as error:
            response = _failed(request.id, error)
        except Exception as error:
            log.exception("operation %s failed", request.op)
            response = _failed(request.id, InternalError(f"{request.op}: {type(error).__name__}: {error}"))
        self._port.send(response)

    def _stuck(self) -> None:
        """A call can't be freed: this process can only end, and be replaced."""
        if self._session is not None and self._session.state is HostState.UNREACHABLE:
            os._exit(wire.EXIT_SILENT)
        self._port.send(wire.STUCK)
        os._exit(wire.EXIT_STUCK)


def _failed(number: int, error: VirtfleetError) -> wire.Response:
    return wire.Response(number, None, error.code, error.message, error.cure)
