"""Questions on a terminal: a real pseudo-terminal, a real queue."""

from __future__ import annotations

import asyncio
import os
import pty
import termios
from collections.abc import AsyncIterator, Callable

import pytest

from virtfleet.fleet.prompts import PromptQueue
from virtfleet.headless.asking import Asker
from virtfleet.model import Prompt, PromptKind


class Person:
    """Whoever sits at the other end of the terminal."""

    def __init__(self) -> None:
        self.end, self.terminal = pty.openpty()
        os.set_blocking(self.end, False)
        self.seen = ""
        self.answers: list[tuple[str, int, str | None]] = []
        self.queue = PromptQueue()
        self.queue.answers(lambda host, number, text: self.answers.append((host, number, text)))
        self.asker = Asker(os.dup(self.terminal))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                try:
                    self.seen += os.read(self.end, 4096).decode()
                except BlockingIOError:
                    await asyncio.sleep(0.01)

    async def reads(self, text: str) -> None:
        await self.until(lambda: text in self.seen)

    def types(self, text: str) -> None:
        os.write(self.end, text.encode())

    def echo(self) -> bool:
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    made = Person()
    made.asker.serve(made.queue)
    yield made
    made.asker.close()
    os.close(made.end)
    os.close(made.terminal)


def password(number: int, host: str = "hv1", identity: str = "") -> Prompt:
    return Prompt(
        number, host, PromptKind.PASSWORD, "Password of root@hv1", identity=identity or f"{host}{number}"
    )


async def test_a_password_is_asked_without_echo_and_delivered(person: Person) -> None:
    person.queue.ask(password(7))
    await person.reads("hv1: Password of root@hv1: ")
    assert not person.echo()
    person.types("s3cret\n")
    await person.until(lambda: bool(person.answers))
    assert person.answers == [("hv1", 7, "s3cret")]
    assert person.echo()
    assert "s3cret" not in person.seen


async def test_a_host_key_wants_the_word(person: Person) -> None:
    text = "The key of hv1 is not known: SHA256:abc"
    person.queue.ask(Prompt(1, "hv1", PromptKind.HOST_KEY, text, secret=False))
    await person.reads(f"hv1: {text}\r\nTrust it and connect (yes/no)? ")
    assert person.echo()
    person.types("y\n")
    await person.reads("Please type yes or no: ")
    assert person.answers == []
    person.types("YES\n")
    await person.until(lambda: bool(person.answers))
    assert person.answers == [("hv1", 1, "yes")]


async def test_no_is_no_answer(person: Person) -> None:
    person.queue.ask(Prompt(1, "hv1", PromptKind.HOST_KEY, "?", secret=False))
    await person.reads("(yes/no)? ")
    person.types("no\n")
    await person.until(lambda: bool(person.answers))
    assert person.answers == [("hv1", 1, None)]


async def test_end_of_file_declines(person: Person) -> None:
    person.queue.ask(password(1))
    await person.reads(": ")
    person.types("\x04")
    await person.until(lambda: bool(person.answers))
    assert person.answers == [("hv1", 1, None)]


async def test_one_question_at_a_time_and_one_answer_for_all_who_share_it(person: Person) -> None:
    for number, host in enumerate(("hv1", "hv2", "hv3")):
        person.queue.ask(password(number, host, identity="key" if host != "hv3" else "other"))
    await person.reads("hv1: ")
    person.types("one\n")
    await person.reads("hv3: ")
    assert "hv2" not in person.seen
    person.types("two\n")
    await person.until(lambda: len(person.answers) == 3)
    assert person.answers == [("hv1", 0, "one"), ("hv2", 1, "one"), ("hv3", 2, "two")]


async def test_a_question_that_is_gone_leaves_the_terminal(person: Person) -> None:
    person.queue.ask(password(1))
    await person.reads("hv1: ")
    person.queue.gone("hv1", 1)
    await person.reads("(no longer needed)")
    assert person.echo()
    assert person.answers == []


async def test_closing_restores_the_echo(person: Person) -> None:
    person.queue.ask(password(1))
    await person.reads("hv1: ")
    assert not person.echo()
    fd = os.dup(person.terminal)
    person.asker.close()
    assert person.echo()
    person.asker = Asker(fd)
