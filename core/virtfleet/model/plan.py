"""What will be done, said before anything is: steps, what must hold, what it changes, and why so.

A plan is a value. It prints the same as a table, as JSON and in a dialog, and
it is what the journal keeps: after a crash its steps are resumed or undone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from virtfleet.model.action import Action
from virtfleet.model.project import Claim


class Danger(StrEnum):
    NONE = "none"
    """Done at once when asked for: start, tag, resume."""
    CONFIRM = "confirm"
    """The plan is shown first: a guest is interrupted, or something is not easily undone."""
    IRREVERSIBLE = "irreversible"
    """Data is lost: the name must be typed, or --yes given."""


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """An operation on the step's host that takes back what the step did. It must cope with a step that was
    begun and perhaps not done: then `uncertain` is true in its call and there is no result to refer to."""

    op: str
    args: dict[str, Any] = {}
    title: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of hypervisor/acts on one host.

    An argument may be `{"$from": STEP, "key": KEY}`: a value of the result (a
    mapping) of an earlier step; in `undo` also of the step itself.
    """

    id: str
    """Unique in its plan."""
    op: str
    host: str
    title: str
    """For people: "create volume web-01.qcow2 in pool default"."""
    args: dict[str, Any] = {}
    timeout: float = 30.0
    """Seconds; of a long operation: without progress."""
    undo: Undo | None = None
    final: bool = False
    """Once begun, the job can't be undone any more, only resumed: data is being deleted."""
    bytes: int = 0
    """What it moves, about, so that progress and ETA weigh the steps rightly."""
    pool: str = ""
    """The pool whose limit of transfers it counts for."""
    lock: str = ""
    """Steps of all jobs with the same word here run one after another (the same image to the same pool)."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Something that held when the plan was made and must hold when it is applied; checked by
    actions/conditions.py. `kind` says what the other fields mean."""

    kind: str
    host: str = ""
    uuid: str = ""
    name: str = ""
    value: Any = None
    text: str = ""
    """For people: "web-01 is shut off"."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """A figure before and after: free memory of hv1, room in pool ssd."""

    what: str
    """host hv1 memory promised, pool default@hv1 free, vm web-01 vcpus ..."""
    unit: str = ""
    """bytes, vcpus, state, "" for text."""
    before: Any = None
    after: Any = None
    limit: Any = None
    """What it may be at most, where there is a most."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was chosen, or what should be known."""

    text: str
    warning: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    action: Action
    title: str
    """One line: "create web-01 on hv2 from debian12"."""
    verb: str
    """vm.create ..."""
    kind: str = "vm"
    host: str = ""
    uuid: str = ""
    name: str = ""
    """The object that it is about; for `Danger.IRREVERSIBLE` what must be typed."""
    steps: tuple[Step, ...] = ()
    """None: there is nothing to do, and `reasons` says why."""
    conditions: tuple[Condition, ...] = ()
    effects: tuple[Effect, ...] = ()
    reasons: tuple[Reason, ...] = ()
    claims: tuple[Claim, ...] = ()
    """What its project's quota must have room for."""
    danger: Danger = Danger.NONE
    made: float = 0.0
    """Unix time."""

    @property
    def bytes(self) -> int:
        return sum(step.bytes for step in self.steps)
