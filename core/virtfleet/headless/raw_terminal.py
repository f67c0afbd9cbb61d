"""The operator's terminal while a guest has it: keys go to the guest, and all is put back afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import time
import tty
from collections.abc import AsyncIterator, Iterator
from typing import Any

from virtfleet.headless import output
from virtfleet.model.guest_output import BellLimit, Sieve

_STDIN = 0
_CHUNK = 4096


def is_there() -> bool:
    """Whether a person sits at both ends: keyboard and screen."""
    try:
        return os.isatty(_STDIN) and output.is_terminal()
    except OSError:
        return False


def size() -> tuple[int, int]:
    """(rows, columns)."""
    return output.height() or 24, output.width() or 80


class RawTerminal:
    """Use `opened`. What is shown passes the sieve; keys come as they are."""

    def __init__(self) -> None:
        self._sieve = Sieve()
        self._bells = BellLimit()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Raw, until this context ends or the process does. Raises OSError, termios.error: no terminal."""
        before: list[Any] = termios.tcgetattr(_STDIN)

        def restore() -> None:
            with contextlib.suppress(output.Closed, OSError):
                output.data(self._sieve.undo().encode("ascii"))
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)

        with output.restoring(restore):
            tty.setraw(_STDIN, termios.TCSANOW)
            yield

    async def show(self, data: bytes) -> None:
        """What a guest wrote. Returns when the terminal has taken it. Raises output.Closed."""
        text = self._bells.pass_on(self._sieve.feed(data), time.monotonic())
        if text:
            encoded = text.encode(output.encoding(), "replace")
            await asyncio.to_thread(output.data, encoded)

    async def keys(self) -> AsyncIterator[bytes]:
        """What is typed, until the terminal goes."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        while True:
            readable.clear()
            loop.add_reader(_STDIN, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(_STDIN)
            try:
                data = os.read(_STDIN, _CHUNK)
            except OSError:
                return
            if not data:
                return
            yield data
