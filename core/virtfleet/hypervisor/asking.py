"""Questions to a person, asked from whichever thread needs the answer.

The thread waits; the loop goes on. While a question is open the host's state
is *asking* and deadlines are patient: a person at a keyboard is not a timeout.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable

from virtfleet.hypervisor import wire
from virtfleet.model import Prompt, PromptKind
from virtfleet.model.text import clean


class Asker:
    """`asked` is called in the loop when the first question opens and when the last one closes."""

    def __init__(
        self, host: str, send: Callable[[wire.FromWorker], None], asked: Callable[[str], None]
    ) -> None:
        self._host = host
        self._send = send
        self._asked = asked
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[int, tuple[threading.Event, list[str | None]]] = {}

    @property
    def asking(self) -> bool:
        return bool(self._open)

    def ask(
        self, kind: PromptKind, text: str, *, secret: bool = True, identity: str = "", retry: bool = False
    ) -> str | None:
        """Blocks until a person answered; None: declined, or nobody is there. Not from the loop's thread."""
        answered = threading.Event()
        slot: list[str | None] = [None]
        with self._lock:
            number = next(self._ids)
            self._open[number] = (answered, slot)
        prompt = Prompt(number, self._host, kind, clean(text, 2000), secret, identity, retry)
        self._loop.call_soon_threadsafe(self._announce, prompt)
        answered.wait()
        return slot[0]

    def answer(self, number: int, text: str | None) -> None:
        """Hands an answer to the thread that waits for it."""
        with self._lock:
            entry = self._open.pop(number, None)
        if entry is None:
            return
        answered, slot = entry
        slot[0] = text
        answered.set()
        if not self._open:
            self._asked("")

    def abandon(self) -> None:
        """Answers every open question with None: the connection they were for is gone."""
        for number in list(self._open):
            self.answer(number, None)
            self._send(wire.PromptGone(number))

    def _announce(self, prompt: Prompt) -> None:
        if prompt.id in self._open:
            self._asked(prompt.text)
            self._send(wire.Asks(prompt))
