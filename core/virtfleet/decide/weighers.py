"""Which of the hosts that can take a VM is best: Nova's weighers with its normalisation and multipliers.

Score = Σ multiplier × norm(w). norm(w) = (w − min) / (max − min), all equal:
0. For free memory, vCPUs and disk the minimum is 0 and negatives count as 0,
so that norm = w / max. A multiplier may differ from zone to zone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from virtfleet.decide.ledger import Floats, Ledger
from virtfleet.decide.question import Question, members_of

Rows = NDArray[np.intp]
_MISSING_METRIC = -10_000.0


class Weigher(NamedTuple):
    name: str
    """As in the settings of the scheduler."""
    doc: str
    raw: Callable[[Question], Floats | None]
    """For every host; None: it has nothing to say of this question."""
    from_zero: bool = False
    """Whether the minimum is pinned to 0."""
    changes: bool = False
    """Whether placing VMs changes it."""


def _free(capacity: Floats, used: Floats) -> Floats:
    return np.nan_to_num(capacity - used, nan=0.0)


def _soft(policy: str, sign: int) -> Callable[[Question], Floats | None]:
    def raw(q: Question) -> Floats | None:
        rule = q.ledger.settings.groups.get(q.ask.group)
        if rule is None or rule.policy != policy:
            return None
        return sign * members_of(q.ledger, q.ask)

    return raw


def _failures(q: Question) -> Floats | None:
    if not q.ledger.failures:
        return None
    return np.array([float(q.ledger.failures.get(name, 0)) for name in q.ledger.names])


def _metrics(q: Question) -> Floats | None:
    """Σ ratio × figure; a host that does not tell one that counts is last."""
    ratios = q.ledger.settings.scheduler.metrics
    found = np.zeros(len(q.ledger))
    for ratio, figure in ((ratios.cpu, q.ledger.cpu_pct), (ratios.io, q.ledger.disk_io)):
        if ratio:
            found += ratio * figure
    return found


WEIGHERS: tuple[Weigher, ...] = (
    Weigher(
        "memory",
        "Free memory after ratio.",
        lambda q: _free(q.ledger.memory, q.ledger.memory_used),
        from_zero=True,
        changes=True,
    ),
    Weigher(
        "cpu",
        "Free vCPUs after ratio.",
        lambda q: _free(q.ledger.vcpus, q.ledger.vcpus_used),
        from_zero=True,
        changes=True,
    ),
    Weigher("disk", "Free bytes in its best pool.", lambda q: q.ledger.pools.free(), True, True),
    Weigher("io", "Builds and migrations that are running.", lambda q: q.ledger.io, changes=True),
    Weigher("vms", "VMs that are defined.", lambda q: q.ledger.vm_count, changes=True),
    Weigher("version", "Version of the hypervisor.", lambda q: np.nan_to_num(q.ledger.version, nan=0.0)),
    Weigher("soft_affinity", "Members of its group.", _soft("soft-affinity", 1), changes=True),
    Weigher(
        "soft_anti_affinity",
        "Members of its group, the fewer the better.",
        _soft("soft-anti-affinity", -1),
        changes=True,
    ),
    Weigher("failed_builds", "Builds that failed lately.", _failures),
    Weigher("metrics", "Live load.", _metrics),
)


class Multipliers:
    """What each weigher counts on each host: the scheduler's, or its zone's."""

    def __init__(self, ledger: Ledger) -> None:
        weights, zones = ledger.settings.scheduler.weights, ledger.settings.zones
        self._of: dict[str, Floats | float] = {}
        for weigher in WEIGHERS:
            plain = float(getattr(weights, weigher.name))
            of_zone = {
                name: float(given)
                for name, zone in zones.items()
                if (given := getattr(zone.weights, weigher.name)) is not None
            }
            self._of[weigher.name] = (
                np.array([of_zone.get(host.zone, plain) for host in ledger.hosts]) if of_zone else plain
            )

    def of(self, name: str, rows: Rows) -> Floats | float:
        found = self._of[name]
        return found if isinstance(found, float) else found[rows]

    def idle(self, name: str) -> bool:
        """Whether it counts nowhere."""
        found = self._of[name]
        return found == 0.0 if isinstance(found, float) else not found.any()


def norm(weigher: Weigher, raw: Floats) -> Floats:
    """Between 0 and 1; what a host does not tell (NaN) is worst."""
    if weigher.from_zero:
        most = raw.max()
        return np.clip(raw, 0.0, None) / most if most > 0 else np.zeros(len(raw))
    if np.isnan(raw).any():
        raw = np.where(np.isnan(raw), _MISSING_METRIC, raw)
    low, high = raw.min(), raw.max()
    return (raw - low) / (high - low) if high > low else np.zeros(len(raw))


def weigh(q: Question, rows: Rows, multipliers: Multipliers) -> Floats:
    """The score of each of `rows`."""
    score = np.zeros(len(rows))
    for _, part in parts(q, rows, multipliers):
        score += part
    return score


def parts(q: Question, rows: Rows, multipliers: Multipliers) -> list[tuple[Weigher, Floats]]:
    """What each weigher adds to the score of each of `rows`; those that add nothing are left out."""
    found = []
    for weigher in WEIGHERS:
        if multipliers.idle(weigher.name) or (raw := weigher.raw(q)) is None:
            continue
        found.append((weigher, multipliers.of(weigher.name, rows) * norm(weigher, raw[rows])))
    return found
