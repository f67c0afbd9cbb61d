"""How far a migration is, from libvirt's statistics, and what to do when it does not converge. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import libvirt

Deed = Literal["", "downtime", "post-copy", "abort"]


class Standing(NamedTuple):
    """Bytes and seconds; None: not told."""

    at: float
    """CLOCK_MONOTONIC."""
    total: int
    processed: int
    remaining: int
    disk_remaining: int
    rate: int | None
    """Bytes of memory that are sent per second."""
    dirty: int | None
    """Bytes of memory that the guest writes to per second."""
    iteration: int | None
    throttle: int | None
    """Percent of its CPUs that auto-converge takes away."""
    post_copy: bool

    @property
    def done(self) -> int:
        return max(0, self.total - self.remaining)

    @property
    def converges(self) -> bool | None:
        """Whether more is sent than written; None: not known yet."""
        if (
            self.post_copy
            or not self.iteration
            or self.iteration < 2
            or self.rate is None
            or self.dirty is None
        ):
            return None
        return self.dirty < self.rate


def standing(stats: Mapping[str, Any], at: float, reason: str = "") -> Standing:
    """Of what `jobStats` says."""

    def number(key: str) -> int | None:
        found = stats.get(key)
        return int(found) if found is not None else None

    page = number(libvirt.VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE) or 4096
    dirty = number(libvirt.VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE)
    return Standing(
        at=at,
        total=number(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL) or 0,
        processed=number(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED) or 0,
        remaining=number(libvirt.VIR_DOMAIN_JOB_DATA_REMAINING) or 0,
        disk_remaining=number(libvirt.VIR_DOMAIN_JOB_DISK_REMAINING) or 0,
        rate=number(libvirt.VIR_DOMAIN_JOB_MEMORY_BPS),
        dirty=None if dirty is None else dirty * page,
        iteration=number(libvirt.VIR_DOMAIN_JOB_MEMORY_ITERATION),
        throttle=number(libvirt.VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE),
        post_copy=reason == "postcopy",
    )


class Pace:
    """One migration: what it may take, and how it went so far."""

    def __init__(self, within: float | None, max_downtime: float | None, *, post_copy: bool) -> None:
        self.within = within
        self.max_downtime = max_downtime
        self._post_copy = post_copy
        self._began: float | None = None
        self._memory_since: float | None = None
        self._set = False
        self._given_up = False
        self._last: tuple[int, int] | None = None

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> Pace:
        within, downtime = args.get("within"), args.get("max_downtime")
        return cls(
            None if within is None else float(within),
            None if downtime is None else float(downtime),
            post_copy=bool(args.get("post_copy")),
        )

    def next(self, now: Standing) -> Deed:
        """What is to be done now, each thing once. Time counts from when memory is sent: disks converge."""
        if self.max_downtime and not self._set:
            self._set = True
            return "downtime"
        if now.post_copy or self.within is None or self._given_up or not now.iteration:
            return ""
        if self._memory_since is None:
            self._memory_since = now.at
        if now.at - self._memory_since < self.within:
            return ""
        self._given_up = True
        return "post-copy" if self._post_copy else "abort"

    def moves(self, now: Standing) -> bool:
        """Whether anything went over since the last time."""
        seen = (now.processed, now.remaining)
        moved = seen != self._last
        self._last = seen
        return moved

    def words(self, now: Standing) -> str:
        """For people: what it copies, how fast, whether it will end."""
        if not now.total:
            return "beginning"
        if now.post_copy:
            return f"it runs there; {_size(now.remaining)} of its memory are still to come"
        if now.disk_remaining:
            return f"copying disks: {_size(now.disk_remaining)} left"
        said = [f"copying memory: {_size(now.remaining)} left"]
        if now.iteration and now.iteration > 1:
            said.append(f"round {now.iteration}")
        if now.rate:
            said.append(f"{_size(now.rate)}/s")
        if now.dirty:
            said.append(f"written to at {_size(now.dirty)}/s")
        if now.throttle:
            said.append(f"its CPUs slowed by {now.throttle} %")
        if now.converges is False:
            said.append("at this rate it does not end")
        return ", ".join(said)


def _size(count: int) -> str:
    """To read: 5.2 GiB, 512 MiB."""
    return f"{count / 2**30:.4g} GiB" if count >= 1 << 30 else f"{count / 2**20:.3g} MiB"
