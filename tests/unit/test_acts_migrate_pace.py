"""How far a migration is, in words, and what is done about one that does not converge."""

from __future__ import annotations

from typing import Any

import libvirt
import pytest

from virtfleet.hypervisor.acts.migrate import _how
from virtfleet.hypervisor.acts.migrate_pace import Pace, Standing, standing

MIB = 1 << 20


def told(**more: Any) -> Standing:
    values: dict[str, Any] = {"remaining": 40, "iteration": 3, "bps": 100, "dirty": 25, **more}
    stats = {
        libvirt.VIR_DOMAIN_JOB_DATA_TOTAL: 128 * MIB,
        libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED: 100 * MIB,
        libvirt.VIR_DOMAIN_JOB_DATA_REMAINING: values["remaining"] * MIB,
        libvirt.VIR_DOMAIN_JOB_DISK_REMAINING: values.get("disk", 0) * MIB,
        libvirt.VIR_DOMAIN_JOB_MEMORY_ITERATION: values["iteration"],
        libvirt.VIR_DOMAIN_JOB_MEMORY_BPS: values["bps"] * MIB,
        libvirt.VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE: 4096,
        libvirt.VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE: values["dirty"] * 256,
    }
    return standing(stats, values.get("at", 0.0), values.get("reason", ""))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (standing({}, 0.0), "beginning"),
        (told(disk=10), "copying disks: 10 MiB left"),
        (told(iteration=1, dirty=0), "copying memory: 40 MiB left, 100 MiB/s"),
        (told(), "copying memory: 40 MiB left, round 3, 100 MiB/s, written to at 25 MiB/s"),
        (
            told(dirty=200),
            "copying memory: 40 MiB left, round 3, 100 MiB/s, written to at 200 MiB/s, "
            "at this rate it does not end",
        ),
        (told(reason="postcopy"), "it runs there; 40 MiB of its memory are still to come"),
    ],
)
def test_what_it_does_is_said(found: Standing, words: str) -> None:
    assert Pace(None, None, post_copy=False).words(found) == words


def test_what_has_gone_over_is_done() -> None:
    assert (told().done, told().total) == (88 * MIB, 128 * MIB)
    assert (told().converges, told(dirty=200).converges, told(iteration=1).converges) == (True, False, None)


@pytest.mark.parametrize(("post_copy", "deed"), [(False, "abort"), (True, "post-copy")])
def test_after_its_time_it_is_given_up_once_or_switched(post_copy: bool, deed: str) -> None:
    pace = Pace(10.0, None, post_copy=post_copy)
    # Disks converge: their time does not count.
    deeds = [pace.next(told(at=at, iteration=0, disk=5)) for at in (0.0, 100.0)]
    deeds += [pace.next(told(at=at)) for at in (200.0, 209.0, 210.0, 220.0)]
    assert deeds == ["", "", "", "", deed, ""]


def test_never_given_up_once_it_runs_there_nor_without_a_limit() -> None:
    pace = Pace(10.0, None, post_copy=True)
    assert [pace.next(told(at=at, reason="postcopy")) for at in (0.0, 99.0)] == ["", ""]
    free = Pace(None, 0.5, post_copy=False)
    assert [free.next(told(at=at)) for at in (0.0, 9999.0)] == ["downtime", ""]


def test_only_what_moves_counts_as_progress() -> None:
    pace = Pace(None, None, post_copy=False)
    assert [pace.moves(told(remaining=left)) for left in (40, 40, 39, 39)] == [True, False, True, False]


class Domain:
    """The two questions that flags depend on."""

    def __init__(self, active: bool, persistent: bool) -> None:
        self.isActive = lambda: active
        self.isPersistent = lambda: persistent


def test_disks_are_named_or_none_is_copied() -> None:
    """An empty list would have libvirt copy all of them, shared ones too."""
    domain: Any = Domain(True, True)
    flags, params = _how({"data": "tcp://hv2", "disks": []}, domain)
    every = libvirt.VIR_MIGRATE_NON_SHARED_DISK | libvirt.VIR_MIGRATE_NON_SHARED_INC
    assert (flags & every, params) == (0, {"migrate_uri": "tcp://hv2"})
    flags, params = _how({"data": "tcp://hv2", "disks": ["vda"], "bandwidth": 5 * MIB}, domain)
    assert flags & every == libvirt.VIR_MIGRATE_NON_SHARED_DISK
    assert params == {"migrate_uri": "tcp://hv2", "migrate_disks": ["vda"], "bandwidth": 5}


def test_the_definition_goes_with_it_if_it_has_one() -> None:
    both = libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    args = {"data": "tcp://hv2"}
    on: Any = Domain(True, True)
    transient: Any = Domain(True, False)
    off: Any = Domain(False, True)
    peer, live = libvirt.VIR_MIGRATE_PEER2PEER, libvirt.VIR_MIGRATE_LIVE
    assert _how(args, on)[0] == peer | live | both
    assert _how({**args, "live": False}, on)[0] == peer | both
    assert _how(args, transient)[0] == peer | live
    assert _how(args, off) == (peer | libvirt.VIR_MIGRATE_OFFLINE | both, {})
