"""Questions of workers, asked on the terminal: host keys, passphrases, passwords.

They go to /dev/tty, so that stdout stays data and stdin stays the script's.
Nothing here blocks: the terminal is read from the loop, so that Ctrl-C, a
deadline or a host that went away end a question too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING

from virtfleet.model import Prompt, PromptKind

if TYPE_CHECKING:
    from virtfleet.fleet.prompts import PromptQueue

_ANSWER_LIMIT = 4096


class Asker:
    """Asks what is pending, one question at a time, oldest first."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: PromptQueue | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._current: Prompt | None = None
        self._typed = b""
        self._normal: list[object] | None = None
        """The terminal's own settings, while the echo is off."""

    @classmethod
    def on_terminal(cls) -> Asker | None:
        """One on our controlling terminal. None: there is none, or we are in the background, where reading
        it would stop us."""
        try:
            fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if os.tcgetpgrp(fd) == os.getpgrp():
                return cls(fd)
        except OSError:
            pass
        os.close(fd)
        return None

    def serve(self, queue: PromptQueue) -> None:
        """Begin to ask. To be called in the loop."""
        self._queue = queue
        self._unsubscribe = queue.subscribe(self._look)
        self._look()

    @property
    def busy(self) -> bool:
        """Whether a question is on the terminal."""
        return self._current is not None

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._current is not None:
            self._end()
        os.close(self._fd)

    def _look(self) -> None:
        pending = self._queue.pending if self._queue is not None else ()
        if self._current is not None:
            if any(prompt.id == self._current.id for prompt in pending):
                return
            self._write("\n(no longer needed)\n")
            self._end()
        if pending:
            self._ask(pending[0])

    def _ask(self, prompt: Prompt) -> None:
        self._current = prompt
        self._typed = b""
        if prompt.secret:
            self._echo(False)
        # What was typed before the question was not meant for it.
        with contextlib.suppress(termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)
        self._write(question(prompt, retry=prompt.retry))
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _ANSWER_LIMIT)
        except OSError:
            data = b""
        self._typed += data
        if data and b"\n" not in self._typed and len(self._typed) < _ANSWER_LIMIT:
            return
        prompt = self._current
        if prompt is None or self._queue is None:
            return
        text = self._typed.split(b"\n")[0].decode("utf-8", "replace") if data else None
        if prompt.secret or text is None:
            self._write("\n")
        if prompt.kind is PromptKind.HOST_KEY and text is not None:
            answer = text.strip().lower()
            if answer not in ("yes", "no"):
                self._typed = b""
                self._write("Please type yes or no: ")
                return
            text = "yes" if answer == "yes" else None
        self._end()
        self._queue.answer(prompt.id, text)
        self._look()

    def _end(self) -> None:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._fd)
        self._echo(True)
        self._current = None
        self._typed = b""

    def _echo(self, on: bool) -> None:
        with contextlib.suppress(termios.error):
            if on:
                if self._normal is not None:
                    termios.tcsetattr(self._fd, termios.TCSADRAIN, self._normal)  # type: ignore[arg-type]
                    self._normal = None
                return
            mode = termios.tcgetattr(self._fd)
            self._normal = list(mode)
            mode[3] &= ~(termios.ECHO | termios.ECHOE | termios.ECHOK)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, text.encode("utf-8", "replace"))


def question(prompt: Prompt, *, retry: bool = False) -> str:
    """What stands on the terminal: the host, the question, and for a host key what may be answered."""
    again = "That was not accepted. " if retry else ""
    text = prompt.text.rstrip()
    if prompt.kind is PromptKind.HOST_KEY:
        return f"{prompt.host}: {again}{text}\nTrust it and connect (yes/no)? "
    return f"{prompt.host}: {again}{text}{'' if text.endswith((':', '?')) else ':'} "
