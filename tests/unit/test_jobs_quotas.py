"""Quotas where jobs are written down: what is claimed and not seen yet counts, and counts once."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from unit.job_worlds import World, make, plan
from virtfleet.config.settings import Quota
from virtfleet.decide.quotas import Room
from virtfleet.errors import HostError, RefusedError
from virtfleet.jobs.book import JobBook
from virtfleet.model.job import Job, JobState
from virtfleet.model.plan import Plan
from virtfleet.model.project import Claim, Use


def room(**have: int) -> Room:
    """A project that may have 4 vCPUs; `have`: those of each VM that is seen."""
    uses = {uuid: Use(vms=1, vcpus=vcpus) for uuid, vcpus in have.items()}
    return Room(project="web", quota=Quota(vcpus=4), have=uses)


def wants(uuid: str, vcpus: int, verb: str = "vm.create") -> Plan:
    claim = Claim(project="web", uuid=uuid, name=uuid, use=Use(vms=1, vcpus=vcpus))
    return replace(plan(make(f"{verb} {uuid}"), verb=verb), uuid=uuid, claims=(claim,))


async def submitted(book: JobBook, what: Plan, seen: Room) -> Job:
    return await book.wait((await book.submit(what, room=seen)).id)


async def test_what_was_just_made_counts_before_anybody_sees_it(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    assert (await submitted(book, wants("a", 2), room(x=1))).state is JobState.DONE
    with pytest.raises(RefusedError, match="may have 4 vCPUs, has 3, 2 more are asked for"):
        await book.submit(wants("b", 2), room=room(x=1))
    assert (await submitted(book, wants("b", 1), room(x=1, a=2))).state is JobState.DONE
    await book.close()


async def test_two_at_once_can_not_exceed_it_together(tmp_path: Path) -> None:
    books = [JobBook(tmp_path, World()) for _ in range(2)]
    asked = [books[n % 2].submit(wants(f"vm{n}", 1), room=room()) for n in range(12)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, Job) for each in found) == 4
    assert {str(each).partition(": ")[2] for each in found if not isinstance(each, Job)} == {
        "project web may have 4 vCPUs, has 4, 1 more are asked for"
    }
    for book in books:
        await book.close()


async def test_what_failed_takes_nothing(tmp_path: Path) -> None:
    world = World()
    world.faults[1] = ("before", lambda: HostError("no"))
    book = JobBook(tmp_path, world)
    assert (await submitted(book, wants("a", 4), room())).state is JobState.FAILED
    assert (await submitted(book, wants("b", 4), room())).state is JobState.DONE
    await book.close()


async def test_what_is_deleted_takes_nothing_more(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    await submitted(book, wants("a", 4), room())
    gone = replace(plan(make("gone"), verb="vm.delete"), uuid="a")
    await book.wait((await book.submit(gone)).id)
    assert (await submitted(book, wants("b", 4), room())).state is JobState.DONE
    await book.close()


async def test_a_smaller_claim_takes_the_place_of_a_greater_one(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    await submitted(book, wants("a", 4), room())
    assert (await submitted(book, wants("a", 1, "vm.resize"), room(a=4))).state is JobState.DONE
    assert (await submitted(book, wants("b", 3), room(a=1))).state is JobState.DONE
    await book.close()


async def test_after_a_while_only_what_is_seen_counts(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    await submitted(book, wants("a", 4), room())
    with sqlite3.connect(tmp_path / "jobs.db") as raw:
        raw.execute("UPDATE jobs SET ended = ended - 700")
    assert (await submitted(book, wants("b", 4), room())).state is JobState.DONE
    await book.close()


async def test_without_a_quota_it_is_noted_all_the_same(tmp_path: Path) -> None:
    book = JobBook(tmp_path, World())
    await book.submit(wants("a", 3))
    with pytest.raises(RefusedError, match="has 3, 2 more"):
        await book.submit(wants("b", 2), room=room())
    await book.close()


async def test_a_volume_that_no_vm_has_counts_as_long_as_it_is_there(tmp_path: Path) -> None:
    """Long after its job: seen and loose it counts, attached or gone it does not."""

    def volume(uuid: str, verb: str = "volume.create") -> Plan:
        claim = Claim(project="web", uuid=uuid, use=Use(volumes=1))
        claims = (claim,) if verb == "volume.create" else ()
        return replace(plan(make(f"{verb} {uuid}"), verb=verb), kind="volume", uuid=uuid, claims=claims)

    def seen(*loose: str, attached: tuple[str, ...] = ()) -> Room:
        return Room("web", Quota(volumes=1), {}, frozenset(attached), frozenset(loose))

    book = JobBook(tmp_path, World())
    await submitted(book, volume("v"), seen())
    with pytest.raises(RefusedError, match="may have 1 volumes, has 1, 1 more are asked for"):
        await book.submit(volume("w"), room=seen())
    await book.close()
    with sqlite3.connect(tmp_path / "jobs.db") as raw:
        raw.execute("UPDATE jobs SET ended = ended - 10000")
    book = JobBook(tmp_path, World())
    with pytest.raises(RefusedError, match="may have 1 volumes"):
        await book.submit(volume("w"), room=seen("v"))
    assert (await submitted(book, volume("u"), seen(attached=("v",)))).state is JobState.DONE
    with sqlite3.connect(tmp_path / "jobs.db") as raw:
        raw.execute("UPDATE jobs SET ended = ended - 10000")
    await submitted(book, volume("v", "volume.delete"), seen("v"))
    assert (await submitted(book, volume("w"), seen("v"))).state is JobState.DONE
    assert (await submitted(book, volume("x"), seen(attached=("w",)))).state is JobState.DONE
    await book.close()
