"""Guest NUMA cells onto host cells: CPUs of their own, threads of a core, huge pages. Pure.

The meanings are Nova's (nova.virt.hardware): each cell of the guest has a
host cell to itself; a guest never overcommits against itself; dedicated CPUs
are never shared and their memory never overcommitted; huge pages are there or
not, whatever the ratios say. The first fit in the order of the host's cells is
taken, as Nova does; but where Nova tries all permutations, cells are paired by
augmenting paths, so that sixteen cells cost no more than they should.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain

import msgspec

from virtfleet.config.extra_specs import GuestCell, PageSize, Specs, ThreadPolicy

_TRIES = 2000
"""Pairings that are shown to `accept` before we say that none fits."""


class NumaAsk(msgspec.Struct, frozen=True):
    """What a guest wants of the host's cells."""

    cells: tuple[GuestCell, ...]
    dedicated: bool = False
    thread_policy: ThreadPolicy = ""
    page_size: PageSize = ""


class Pages(msgspec.Struct, frozen=True):
    """Memory pages of one size in a host cell, the ordinary size included."""

    size: int
    """Bytes."""
    total: int
    used: int
    """What is promised, whether the guest runs or not."""


class HostCell(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    cpus: frozenset[int]
    memory: int
    """What does not stand as huge pages."""
    siblings: tuple[frozenset[int], ...] = ()
    """CPUs that are threads of one core; empty: each is a core."""
    pinned: frozenset[int] = frozenset()
    """CPUs that guests have for themselves."""
    shared: int = 0
    """vCPUs of guests that are bound to this cell and share its other CPUs."""
    memory_used: int = 0
    """Of that, what is promised to guests of this cell."""
    pages: tuple[Pages, ...] = ()

    @property
    def free(self) -> frozenset[int]:
        return self.cpus - self.pinned

    @property
    def cores(self) -> tuple[frozenset[int], ...]:
        """The CPUs of each core, those of other cells and of no guest's concern left out."""
        known = tuple(core & self.cpus for core in self.siblings if core & self.cpus)
        alone = self.cpus.difference(*known)
        return tuple(sorted((*known, *(frozenset({cpu}) for cpu in alone)), key=min))


class CellFit(msgspec.Struct, frozen=True):
    """Where one cell of the guest goes."""

    guest: int
    """Its number."""
    host: int
    """The id of the host's cell."""
    page_size: int = 0
    """Bytes; 0: it asks for no size."""
    pins: tuple[tuple[int, int], ...] = ()
    """vCPU and the CPU that it has for itself."""
    taken: frozenset[int] = frozenset()
    """CPUs that no other guest may have now: the pins and, isolated, their siblings."""


def numa_ask(specs: Specs) -> NumaAsk | None:
    """None: the flavor wants nothing of the host's cells."""
    if not specs.cells:
        return None
    return NumaAsk(specs.cells, specs.dedicated, specs.thread_policy, specs.page_size)


def fit(
    ask: NumaAsk,
    cells: Sequence[HostCell],
    *,
    cpu_ratio: float = 1.0,
    memory_ratio: float = 1.0,
    accept: Callable[[frozenset[int]], bool] | None = None,
) -> tuple[CellFit, ...] | None:
    """A place for each cell of the guest, in the guest's order; None: there is none.

    `accept` is asked about the ids of the host's cells of a pairing: whether
    there are the devices, too.
    """
    options = [
        {
            at: found
            for at, cell in enumerate(cells)
            if not isinstance(found := _fit_cell(ask, number, cell, cpu_ratio, memory_ratio), str)
        }
        for number in range(len(ask.cells))
    ]
    for tried, pairing in enumerate(_pairings([list(each) for each in options])):
        if accept is None or accept(frozenset(cells[at].id for at in pairing)):
            return tuple(options[number][at] for number, at in enumerate(pairing))
        if tried >= _TRIES:
            break
    return None


def take(cells: Sequence[HostCell], fits: Collection[CellFit], ask: NumaAsk) -> tuple[HostCell, ...]:
    """The host's cells with the guest there, too."""
    by_host = {each.host: each for each in fits}
    return tuple(_taken(cell, by_host[cell.id], ask) if cell.id in by_host else cell for cell in cells)


def why(ask: NumaAsk, cells: Sequence[HostCell], *, cpu_ratio: float = 1.0, memory_ratio: float = 1.0) -> str:
    """What `fit` misses, with numbers, for the first cell of the guest that has no place; empty: nothing."""
    if not cells:
        return "the host's NUMA cells are not known"
    if len(cells) < len(ask.cells):
        return f"needs {len(ask.cells)} NUMA cells, the host has {len(cells)}"
    for number in range(len(ask.cells)):
        reasons = [_fit_cell(ask, number, cell, cpu_ratio, memory_ratio) for cell in cells]
        texts = [reason for reason in reasons if isinstance(reason, str)]
        if len(texts) == len(cells):
            shown = "; ".join(
                f"cell {cell.id}: {text}" for cell, text in list(zip(cells, texts, strict=True))[:4]
            )
            more = f"; and {len(cells) - 4} more" if len(cells) > 4 else ""
            return f"the guest's cell {number} {shown}{more}"
    if fit(ask, cells, cpu_ratio=cpu_ratio, memory_ratio=memory_ratio) is None:
        return f"its {len(ask.cells)} cells fit one by one, but not on {len(ask.cells)} different host cells"
    return ""


def _fit_cell(
    ask: NumaAsk, number: int, host: HostCell, cpu_ratio: float, memory_ratio: float
) -> CellFit | str:
    """Guest cell `number` on this host cell alone, or why not."""
    guest = ask.cells[number]
    count = len(guest.cpus)
    if count > len(host.free):
        return f"needs {count} CPUs, {len(host.free)} of {len(host.cpus)} are not pinned"
    page = 0
    if ask.page_size:
        found = _page(ask.page_size, guest.memory, host)
        if isinstance(found, str):
            return found
        page = found
    else:
        ratio = 1.0 if ask.dedicated else memory_ratio
        if guest.memory > host.memory or host.memory_used + guest.memory > host.memory * ratio:
            of = f"{_mib(host.memory)} × {ratio:g}"
            return f"needs {_mib(guest.memory)}, {_mib(host.memory_used)} of {of} used"
    if not ask.dedicated:
        if host.shared + count > len(host.free) * cpu_ratio:
            return f"needs {count} vCPUs, {host.shared} of {len(host.free)} × {cpu_ratio:g} used"
        return CellFit(number, host.id, page)
    pinned = _pin(guest.cpus, host, ask.thread_policy)
    if isinstance(pinned, str):
        return pinned
    pins, taken = pinned
    if host.shared > (len(host.free) - len(taken)) * cpu_ratio:
        return f"needs {len(taken)} CPUs for itself, {host.shared} vCPUs share the {len(host.free)} there"
    return CellFit(number, host.id, page, pins, taken)


def _mib(size: int) -> str:
    return f"{size / 1024**2:g} MiB"


def _page(wanted: PageSize, memory: int, host: HostCell) -> int | str:
    """The largest size that is wanted and has the free pages for `memory`."""
    sizes = sorted(host.pages, key=lambda each: each.size)
    if wanted == "small":
        sizes = sizes[:1]
    elif wanted == "large":
        sizes = sizes[1:]
    elif wanted != "any":
        sizes = [each for each in sizes if each.size == wanted]
    kind = f"{wanted // 1024} KiB" if isinstance(wanted, int) else str(wanted)
    if not sizes:
        return f"has no {kind} pages"
    for each in reversed(sizes):
        if memory % each.size == 0 and memory // each.size <= each.total - each.used:
            return each.size
    free = ", ".join(f"{max(0, each.total - each.used)} of {each.size // 1024} KiB" for each in sizes)
    return f"needs {_mib(memory)} in {kind} pages, free: {free}"


def _pin(
    vcpus: Sequence[int], host: HostCell, policy: ThreadPolicy
) -> tuple[tuple[tuple[int, int], ...], frozenset[int]] | str:
    """A CPU for each vCPU, and all CPUs that are taken by that."""
    cores = [sorted(core - host.pinned) for core in host.cores]
    if policy == "isolate":
        # One thread each of cores that are free as a whole; nobody gets the others.
        whole = [
            core for core, all_of_it in zip(cores, host.cores, strict=True) if len(core) == len(all_of_it)
        ]
        if len(whole) < len(vcpus):
            return f"needs {len(vcpus)} whole cores, {len(whole)} of {len(cores)} are free"
        chosen = whole[: len(vcpus)]
        pins = tuple(zip(sorted(vcpus), (core[0] for core in chosen), strict=True))
        return pins, frozenset(chain(*chosen))
    widest = max((len(core) for core in host.cores), default=0)
    most = 0
    for threads in range(widest, 1 if policy == "require" else 0, -1):
        # As many threads of each core, the most at first, so that a guest's vCPUs are siblings.
        usable = [core[:threads] for core in cores if len(core) >= threads]
        if threads * len(usable) >= len(vcpus):
            return _zip(vcpus, chain(*usable))
        most = max(most, threads * len(usable))
    if policy == "require":
        if widest < 2:
            return "its cores have one thread each, the flavor requires siblings"
        return f"needs {len(vcpus)} CPUs beside a sibling, {most} are free"
    return _zip(vcpus, chain(*cores))


def _zip(
    vcpus: Sequence[int], cpus: Iterator[int] | chain[int]
) -> tuple[tuple[tuple[int, int], ...], frozenset[int]]:
    pins = tuple(zip(sorted(vcpus), cpus, strict=False))
    return pins, frozenset(cpu for _, cpu in pins)


def _pairings(options: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """Every choice of one option for each, all different, in order; dead ends are seen beforehand."""
    chosen: list[int] = []

    def deeper() -> Iterator[tuple[int, ...]]:
        if len(chosen) == len(options):
            yield tuple(chosen)
            return
        for at in options[len(chosen)]:
            if at in chosen:
                continue
            chosen.append(at)
            if _can_pair(options[len(chosen) :], set(chosen)):
                yield from deeper()
            chosen.pop()

    if _can_pair(options, set()):
        yield from deeper()


def _can_pair(options: Sequence[Sequence[int]], used: set[int]) -> bool:
    """Whether each can still have one of its own (augmenting paths)."""
    owner: dict[int, int] = {}

    def augment(number: int, seen: set[int]) -> bool:
        for at in options[number]:
            if at in used or at in seen:
                continue
            seen.add(at)
            if at not in owner or augment(owner[at], seen):
                owner[at] = number
                return True
        return False

    return all(augment(number, set()) for number in range(len(options)))


def pages_for(memory: int, size: int) -> int:
    """Pages of `size` bytes that hold `memory`."""
    return -(-memory // size)


def _taken(cell: HostCell, found: CellFit, ask: NumaAsk) -> HostCell:
    guest = ask.cells[found.guest]
    smallest = min((each.size for each in cell.pages), default=0)
    size = found.page_size or smallest
    pages = tuple(
        msgspec.structs.replace(each, used=each.used + pages_for(guest.memory, size))
        if each.size == size
        else each
        for each in cell.pages
    )
    return msgspec.structs.replace(
        cell,
        pinned=cell.pinned | found.taken,
        shared=cell.shared + (0 if ask.dedicated else len(guest.cpus)),
        memory_used=cell.memory_used + (guest.memory if size == smallest else 0),
        pages=pages,
    )
