"""Questions of all workers, waiting for a person; answered once per identity and not once per host.

A hundred hosts that need the passphrase of one key ask a hundred times. The
person answers once: the answer goes to everybody who waits with the same
identity, and is kept in memory (nowhere else) for those who ask later and for
workers that are started again.

A wrong answer comes back as `retry`. Then the remembered one is forgotten and
the person is asked again, but only if that host was given the newest answer:
of a hundred hosts that all failed with the first password, the slow ones must
not throw away the second, which may be right. Each host so tries each answer
at most once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count

import msgspec

from virtfleet.model import Prompt, PromptKind

_log = logging.getLogger(__name__)

OnAnswer = Callable[[str, int, str | None], None]
"""(host, the worker's own prompt id, the answer or None for "there is none")."""

_Identity = tuple[PromptKind, str]


class _Answer:
    """A remembered answer. It has no repr that tells, and no way into a log."""

    __slots__ = ("serial", "text")

    def __init__(self, serial: int, text: str) -> None:
        self.serial = serial
        self.text = text

    def __repr__(self) -> str:
        return f"<answer {self.serial}>"


class _Waiting:
    __slots__ = ("asked", "shown")

    def __init__(self, asked: Prompt, shown: Prompt) -> None:
        self.asked = asked
        """As the worker sent it: its id is the worker's own."""
        self.shown = shown
        """As faces see it: its id is unique in this queue."""


class PromptQueue:
    """To be used from one thread. Without `interactive`, every question is answered None at once."""

    def __init__(self, *, interactive: bool = True) -> None:
        self.interactive = interactive
        self._deliver: OnAnswer | None = None
        self._ids = count(1)
        self._serials = count(1)
        self._waiting: dict[tuple[str, int], _Waiting] = {}
        self._remembered: dict[_Identity, _Answer] = {}
        self._declined: dict[_Identity, set[str]] = {}
        """Hosts whose question was declined, and that are refused for it until they are tried again."""
        self._try_again: Callable[[str], None] | None = None
        self._given: dict[tuple[str, _Identity], int] = {}
        """Serial of the last answer that each host was given."""
        self._subscribers: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"PromptQueue(pending={len(self._waiting)}, remembered={len(self._remembered)})"

    # ---- for faces

    @property
    def pending(self) -> tuple[Prompt, ...]:
        """Questions without an answer, oldest first; `id` is what `answer` takes."""
        return tuple(waiting.shown for waiting in self._waiting.values())

    def sharing(self, prompt_id: int) -> tuple[str, ...]:
        """Hosts that one answer to this question would serve, in the order they asked."""
        return tuple(waiting.asked.host for waiting in self._same(prompt_id))

    def answer(self, prompt_id: int, text: str | None) -> bool:
        """Answer a question, and all that wait with the same identity. None declines; that is not remembered.

        False: it is no longer pending (the host went away while the person typed).
        """
        same = self._same(prompt_id)
        if not same:
            return False
        identity = _identity(same[0].asked)
        serial = 0
        if text is not None and identity is not None:
            serial = next(self._serials)
            self._remembered[identity] = _Answer(serial, text)
        for waiting in same:
            del self._waiting[waiting.asked.host, waiting.asked.id]
        for waiting in same:
            self._give(waiting.asked, text, serial)
        if identity is not None:
            self._settle(identity, {waiting.asked.host for waiting in same}, declined=text is None)
        self._changed()
        return True

    def _settle(self, identity: _Identity, hosts: set[str], *, declined: bool) -> None:
        """What was declined first and answered later is answered for all who had asked."""
        if declined:
            self._declined.setdefault(identity, set()).update(hosts)
            return
        for host in self._declined.pop(identity, set()) - hosts:
            if self._try_again is not None:
                self._try_again(host)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever `pending` changed; returns the way out."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    # ---- for the supervisor

    def answers(self, on_answer: OnAnswer) -> None:
        """Register who carries answers to the workers. It is called in `ask` too, so it must only send."""
        self._deliver = on_answer

    def retries(self, try_again: Callable[[str], None]) -> None:
        """Register who has a host tried again whose question, declined once, was now answered for another."""
        self._try_again = try_again

    def ask(self, prompt: Prompt) -> None:
        """A worker asks. Answered at once if the answer is known or nobody is there to ask."""
        if not self.interactive:
            self._give(prompt, None, 0)
            return
        identity = _identity(prompt)
        known = self._remembered.get(identity) if identity is not None else None
        if known is not None and identity is not None:
            tried = self._given.get((prompt.host, identity), 0) >= known.serial
            if not (prompt.retry and tried):
                self._give(prompt, known.text, known.serial)
                return
            del self._remembered[identity]
        key = (prompt.host, prompt.id)
        self._waiting.pop(key, None)
        self._waiting[key] = _Waiting(prompt, msgspec.structs.replace(prompt, id=next(self._ids)))
        self._changed()

    def gone(self, host: str, prompt_id: int) -> None:
        """The worker no longer needs an answer to its question `prompt_id`."""
        if self._waiting.pop((host, prompt_id), None) is not None:
            self._changed()

    def drop_host(self, host: str) -> None:
        """The worker of this host is gone, and its questions with it. What was remembered stays."""
        keys = [key for key in self._waiting if key[0] == host]
        for key in keys:
            del self._waiting[key]
        for given in [given for given in self._given if given[0] == host]:
            del self._given[given]
        if keys:
            self._changed()

    # ---- inside

    def _same(self, prompt_id: int) -> list[_Waiting]:
        first = next((w for w in self._waiting.values() if w.shown.id == prompt_id), None)
        if first is None:
            return []
        identity = _identity(first.asked)
        if identity is None:
            return [first]
        return [w for w in self._waiting.values() if _identity(w.asked) == identity]

    def _give(self, prompt: Prompt, text: str | None, serial: int) -> None:
        if self._deliver is None:
            raise RuntimeError("PromptQueue.answers() was not called")
        identity = _identity(prompt)
        if serial and identity is not None:
            self._given[prompt.host, identity] = serial
        self._deliver(prompt.host, prompt.id, text)

    def _changed(self) -> None:
        for callback in tuple(self._subscribers):
            try:
                callback()
            except Exception:
                _log.exception("a subscriber of prompts failed")


def _identity(prompt: Prompt) -> _Identity | None:
    """With the kind: a key's passphrase must never be offered as somebody's password."""
    return (prompt.kind, prompt.identity) if prompt.identity else None
