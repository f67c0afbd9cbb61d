"""What filters, sorting, totals and field listings cost at 10,000 VMs on 500 hosts, in CPU time."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.figures import Figure, run, say
from unit.query_objects import NOW, large_fleet
from virtfleet.query.clock import Clock
from virtfleet.query.columns import sort_rows
from virtfleet.query.filter import compile_filter
from virtfleet.query.health import alerts
from virtfleet.query.nouns import NOUNS
from virtfleet.query.tally import totals

FILTERS = (
    "cpu>80",
    "state=running",
    "name=web-*",
    "tag:web",
    "ip=10.0.0.0/24",
    "host~^hv1[0-9]$",
    "web",
    "state=running cpu>80 host~^hv ip=10.0.0.0/24 tag:web !project=test free text",
)


def _milliseconds(work: Callable[[], object], rounds: int = 7) -> float:
    """CPU time of the best of `rounds`: what it costs, not what else the machine did."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return min(taken)


def _count(matches: Callable[[Any], bool], rows: list[Any]) -> int:
    return sum(map(matches, rows))


def measure(_: argparse.Namespace) -> list[Figure]:
    snapshot = large_fleet()
    noun = NOUNS["vm"].with_clock(Clock.at(NOW, 0.0))
    rows = list(noun.rows(snapshot))
    say(f"milliseconds of CPU for {len(rows)} VMs on {len(snapshot.hosts)} hosts")
    filters = []
    for text in FILTERS:
        matches = compile_filter(text, noun).matches
        filters.append(_milliseconds(partial(_count, matches, rows)))
        say(f"filter {filters[-1]:7.2f}  {_count(matches, rows):6d} of  {text}")
    for spec in (("-cpu_pct",), ("name",), ("state", "-cpu_pct", "name")):
        say(f"sort   {_milliseconds(partial(sort_rows, rows, spec, noun.fields)):7.2f}  {','.join(spec)}")
    say(f"rows   {_milliseconds(lambda: list(noun.rows(snapshot))):7.2f}")
    say(f"totals {_milliseconds(lambda: totals(snapshot, NOW)):7.2f}")
    say(f"alerts {_milliseconds(lambda: alerts(snapshot, NOW)):7.2f}")
    everything = _milliseconds(lambda: [[field.get(row) for field in noun.fields] for row in rows], 3)
    say(f"JSON   {everything:7.2f}  all {len(noun.fields)} fields of all rows")
    measured = f"{min(filters):.0f} to {max(filters):.0f} ms of CPU, {len(filters)} filters"
    return [Figure(f"a filter over {len(rows):,} rows", "", measured)]


if __name__ == "__main__":
    run(__doc__, measure)
