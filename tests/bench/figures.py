"""What every bench has in common: its options, what it hands back, and the one table that is made of it.

A bench is a script with a function that measures and gives back figures. It prints them itself when it is
run alone; `python -m bench` runs all and prints one table. Nothing here judges: a figure stands beside what
was to be reached, with the load of the machine, and a person compares.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

REACH_TITLES = ("what", "reach", "measured")


class Figure(msgspec.Struct, frozen=True):
    """One line of the table."""

    what: str
    reach: str
    """What the project wants, with its unit; empty: told for interest."""
    measured: str


Measure = Callable[[argparse.Namespace], Sequence[Figure]]


def run(
    about: str | None, measure: Measure, options: Callable[[argparse.ArgumentParser], None] | None = None
) -> None:
    """The `main` of a bench: reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="small and few: whether it works, not how quick it is"
    )
    parser.add_argument("--lab", metavar="NAME", help="a lab that is up, instead of one of our own")
    parser.add_argument(
        "--figures", type=Path, metavar="FILE", help="append the figures here as JSON, no table"
    )
    if options is not None:
        options(parser)
    chosen = parser.parse_args()
    # A plain `kill` leaves as little behind as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before = load()
    figures = measure(chosen)
    say(f"load {before} before, {load()} after, {cores()} cores")
    if chosen.figures is None:
        print(table(figures))
    else:
        with chosen.figures.open("ab") as file:
            file.writelines(msgspec.json.encode(each) + b"\n" for each in figures)


def say(text: str) -> None:
    """A line beside the table, at once also into a pipe."""
    print(f"  {text}", flush=True)


def spread(values: Sequence[float], unit: str = "s", digits: int = 2) -> str:
    """Median and range of several runs; runs that never ended are NaN and are told."""
    well = [value for value in values if not np.isnan(value)]
    if not well:
        return f"never, in {len(values)} runs"
    text = f"{np.median(well):.{digits}f} {unit}"
    if len(well) > 1:
        text += f" ({min(well):.{digits}f} to {max(well):.{digits}f}, {len(well)} runs)"
    if lost := len(values) - len(well):
        text += f", {lost} never"
    return text


def quantiles(seconds: Sequence[float], given_up: float) -> str:
    """p95 of many short times in milliseconds; those that took longer than `given_up` seconds are NaN."""
    values = np.array(seconds) * 1000
    lost = int(np.isnan(values).sum())
    if lost == len(values):
        return "never"
    p50, p95, worst = np.nanpercentile(values, [50, 95, 100])
    text = f"{p95:.0f} ms (p50 {p50:.0f}, worst {worst:.0f}, {len(values)} times)"
    return f"{text}, {lost} not within {given_up:g} s" if lost else text


def table(figures: Sequence[Figure]) -> str:
    """As text, in columns."""
    rows = [REACH_TITLES, *((each.what, each.reach or "—", each.measured) for each in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}" for row in rows)


def markdown(figures: Sequence[Figure]) -> str:
    """As the rows of a Markdown table."""
    rows = [REACH_TITLES, ("---",) * 3, *((each.what, each.reach or "—", each.measured) for each in figures)]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def machine() -> str:
    """What the figures were measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = ".".join(map(str, sys.version_info[:3]))
    cpu = f"{cores()} × {model or platform.machine()}"
    return f"{cpu}, {memory:.0f} GiB, Linux {platform.release()}, Python {python}"


def cores() -> int:
    """Cores that we may use."""
    return len(os.sched_getaffinity(0))


def load() -> str:
    """The load of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"
