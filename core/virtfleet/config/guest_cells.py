"""NUMA cells of a guest as a flavor's extra specs describe them, and the numbers in these specs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from virtfleet.config.yamltree import shown

MIB = 1024 * 1024
LIMIT = 4096
"""vCPUs and devices beyond which a number is a mistake."""
MOST_CELLS = 64

_WHOLE = re.compile(r"[0-9]{1,12}")
_SIZE = re.compile(r"([0-9]{1,12})\s*([kmgt])(i?b)?", re.IGNORECASE | re.ASCII)
PER_CELL = re.compile(r"(hw:numa_cpus|hw:numa_mem)\.(0|[1-9][0-9]{0,3})")

_T = TypeVar("_T")


class ExtraSpecError(ValueError):
    """One extra spec is wrong: its key, and what is wrong with it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class GuestCell(msgspec.Struct, frozen=True):
    cpus: tuple[int, ...]
    """vCPUs by number."""
    memory: int
    """Bytes."""


def guest_cells(texts: Mapping[str, str], vcpus: int, memory: int, wanted: bool) -> tuple[GuestCell, ...]:
    """The cells; none where no key describes one and none is `wanted`. ExtraSpecError: a mistake."""
    nodes_key = "hw:numa_nodes"
    given = [key for key in texts if PER_CELL.fullmatch(key)]
    if nodes_key not in texts:
        if given and not wanted:
            raise ExtraSpecError(given[0], "needs hw:numa_nodes")
        count = 1
    else:
        count = whole(nodes_key, texts[nodes_key], MOST_CELLS)
        if count > vcpus:
            raise ExtraSpecError(nodes_key, f"{count} cells for {vcpus} vCPUs; each cell needs one")
    if not given:
        if nodes_key not in texts and not wanted:
            return ()
        return _equal_cells(nodes_key, count, vcpus, memory)
    for key in given:
        if int(key.rpartition(".")[2]) >= count:
            raise ExtraSpecError(key, f"there are {count} cells, the last is {count - 1}")
    cpus = [
        _of_cell(texts, "hw:numa_cpus", at, lambda key, text: _cpus(key, text, vcpus)) for at in range(count)
    ]
    sizes = [
        _of_cell(
            texts, "hw:numa_mem", at, lambda key, text: size_in(key, text, MIB, "MiB, or a size like 2GiB")
        )
        for at in range(count)
    ]
    seen: set[int] = set()
    for at, each in enumerate(cpus):
        if both := seen & each:
            raise ExtraSpecError(f"hw:numa_cpus.{at}", f"vCPU {min(both)} is in another cell, too")
        seen |= each
    if missing := set(range(vcpus)) - seen:
        raise ExtraSpecError("hw:numa_cpus.0", f"vCPU {min(missing)} is in no cell")
    if sum(sizes) != memory:
        raise ExtraSpecError(
            "hw:numa_mem.0",
            f"the cells have {sum(sizes) / MIB:g} MiB together, the flavor {memory / MIB:g} MiB",
        )
    return tuple(GuestCell(tuple(sorted(each)), size) for each, size in zip(cpus, sizes, strict=True))


def _equal_cells(key: str, count: int, vcpus: int, memory: int) -> tuple[GuestCell, ...]:
    if vcpus % count:
        raise ExtraSpecError(
            key, f"{vcpus} vCPUs are not {count} equal parts; say hw:numa_cpus.N and hw:numa_mem.N"
        )
    # Cells have whole MiB, as in Nova; one cell has what the flavor has.
    if count > 1 and memory % (count * MIB):
        raise ExtraSpecError(
            key, f"{memory / MIB:g} MiB are not {count} equal parts; say hw:numa_cpus.N and hw:numa_mem.N"
        )
    each = vcpus // count
    return tuple(GuestCell(tuple(range(at * each, (at + 1) * each)), memory // count) for at in range(count))


def _of_cell(texts: Mapping[str, str], base: str, at: int, read: Callable[[str, str], _T]) -> _T:
    key = f"{base}.{at}"
    if key not in texts:
        raise ExtraSpecError(
            key, "is missing: with one cell described, all need hw:numa_cpus.N and hw:numa_mem.N"
        )
    return read(key, texts[key])


def _cpus(key: str, text: str, vcpus: int) -> frozenset[int]:
    try:
        found = cpu_set(text, vcpus)
    except ValueError as error:
        raise ExtraSpecError(key, f"found {shown(text)}: {error}") from None
    if not found:
        raise ExtraSpecError(key, f"found {shown(text)}: no vCPU is left")
    return found


def cpu_set(text: str, limit: int = LIMIT) -> frozenset[int]:
    """CPUs written like 0-3,^2,6. ValueError: not written so, or a number not below `limit`."""
    chosen: set[int] = set()
    dropped: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\^?)([0-9]{1,6})(?:\s*-\s*([0-9]{1,6}))?\s*", part)
        if not match:
            raise ValueError("accepted: numbers and ranges, ^ leaves out: 0-3,^2,6")
        first, last = int(match[2]), int(match[3] or match[2])
        if last < first:
            raise ValueError(f"the range {first}-{last} runs backwards")
        if last >= limit:
            raise ValueError(f"there is no vCPU {last}, the last is {limit - 1}")
        (dropped if match[1] else chosen).update(range(first, last + 1))
    return frozenset(chosen - dropped)


def whole(key: str, text: str, most: int = LIMIT) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= most:
        raise ExtraSpecError(key, f"found {shown(text)}; accepted: a whole number from 1 to {most}")
    return int(text)


def size_in(key: str, text: str, unit: int, words: str) -> int:
    """A bare number counts in `unit`; K, KB and KiB are all 1024, as in Nova."""
    if _WHOLE.fullmatch(text):
        size = int(text) * unit
    elif match := _SIZE.fullmatch(text):
        size = int(match[1]) * 1024 ** ("kmgt".index(match[2].lower()) + 1)
    else:
        size = 0
    if not 0 < size < 1 << 63:
        raise ExtraSpecError(key, f"found {shown(text)}; accepted: {words}")
    return size
