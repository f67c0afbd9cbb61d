"""What became of a migration: the measured cases, and that nothing is ever resumed that may run elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtfleet.decide.recovery import Outcome, Side, may_resume, outcome
from virtfleet.model import VmState

ABSENT = Side(present=False)
RUNS = Side(present=True, state=VmState.RUNNING, reason="booted")
ARRIVED = Side(present=True, state=VmState.RUNNING, reason="migrated")
HELD = Side(present=True, state=VmState.PAUSED, reason="migrating")
COMING = Side(present=True, state=VmState.PAUSED, reason="migrating", job="in")
SENDING = Side(present=True, state=VmState.RUNNING, reason="booted", job="out")
SWITCHED = Side(present=True, state=VmState.PAUSED, reason="postcopy")
BY_HAND = Side(present=True, state=VmState.PAUSED, reason="user")
OFF = Side(present=True)


@pytest.mark.parametrize(
    ("source", "destination", "found"),
    [
        # Killed before or during Perform: the source runs on.
        (RUNS, ABSENT, Outcome.STAYED),
        (RUNS, None, Outcome.STAYED),
        (BY_HAND, ABSENT, Outcome.STAYED),
        (RUNS, OFF, Outcome.STAYED),
        (SENDING, COMING, Outcome.UNDER_WAY),
        (SENDING, None, Outcome.UNDER_WAY),
        # Killed before Finish: paused here, and nowhere else.
        (HELD, ABSENT, Outcome.STRANDED),
        (HELD, OFF, Outcome.STRANDED),
        (HELD, COMING, Outcome.UNCLEAR),
        # Killed before Confirm: paused here, and it runs there.
        (HELD, ARRIVED, Outcome.LEFT_BEHIND),
        (HELD, BY_HAND, Outcome.LEFT_BEHIND),
        (OFF, ARRIVED, Outcome.LEFT_BEHIND),
        (ABSENT, ARRIVED, Outcome.MOVED),
        (ABSENT, OFF, Outcome.MOVED),
        (OFF, ABSENT, Outcome.STOPPED),
        (ABSENT, ABSENT, Outcome.GONE),
        (ABSENT, COMING, Outcome.UNCLEAR),
        (RUNS, ARRIVED, Outcome.TWICE),
        # After the switch of a post-copy the newest memory is over there.
        (SWITCHED, ABSENT, Outcome.UNCLEAR),
        # Out of reach: wait.
        (HELD, None, Outcome.UNCLEAR),
        (ABSENT, None, Outcome.UNCLEAR),
        (OFF, None, Outcome.UNCLEAR),
        (None, ARRIVED, Outcome.UNCLEAR),
        (None, None, Outcome.UNCLEAR),
    ],
)
def test_both_sides_decide(source: Side | None, destination: Side | None, found: Outcome) -> None:
    assert outcome(source, destination) is found


@pytest.mark.parametrize(
    ("source", "destination", "found"),
    [
        (OFF, ABSENT, Outcome.STAYED),
        (OFF, OFF, Outcome.LEFT_BEHIND),
        (ABSENT, OFF, Outcome.MOVED),
        (ABSENT, ABSENT, Outcome.GONE),
        (OFF, None, Outcome.UNCLEAR),
        (None, OFF, Outcome.UNCLEAR),
        # Somebody started it meanwhile.
        (RUNS, ABSENT, Outcome.STAYED),
    ],
)
def test_of_one_that_is_off_the_definitions_decide(
    source: Side | None, destination: Side | None, found: Outcome
) -> None:
    assert outcome(source, destination, off=True) is found


REASONS = ("", "booted", "user", "migrating", "migrated", "starting-up", "postcopy", "postcopy-failed")
SIDES = st.none() | st.builds(
    Side,
    present=st.booleans(),
    state=st.sampled_from(VmState),
    reason=st.sampled_from(REASONS),
    job=st.sampled_from(("", "in", "out", "other")),
)


@settings(max_examples=300)
@given(source=SIDES, destination=SIDES, off=st.booleans())
def test_what_lives_elsewhere_is_never_resumed_and_what_runs_never_removed(
    source: Side | None, destination: Side | None, off: bool
) -> None:
    found = outcome(source, destination, off=off)
    if found is Outcome.STRANDED:
        assert source is not None
        assert (source.state, source.reason) == (VmState.PAUSED, "migrating")
        assert destination is not None
        assert not (destination.present and destination.state.active)
    if found is Outcome.LEFT_BEHIND:
        assert source is not None
        assert source.present
        assert not source.lives
        assert destination is not None
        assert destination.present
        assert destination.lives or off
    if source is None:
        assert found is Outcome.UNCLEAR


@pytest.mark.parametrize("reason", REASONS)
def test_by_hand_only_what_stands_in_no_migration_is_resumed(reason: str) -> None:
    assert may_resume(VmState.PAUSED, reason) is (reason not in ("migrating", "postcopy", "postcopy-failed"))
    assert may_resume(VmState.RUNNING, reason)
