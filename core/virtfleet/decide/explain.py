"""Why this host and not that: hosts × filters with the numbers, and what each weigher said.

Computed only when somebody looks; the answer is that of `place`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from virtfleet.decide.ask import Ask
from virtfleet.decide.filters import FILTERS
from virtfleet.decide.ledger import Ledger
from virtfleet.decide.question import Question
from virtfleet.decide.weighers import Multipliers, parts


class Refusal(NamedTuple):
    filter: str
    why: str
    mend: str
    """What would make it fit; empty: nothing that can be done to the host."""


class HostCase(NamedTuple):
    host: str
    zone: str
    refusals: tuple[Refusal, ...]
    """All filters that refuse it, in their order; none: it fits."""
    score: float | None
    weights: tuple[tuple[str, float], ...]
    """What each weigher adds to the score."""


class Explanation(NamedTuple):
    filters: tuple[str, ...]
    """Those that the question concerns."""
    cases: tuple[HostCase, ...]
    """Best first, then those that are refused, the nearest to fitting first."""
    winner: str
    """Empty: no host fits."""


def explain(ledger: Ledger, ask: Ask, now: float) -> Explanation:
    """`now`: CLOCK_MONOTONIC."""
    q = Question(ledger, ask, now)
    masks = [(each, mask) for each in FILTERS if (mask := each.mask(q)) is not None]
    left = np.ones(len(ledger), bool)
    for _, mask in masks:
        left &= mask
    rows = np.flatnonzero(left)
    weights = parts(q, rows, ledger.cached("multipliers", lambda: Multipliers(ledger))) if len(rows) else []
    fitting = [
        HostCase(
            host=ledger.names[row],
            zone=ledger.hosts[row].zone,
            refusals=(),
            score=float(sum(part[at] for _, part in weights)),
            weights=tuple((weigher.name, float(part[at])) for weigher, part in weights),
        )
        for at, row in enumerate(rows)
    ]
    fitting.sort(key=lambda case: -(case.score or 0.0))
    refused = [
        HostCase(
            host=ledger.names[row],
            zone=ledger.hosts[row].zone,
            refusals=tuple(
                Refusal(each.name, each.why(q, int(row)), each.mend(q, int(row)))
                for each, mask in masks
                if not mask[row]
            ),
            score=None,
            weights=(),
        )
        for row in np.flatnonzero(~left)
    ]
    refused.sort(key=lambda case: len(case.refusals))
    return Explanation(
        filters=tuple(each.name for each, _ in masks),
        cases=(*fitting, *refused),
        winner=fitting[0].host if fitting else "",
    )
