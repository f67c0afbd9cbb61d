"""Which pool a volume goes to: Cinder's filters and weigher over all pools at once, and our guard on what is
physically left. Pure.

Words and sums are Cinder's:

    reserved  = floor(total × reserved %)          available = total − reserved
    thin      passes if (provisioned + size) / available ≤ ratio and available × ratio − provisioned ≥ size
    thick     passes if min(free, available − provisioned) ≥ size
    unknown   passes if nothing is to be reserved of it, and weighs least
    growing   asks for new − old; the storage that a volume is in already passes always

Cinder's thin path never looks at what is written. Here a storage that is fuller than `full_at` takes nothing.
A storage that several hosts see is one: of what they say of it the worse counts, and it is offered once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from virtfleet.config.settings import VolumeType, VolumeWeights
from virtfleet.decide.pool_table import CREATES, PoolTable
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
_PLAIN = VolumeWeights()


class VolumeAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What a volume needs. Empty: any."""

    size: int
    """Bytes that it will have; of one that grows, by how much."""
    kind: VolumeType = VolumeType()
    type: str = ""
    """How the fleet file calls `kind`."""
    hosts: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    """HOST/POOL that were tried in vain."""
    present: str = ""
    """Identity of the storage that it is in."""
    project: str = "default"
    promised: Mapping[str, int] = {}
    """Bytes promised of a storage that no host shows yet, by identity."""
    exists: bool = False
    """It is there and only grows: a pool that can't make volumes is no obstacle."""


class Choice(NamedTuple):
    host: str
    pool: str
    identity: str
    score: float


class Refusal(NamedTuple):
    filter: str
    why: str


class PoolCase(NamedTuple):
    host: str
    pool: str
    refusals: tuple[Refusal, ...]
    """None: it fits."""
    score: float | None
    weights: tuple[tuple[str, float], ...]


class Question:
    """One volume against a table, with what several filters need."""

    def __init__(self, table: PoolTable, ask: VolumeAsk) -> None:
        self.table, self.ask = table, ask
        extra = np.zeros(len(table))
        for identity, size in ask.promised.items():
            for row in table.of_identity.get(identity, ()):
                extra[row] += size
        self.extra = extra
        self.provisioned: Floats = table.provisioned + extra
        self.reserved: Floats = np.floor(table.total * ask.kind.reserved_percentage / 100)
        self.available: Floats = table.total - self.reserved
        self.thin: Bools = table.thin if ask.kind.provisioning == "thin" else np.zeros(len(table), bool)
        self.unknown: Bools = np.isnan(table.total) | np.isnan(table.free)

    @cached_property
    def room(self) -> Floats:
        """Bytes that may still be asked for; NaN: unknown."""
        virtual = self.available * self.ask.kind.max_over_subscription - self.provisioned
        physical = np.minimum(self.table.free - self.extra, self.available - self.provisioned)
        return np.where(self.unknown, np.nan, np.where(self.thin, virtual, physical))

    @cached_property
    def present(self) -> Bools:
        """Rows of the storage that it is in."""
        found = np.zeros(len(self.table), bool)
        if self.ask.present:
            found[list(self.table.of_identity.get(self.ask.present, ()))] = True
        return found


class Filter(NamedTuple):
    name: str
    doc: str
    mask: Callable[[Question], Bools]
    """For every pool whether it passes."""
    why: Callable[[Question, int], str]
    """In words, why a pool does not."""


# ---- filters


def _up(q: Question) -> Bools:
    return q.table.up


def _named(q: Question) -> Bools:
    ask, table = q.ask, q.table
    found = np.ones(len(table), bool)
    if ask.hosts:
        found &= np.isin(table.host_names, ask.hosts)
    if ask.pools:
        found &= np.isin(table.pool_names, ask.pools)
    for each in ask.avoid:
        host, _, pool = each.partition("/")
        found &= ~((table.host_names == host) & (table.pool_names == pool))
    return found


def _why_named(q: Question, row: int) -> str:
    known = q.table.rows[row]
    if f"{known.host}/{known.pool.name}" in q.ask.avoid:
        return "was tried already"
    return "not asked for"


def _type(q: Question) -> Bools:
    return q.table.selected(q.ask.kind.pools)


def _why_type(q: Question, row: int) -> str:
    selector, known = q.ask.kind.pools, q.table.rows[row]
    what = f"type {q.ask.type}" if q.ask.type else "its type"
    if selector.names and known.pool.name not in selector.names:
        return f"{what} is only for pools called {', '.join(selector.names)}"
    missing = [each for each in selector.traits if each not in known.traits]
    return f"{what} needs a host with the trait {', '.join(missing)}"


def _isolation(q: Question) -> Bools:
    return q.table.open_to(q.ask.project)


def _makes(q: Question) -> Bools:
    return np.ones(len(q.table), bool) if q.ask.exists else q.table.creates


def _full(q: Question) -> Bools:
    used = q.table.total - q.table.free
    past = used > q.table.total * q.ask.kind.full_at / 100  # unknown: not past
    return ~past | q.present


def _why_full(q: Question, row: int) -> str:
    used = 100 * (1 - q.table.free[row] / q.table.total[row])
    return f"{used:.0f} % of it is written, and it counts as full at {q.ask.kind.full_at:g} %"


def _capacity(q: Question) -> Bools:
    size, ratio = q.ask.size, q.ask.kind.max_over_subscription
    within = (q.provisioned + size <= q.available * ratio) if ratio >= 1 else np.zeros(len(q.table), bool)
    fits = np.where(q.thin, within, True) & (q.room >= size) & (q.available > 0)
    return np.where(q.unknown, q.ask.kind.reserved_percentage == 0, fits) | q.present


def _why_capacity(q: Question, row: int) -> str:
    kind = q.ask.kind
    if q.unknown[row]:
        return "it does not tell its size, so nothing can be reserved of it"
    left, asked = _size(max(0.0, q.room[row])), _size(q.ask.size)
    if not q.thin[row]:
        return f"{left} left, {asked} asked for"
    return (
        f"{left} may still be promised of {_size(q.available[row])} × {kind.max_over_subscription:g}, "
        f"{asked} asked for"
    )


FILTERS: tuple[Filter, ...] = (
    Filter(
        "up",
        "Its host answers, and it is running.",
        _up,
        lambda q, row: q.table.rows[row].down,
    ),
    Filter("named", "Among those that were asked for.", _named, _why_named),
    Filter("type", "Of those that the volume's type may use.", _type, _why_type),
    Filter(
        "isolation",
        "Its host takes the project.",
        _isolation,
        lambda q, row: f"its host takes only {', '.join(q.table.rows[row].projects)}",
    ),
    Filter(
        "makes",
        "libvirt can make volumes in it.",
        _makes,
        lambda q, row: (
            f"libvirt can't make volumes in a pool of type {q.table.rows[row].pool.type} "
            f"(it can in {', '.join(sorted(CREATES))})"
        ),
    ),
    Filter("full", "It is not nearly full of what was written.", _full, _why_full),
    Filter("capacity", "So much may be promised of it.", _capacity, _why_capacity),
)
"""In this order: cheap and telling ones first."""


# ---- weighers


class Weigher(NamedTuple):
    name: str
    """As in the settings."""
    doc: str
    raw: Callable[[Question], Floats]
    """NaN: unknown, and least."""


WEIGHERS: tuple[Weigher, ...] = (
    Weigher("capacity", "What may still be asked of it.", lambda q: q.room),
    Weigher("volumes", "Volumes in it.", lambda q: -q.table.count),
)


def _parts(q: Question, rows: NDArray[np.intp], weights: VolumeWeights) -> list[tuple[str, Floats]]:
    found = []
    for weigher in WEIGHERS:
        multiplier = float(getattr(weights, weigher.name))
        if multiplier and len(rows):
            found.append((weigher.name, multiplier * _norm(weigher.raw(q)[rows], multiplier)))
    return found


def _norm(raw: Floats, multiplier: float) -> Floats:
    """(w − min) / (max − min), all equal: 0. What is unknown is worse than the worst that is known."""
    unknown = np.isnan(raw)
    if unknown.all():
        return np.zeros(len(raw))
    if unknown.any():
        worst = raw[~unknown].min() - 1 if multiplier > 0 else raw[~unknown].max() + 1
        raw = np.where(unknown, worst, raw)
    low, high = raw.min(), raw.max()
    return (raw - low) / (high - low) if high > low else np.zeros(len(raw))


# ---- answers


def choose(table: PoolTable, ask: VolumeAsk, weights: VolumeWeights = _PLAIN) -> list[Choice]:
    """The pools that can take it, best first: each is where to go on when the one before could not after all.
    Empty: none can, and `explain` says why."""
    q = Question(table, ask)
    left = np.ones(len(table), bool)
    for each in FILTERS:
        left &= each.mask(q)
    rows = np.flatnonzero(left)
    if not len(rows):
        return []
    score = np.zeros(len(rows))
    for _, part in _parts(q, rows, weights):
        score += part
    free = np.nan_to_num(table.free[rows], nan=-1.0)
    order = np.lexsort((rows, -free, -score))
    # The first row of each storage.
    numbers = table.numbers[rows][order]
    _, firsts = np.unique(numbers, return_index=True)
    return [
        Choice(known.host, known.pool.name, known.pool.identity, float(score[order[at]]))
        for at in np.sort(firsts)
        for known in (table.rows[rows[order[at]]],)
    ]


def explain(table: PoolTable, ask: VolumeAsk, weights: VolumeWeights = _PLAIN) -> list[PoolCase]:
    """Each pool's case: those that fit best first, then the others, the nearest to fitting first."""
    q = Question(table, ask)
    masks = [(each, each.mask(q)) for each in FILTERS]
    left = np.ones(len(table), bool)
    for _, mask in masks:
        left &= mask
    rows = np.flatnonzero(left)
    parts = _parts(q, rows, weights)
    cases = []
    for at, row in enumerate(rows):
        known = table.rows[row]
        weighed = tuple((name, float(part[at])) for name, part in parts)
        cases.append(PoolCase(known.host, known.pool.name, (), sum(each for _, each in weighed), weighed))
    cases.sort(key=lambda case: -(case.score or 0.0))
    refused = []
    for row in np.flatnonzero(~left):
        known = table.rows[row]
        refusals = tuple(Refusal(each.name, each.why(q, int(row))) for each, mask in masks if not mask[row])
        refused.append(PoolCase(known.host, known.pool.name, refusals, None, ()))
    refused.sort(key=lambda case: len(case.refusals))
    return cases + refused


def _size(value: float) -> str:
    return format_value(int(value), Unit.BYTES)
