"""Chooses hosts: one VM, or many at once. Filters, weighers, the best of those left; Nova's order.

One is as good as many: a request of many gives what asking one after the
other would, only quicker, and when that does not place all, the largest first
are tried before it is given up.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from virtfleet.decide.ask import Ask
from virtfleet.decide.filters import FILTERS
from virtfleet.decide.filters_room import pool_for
from virtfleet.decide.ledger import Bools, Ledger, Promise
from virtfleet.decide.question import Question
from virtfleet.decide.weighers import Multipliers, Rows, weigh
from virtfleet.errors import NoValidHostError

_SHOWN = 6
"""Hosts of a small fleet, each of which is told about."""
_NEAREST = 2


class Chosen(NamedTuple):
    host: str
    score: float
    fit: int
    """Hosts that could have taken it."""


def survivors(q: Question) -> Bools:
    """Hosts that pass every filter."""
    left = np.ones(len(q.ledger), bool)
    for each in FILTERS:
        mask = each.mask(q)
        if mask is not None:
            left &= mask
            if not left.any():
                break
    return left


def place(ledger: Ledger, ask: Ask, now: float, rng: random.Random | None = None) -> Chosen:
    """The host for one VM; nothing is reserved. `now`: CLOCK_MONOTONIC. NoValidHostError."""
    q = Question(ledger, ask, now)
    rows = np.flatnonzero(survivors(q))
    if not len(rows):
        raise no_host(q)
    return _best(q, rows, _multipliers_of(ledger), rng or _rng(ledger))


def place_many(
    ledger: Ledger,
    asks: Sequence[Ask],
    promises: Sequence[Promise],
    now: float,
    *,
    partial: bool = False,
    rng: random.Random | None = None,
) -> list[Chosen | None]:
    """Hosts for many VMs, each with those before it counted.

    `promises`: what each takes, its host and pool yet empty. All or nothing,
    unless `partial`: then None for what did not fit. The ledger is left as it
    was. NoValidHostError: of the first that did not fit.
    """
    rng = rng or _rng(ledger)
    order = range(len(asks))
    found, failed = _greedily(ledger, asks, promises, order, now, rng)
    if failed:
        # Large ones first: small ones find a place in what is left.
        by_size = sorted(order, key=lambda n: (-asks[n].memory, -asks[n].vcpus, n))
        again, fewer = _greedily(ledger, asks, promises, by_size, now, rng)
        if len(fewer) < len(failed):
            found, failed = again, fewer
    if failed and not partial:
        first = failed[min(failed)]
        placed = sum(each is not None for each in found)
        raise NoValidHostError(
            f"{placed} of {len(asks)} would find a place; {first.message}", first.refused, cure=first.cure
        )
    return found


def _greedily(
    ledger: Ledger,
    asks: Sequence[Ask],
    promises: Sequence[Promise],
    order: Sequence[int],
    now: float,
    rng: random.Random,
) -> tuple[list[Chosen | None], dict[int, NoValidHostError]]:
    """Where each goes in this order, and why those that have no place have none."""
    multipliers = _multipliers_of(ledger)
    found: list[Chosen | None] = [None] * len(asks)
    failed: dict[int, NoValidHostError] = {}
    standing: dict[Ask, Bools] = {}
    made: list[str] = []
    try:
        for number in order:
            ask = asks[number]
            q = Question(ledger, ask, now)
            # All that placing VMs does not change is asked once for all that ask for the same.
            alike = replace(ask, name="")
            if alike not in standing:
                standing[alike] = _masked(q._replace(ask=alike), changing=False)
            left = standing[alike] & _masked(q, changing=True)
            if ask.name and (taken := ledger.vm_names.get(ask.name)):
                left[list(taken)] = False
            rows = np.flatnonzero(left)
            if not len(rows):
                failed[number] = no_host(q)
                continue
            chosen = _best(q, rows, multipliers, rng)
            found[number] = chosen
            row = ledger.rows[chosen.host]
            promise = promises[number]._replace(host=chosen.host, pool=pool_for(q, row), specs=ask.specs)
            if ledger.promise(promise):
                made.append(promise.uuid)
    finally:
        for uuid in made:
            ledger.release(uuid)
    return found, failed


def _masked(q: Question, *, changing: bool) -> Bools:
    left = np.ones(len(q.ledger), bool)
    for each in FILTERS:
        if each.capacity is changing and (mask := each.mask(q)) is not None:
            left &= mask
    return left


def _best(q: Question, rows: Rows, multipliers: Multipliers, rng: random.Random) -> Chosen:
    scores = weigh(q, rows, multipliers)
    among = min(q.ledger.settings.scheduler.host_subset_size, len(rows))
    if among == 1:
        at = int(np.argmax(scores))
    else:
        # Stable: of equals the one that stands first in the fleet.
        at = int(np.argsort(-scores, kind="stable")[rng.randrange(among)])
    return Chosen(q.ledger.names[rows[at]], float(scores[at]), len(rows))


def no_host(q: Question) -> NoValidHostError:
    """Says which filters refused how many, and of a few hosts why."""
    left = np.ones(len(q.ledger), bool)
    refused: list[tuple[str, int]] = []
    examples: list[str] = []
    for each in FILTERS:
        mask = each.mask(q)
        if mask is None:
            continue
        out = np.flatnonzero(left & ~mask)
        if len(out):
            refused.append((each.name, len(out)))
            examples += [f"{q.ledger.names[row]}: {each.why(q, int(row))}" for row in out[:_SHOWN]]
        left &= mask
    if not refused:
        return NoValidHostError("no valid host: the fleet is empty")
    if len(q.ledger) <= _SHOWN:
        return NoValidHostError(f"no valid host: {'; '.join(examples)}", refused)
    words = ", ".join(f"{name} {count}" for name, count in refused)
    # The last to be asked came nearest.
    nearest = "; ".join(examples[-_NEAREST:])
    message = f"no valid host: refused by {words}; {nearest}"
    return NoValidHostError(message, refused, cure="`placement explain` shows each host")


def _multipliers_of(ledger: Ledger) -> Multipliers:
    return ledger.cached("multipliers", lambda: Multipliers(ledger))


def _rng(ledger: Ledger) -> random.Random:
    seed = ledger.settings.scheduler.seed
    return random.Random(seed)  # noqa: S311 - no secret
