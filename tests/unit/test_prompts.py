"""Questions and answers: once per identity, never twice the same wrong answer, never shown in a log."""

from __future__ import annotations

import logging

import pytest

from virtfleet.fleet.prompts import PromptQueue
from virtfleet.model import Prompt, PromptKind

SECRET = "correct horse"


class Desk:
    """A queue with a supervisor that notes what it would have sent."""

    def __init__(self, *, interactive: bool = True) -> None:
        self.queue = PromptQueue(interactive=interactive)
        self.sent: list[tuple[str, int, str | None]] = []
        self.changes = 0
        self.queue.answers(lambda host, prompt, text: self.sent.append((host, prompt, text)))
        self.queue.subscribe(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    @property
    def hosts(self) -> list[str]:
        """Whose questions are pending."""
        return [prompt.host for prompt in self.queue.pending]

    def ask(
        self,
        host: str,
        prompt_id: int = 1,
        identity: str = "~/.ssh/id_ed25519",
        *,
        kind: PromptKind = PromptKind.PASSPHRASE,
        retry: bool = False,
    ) -> None:
        self.queue.ask(Prompt(prompt_id, host, kind, f"passphrase, {host}?", identity=identity, retry=retry))

    def answer_first(self, text: str | None) -> bool:
        return self.queue.answer(self.queue.pending[0].id, text)


def test_an_answer_goes_to_all_who_wait_with_the_same_identity() -> None:
    desk = Desk()
    desk.ask("hv1", 1)
    desk.ask("hv2", 1)
    desk.ask("hv3", 4, "other key")
    first = desk.queue.pending[0]
    assert desk.hosts == ["hv1", "hv2", "hv3"]
    assert len({p.id for p in desk.queue.pending}) == 3
    assert desk.queue.sharing(first.id) == ("hv1", "hv2")
    assert desk.queue.answer(first.id, SECRET)
    assert desk.sent == [("hv1", 1, SECRET), ("hv2", 1, SECRET)]
    assert desk.hosts == ["hv3"]
    assert desk.changes == 4


def test_it_is_remembered_for_later_hosts_and_respawned_workers() -> None:
    desk = Desk()
    desk.ask("hv1")
    desk.answer_first(SECRET)
    desk.ask("hv2", 9)
    desk.queue.drop_host("hv1")
    desk.ask("hv1", 1)
    assert desk.sent[1:] == [("hv2", 9, SECRET), ("hv1", 1, SECRET)]
    assert desk.hosts == []


def test_without_identity_each_question_is_its_own() -> None:
    desk = Desk()
    desk.ask("hv1", 1, "")
    desk.ask("hv2", 1, "")
    desk.answer_first("one")
    assert desk.hosts == ["hv2"]
    desk.ask("hv1", 2, "")
    assert len(desk.queue.pending) == 2
    assert desk.sent == [("hv1", 1, "one")]


def test_the_kind_belongs_to_the_identity() -> None:
    desk = Desk()
    desk.ask("hv1", identity="root@hv", kind=PromptKind.PASSPHRASE)
    desk.answer_first(SECRET)
    desk.ask("hv1", 2, "root@hv", kind=PromptKind.PASSWORD)
    (prompt,) = desk.queue.pending
    assert prompt.kind == PromptKind.PASSWORD


def test_a_wrong_answer_is_forgotten_and_asked_again() -> None:
    desk = Desk()
    desk.ask("hv1", 1)
    desk.answer_first("wrong")
    desk.ask("hv1", 2, retry=True)
    assert [(p.host, p.retry) for p in desk.queue.pending] == [("hv1", True)]
    desk.ask("hv2", 1)
    assert len(desk.queue.pending) == 2, "the wrong answer must not reach another host"
    desk.answer_first(SECRET)
    assert desk.sent == [("hv1", 1, "wrong"), ("hv1", 2, SECRET), ("hv2", 1, SECRET)]


def test_a_slow_host_that_failed_with_the_old_answer_gets_the_new_one() -> None:
    desk = Desk()
    desk.ask("hv1", 1)
    desk.ask("hv2", 1)
    desk.answer_first("wrong")
    desk.ask("hv1", 2, retry=True)
    desk.answer_first(SECRET)
    desk.ask("hv2", 2, retry=True)
    assert desk.hosts == []
    assert desk.sent[-1] == ("hv2", 2, SECRET)
    desk.ask("hv2", 3, retry=True)
    assert desk.hosts == ["hv2"], "each host tries each answer once"


def test_declining_serves_all_who_wait_but_is_not_remembered() -> None:
    desk = Desk()
    desk.ask("hv1")
    desk.ask("hv2")
    assert desk.answer_first(None)
    assert desk.sent == [("hv1", 1, None), ("hv2", 1, None)]
    desk.ask("hv1", 2)
    assert desk.hosts == ["hv1"]


def test_an_empty_answer_is_an_answer() -> None:
    desk = Desk()
    desk.ask("hv1")
    desk.answer_first("")
    desk.ask("hv2")
    assert desk.sent == [("hv1", 1, ""), ("hv2", 1, "")]


def test_questions_of_workers_that_went_away_are_no_longer_pending() -> None:
    desk = Desk()
    desk.ask("hv1", 1, "a")
    desk.ask("hv1", 2, "b")
    desk.ask("hv2", 1, "c")
    gone = desk.queue.pending[0].id
    desk.queue.gone("hv1", 1)
    desk.queue.gone("hv1", 1)
    assert not desk.queue.answer(gone, SECRET)
    desk.queue.drop_host("hv1")
    desk.queue.drop_host("hv1")
    assert desk.hosts == ["hv2"]
    assert desk.sent == []
    assert desk.changes == 5


def test_a_worker_that_asks_the_same_id_again_asks_once() -> None:
    desk = Desk()
    desk.ask("hv1", 1, "a")
    desk.ask("hv1", 1, "b")
    assert len(desk.queue.pending) == 1
    desk.answer_first(SECRET)
    assert desk.sent == [("hv1", 1, SECRET)]


def test_without_a_person_the_answer_is_none_at_once() -> None:
    desk = Desk(interactive=False)
    desk.ask("hv1", 3)
    assert desk.sent == [("hv1", 3, None)]
    assert desk.hosts == []
    assert desk.changes == 0


def test_a_subscriber_may_answer_while_it_is_told() -> None:
    desk = Desk()

    def at_once() -> None:
        for prompt in desk.queue.pending:
            desk.queue.answer(prompt.id, SECRET)

    leave = desk.queue.subscribe(at_once)
    desk.ask("hv1")
    assert desk.sent == [("hv1", 1, SECRET)]
    leave()
    desk.ask("hv2", 1, "other")
    assert len(desk.queue.pending) == 1


def test_secrets_are_in_no_repr_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desk = Desk()

    def broken() -> None:
        raise RuntimeError("broken")

    desk.queue.subscribe(broken)
    desk.ask("hv1")
    desk.answer_first(SECRET)
    desk.ask("hv2")
    assert "a subscriber of prompts failed" in caplog.text
    seen = caplog.text + repr(desk.queue) + repr(vars(desk.queue)) + repr(desk.queue.pending)
    assert SECRET not in seen


def test_what_was_declined_and_is_answered_later_is_tried_again_for_all_who_had_asked() -> None:
    desk, again = Desk(), list[str]()
    desk.queue.retries(again.append)
    key = "SHA256:abc"
    for host in ("hv1", "hv2", "hv3"):
        desk.ask(host, 1, key, kind=PromptKind.HOST_KEY)
    desk.ask("hv9", 1, "SHA256:other", kind=PromptKind.HOST_KEY)
    desk.answer_first(None)
    assert again == []
    desk.ask("hv1", 2, key, kind=PromptKind.HOST_KEY)
    desk.queue.answer(desk.queue.pending[-1].id, "yes")
    assert sorted(again) == ["hv2", "hv3"]
    desk.ask("hv1", 3, key, kind=PromptKind.HOST_KEY)
    assert sorted(again) == ["hv2", "hv3"], "only once"
