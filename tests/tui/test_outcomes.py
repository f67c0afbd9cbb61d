"""What is said when jobs have ended, and how lines with a sign are broken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from textual.content import Content

from virtfleet.model.action import StartVm, VmRef
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan
from virtfleet_tui.outcomes import outcome, to_be_told
from virtfleet_tui.widgets.hanging import Line


def job(number: int, state: JobState, *, batch: str = "", error: str = "", origin: str = "console") -> Job:
    name = f"vm-{number}"
    plan = Plan(
        action=StartVm(vm=VmRef("hv1", str(number), name)), title=f"start {name} on hv1", verb="vm.start"
    )
    return Job(id=str(number), plan=plan, state=state, batch=batch, error=error, origin=origin)


def test_one_job_is_told_by_its_title() -> None:
    done, failed = job(1, JobState.DONE), job(2, JobState.FAILED, error="hv1 is gone")
    assert outcome(done, [done, failed]) == ("done: start vm-1 on hv1", "good")
    assert outcome(failed, [done, failed]) == ("failed: start vm-2 on hv1: hv1 is gone", "bad")
    assert outcome(job(3, JobState.CANCELLED), []) == ("cancelled: start vm-3 on hv1", "warning")


def test_jobs_of_one_batch_are_counted_and_the_first_that_failed_is_named() -> None:
    mates = [
        job(1, JobState.DONE, batch="b"),
        job(2, JobState.DONE, batch="b"),
        job(3, JobState.RUNNING, batch="b"),
    ]
    others = [job(9, JobState.FAILED, batch="c"), job(10, JobState.FAILED)]
    assert outcome(mates[0], [*mates, *others]) == ("2 of 3 done, 1 under way", "busy")
    mates[2] = replace(mates[2], state=JobState.FAILED, error="no room")
    words, meaning = outcome(mates[0], [*mates, *others])
    assert words == "2 of 3 done, 1 not (8 shows them): failed: start vm-3 on hv1: no room"
    assert meaning == "bad"


@pytest.mark.parametrize(
    ("state", "origin", "told"),
    [
        (JobState.DONE, "console", True),
        (JobState.DONE, "console, 10.0.0.1", True),
        (JobState.DONE, "undo of 1234", True),
        (JobState.DONE, "command line", False),
        (JobState.RUNNING, "console", False),
        (JobState.INTERRUPTED, "console", False),
    ],
)
def test_only_the_end_of_what_was_asked_for_at_a_console_is_told(
    state: JobState, origin: str, told: bool
) -> None:
    one = replace(job(1, state, origin=origin), ended=100.0)
    assert to_be_told(one, 99.0) is told
    assert not to_be_told(one, 101.0), "it ended before this console began"


@settings(max_examples=60)
@given(
    words=st.lists(st.text("abcdeé漢", min_size=1, max_size=9), min_size=1, max_size=20),
    width=st.integers(20, 60),
)
def test_lines_go_on_under_their_text_and_lose_no_word(words: list[str], width: int) -> None:
    pieces = [piece.plain for piece in Line(Content("  !  "), Content(" ".join(words))).wrapped(width)]
    assert all(Content(piece).cell_length <= width for piece in pieces)
    assert pieces[0].startswith("  !  ")
    assert all(piece.startswith("     ") for piece in pieces[1:])
    assert " ".join(piece[5:].strip() for piece in pieces).split() == words
