"""The form of a question to the placement, and of a rule that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from virtfleet.decide.ask import Ask
from virtfleet.decide.ledger import Bools, Floats, Ledger


class Question(NamedTuple):
    """`now` is CLOCK_MONOTONIC."""

    ledger: Ledger
    ask: Ask
    now: float


Mask = Callable[[Question], Bools | None]
Words = Callable[[Question, int], str]


class Filter(NamedTuple):
    name: str
    doc: str
    mask: Mask
    why: Words
    """With the numbers: needs 8 GiB, free 5.2 of 64."""
    mend: Words
    """What would make the host fit; empty: nothing that can be done to the host."""
    capacity: bool = False
    """Whether placing VMs changes the answer."""


def members_of(ledger: Ledger, ask: Ask) -> Floats:
    """Members of the group on each host, the VM that is moving not among them."""
    found = ledger.groups.get(ask.group)
    members = np.zeros(len(ledger)) if found is None else found.astype(float)
    if ask.moving:
        for row in ledger.vms.get(ask.moving, ()):
            place = ledger.info_at(row, ask.moving)
            if place is not None and place.group == ask.group:
                members[row] -= 1
    return members
