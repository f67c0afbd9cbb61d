"""Claims of capacity on libvirt's test driver: under a lock that operators share, and without one."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import libvirt
import pytest

from virtfleet.errors import NoRoomError
from virtfleet.hypervisor.acts import ACTS, capacity, hostlock, room
from virtfleet.hypervisor.acts.promises import promised
from virtfleet.hypervisor.call import Call
from virtfleet.hypervisor.lanes import Lane

MIB = 1 << 20
URI = "test:///default"  # one world for all connections of this process, as long as one is open


@pytest.fixture
def world() -> Iterator[libvirt.virConnect]:
    """The host as somebody else sees it. Others use it, too, so its only VM is away for this test alone."""
    connection = libvirt.open(URI)
    own = connection.lookupByName("test").XMLDesc()
    _clear(connection)
    yield connection
    _clear(connection)
    connection.defineXML(own).create()
    connection.close()


def _clear(connection: libvirt.virConnect) -> None:
    for domain in connection.listAllDomains():
        if domain.isActive():
            domain.destroy()
        domain.undefine()


class Operator:
    """A worker's view of the host; `shared`: it has a lock that others see, too."""

    def __init__(self, *, shared: bool) -> None:
        def stuck() -> None:
            raise AssertionError("the lane could not be freed")

        self.lane = Lane("long", lambda: libvirt.open(URI), door=None, on_stuck=stuck)
        reach = SimpleNamespace(transport_answers=False, is_local=shared, one_connection=not shared)
        self.session: Any = SimpleNamespace(lanes=SimpleNamespace(long=self.lane), reach=reach)
        self.told: list[str] = []

    def call(self, **args: Any) -> Call:
        return Call(cast(Any, self.session), args, 20.0, lambda _done, _total, text: self.told.append(text))

    async def define(self, name: str = "", vcpus: int = 1, **args: Any) -> str:
        name = name or str(uuid.uuid4())
        spec: dict[str, Any] = {"name": f"vm-{name}", "uuid": name, "vcpus": vcpus, "memory": 64 * MIB}
        spec["group"] = args.pop("group", "")
        spec["tied"] = args.pop("tied", {})
        await ACTS["vm.define"](self.call(spec=spec, uuid=name, **args))
        return name

    async def resize(self, name: str, **args: Any) -> Any:
        return await ACTS["vm.resize"](self.call(uuid=name, **args))


@contextlib.asynccontextmanager
async def operator(*, shared: bool) -> AsyncIterator[Operator]:
    made = Operator(shared=shared)
    try:
        yield made
    finally:
        await made.lane.close()


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostlock, "_FOLDERS", (str(tmp_path / "locks"),))
    monkeypatch.setattr(hostlock, "_locks", hostlock.Locks())
    monkeypatch.setattr(capacity, "_turns", capacity._Turns())


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The locks that were taken, one after another."""
    names: list[str] = []
    real = hostlock.host_lock

    @contextlib.asynccontextmanager
    async def noted(call: Call, name: str) -> AsyncIterator[bool]:
        async with real(call, name) as shared:
            names.append(name)
            yield shared

    monkeypatch.setattr(capacity, "host_lock", noted)
    return names


def vcpus(world: libvirt.virConnect) -> int:
    return sum(each.vcpus for each in promised(world, marks=False))


@pytest.mark.parametrize("shared", [True, False])
async def test_as_many_as_fit_and_the_rest_is_told_the_figures(
    world: libvirt.virConnect, *, shared: bool
) -> None:
    async with operator(shared=shared) as one:
        claims = (one.define(vcpus=2, limits={"vcpus": 21}) for _ in range(16))
        ends = await asyncio.gather(*claims, return_exceptions=True)
    refused = [str(each) for each in ends if isinstance(each, NoRoomError)]
    assert refused == ["no room: 2 vCPU wanted, 1 of 21 left"] * 6
    assert vcpus(world) == 20
    assert not [each for each in promised(world, marks=True) if each.mark]


@pytest.mark.parametrize("shared", [True, False])
async def test_each_limit_counts_and_without_limits_nothing_is_asked(
    world: libvirt.virConnect, taken: list[str], *, shared: bool
) -> None:
    async with operator(shared=shared) as one:
        await one.define(group="web")
        assert taken == []
        for limits in (
            {"memory": 127 * MIB},
            {"vms": 1},
            {"group": {"name": "web", "most": 1}},
            {"vcpus": 9, "memory": 128 * MIB, "vms": 1},
        ):
            with pytest.raises(NoRoomError):
                await one.define(group="web", limits=limits)
        await one.define(group="db", limits={"memory": 128 * MIB, "group": {"name": "web", "most": 1}})
    assert len(world.listAllDomains()) == 2


@pytest.mark.parametrize("shared", [True, False])
async def test_what_runs_counts_and_a_definition_that_will_be_larger(
    world: libvirt.virConnect, *, shared: bool
) -> None:
    async with operator(shared=shared) as one:
        domain = world.lookupByUUIDString(await one.define(vcpus=4))
        domain.create()
        with pytest.raises(NoRoomError, match="2 of 6 left"):
            await one.define(vcpus=3, limits={"vcpus": 6})


@pytest.mark.parametrize("shared", [True, False])
async def test_who_grows_needs_room_and_who_shrinks_does_not(
    world: libvirt.virConnect, *, shared: bool
) -> None:
    async with operator(shared=shared) as one:
        name, _ = await one.define(vcpus=2), await one.define(vcpus=2)
        with pytest.raises(NoRoomError, match="5 vCPU wanted, 4 of 6 left"):
            await one.resize(name, vcpus=5, limits={"vcpus": 6})
        assert vcpus(world) == 4
        await one.resize(name, vcpus=4, limits={"vcpus": 6})
        assert vcpus(world) == 6
        await one.resize(name, vcpus=3, memory=32 * MIB, limits={"vcpus": 1, "memory": 1})
        assert vcpus(world) == 5
    assert not [each for each in promised(world, marks=True) if each.mark]


async def test_begun_again_it_is_not_counted_twice(world: libvirt.virConnect) -> None:
    for shared in (True, False):
        async with operator(shared=shared) as one:
            limits = {"vms": len(world.listAllDomains()) + 1}
            name = await one.define(limits=limits)
            assert await one.define(name, limits=limits, again=True) == name


async def test_killed_with_its_mark_it_is_gone_on_with(world: libvirt.virConnect) -> None:
    async with operator(shared=False) as one:
        name = await one.define()
        world.defineXML(room.marked(world.lookupByUUIDString(name).XMLDesc(), "left"))
        await one.define(name, limits={"vms": 1}, again=True)
        assert not [each for each in promised(world, marks=True) if each.mark]
        world.defineXML(room.marked(world.lookupByUUIDString(name).XMLDesc(), "left"))
        with pytest.raises(NoRoomError):
            await one.define(name, limits={"vms": 0}, again=True)
    assert world.listAllDomains() == []


async def test_nobody_waits_for_ever_for_a_mark_that_was_left(
    world: libvirt.virConnect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "_STALE", 0.5)
    async with operator(shared=False) as one:
        left = await one.define("ffffffff-0000-4000-8000-000000000000")
        world.defineXML(room.marked(world.lookupByUUIDString(left).XMLDesc(), "left"))
        with pytest.raises(NoRoomError):
            await one.define("00000000-0000-4000-8000-000000000000", limits={"vms": 1})
    assert [(each.uuid, each.mark) for each in promised(world, marks=True)] == [(left, "")]
    assert one.told != [], "somebody who waits says so"


async def test_those_without_a_lock_never_exceed_it_together(world: libvirt.virConnect) -> None:
    """Four at once, each on a connection of its own and with nothing between them but the host."""
    async with contextlib.AsyncExitStack() as stack:
        several = [await stack.enter_async_context(operator(shared=False)) for _ in range(4)]

        async def claim(one: Operator) -> bool:
            name = str(uuid.uuid4())
            xml = f"<name>{name}</name><uuid>{name}</uuid><memory>1024</memory><os><type>hvm</type></os>"
            try:
                await capacity._by_marks(
                    one.call(uuid=name),
                    room.Limits(vcpus=5),
                    lambda _, define: define(f"<domain type='test'>{xml}</domain>").name(),
                )
            except NoRoomError:
                return False
            return True

        ends = [await asyncio.gather(*map(claim, several)) for _ in range(3)]
    assert ends[0] == [True] * 4
    assert sorted(ends[1]) == [False, False, False, True]
    assert ends[2] == [False] * 4
    assert vcpus(world) == 5


async def test_tasks_that_wait_take_the_lock_once_for_all(
    world: libvirt.virConnect, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(shared=True) as one:
        monkeypatch.setattr(capacity, "_HOLD", 1e9)
        await asyncio.gather(*(one.define(limits={}) for _ in range(8)))
        assert taken == ["capacity"]
        monkeypatch.setattr(capacity, "_HOLD", -1.0)
        await asyncio.gather(*(one.define(limits={}) for _ in range(8)))
        assert taken == ["capacity"] * 9


async def test_who_changes_his_mind_leaves_the_lock_free(world: libvirt.virConnect, tmp_path: Path) -> None:
    async with operator(shared=True) as one:
        tasks = [asyncio.create_task(one.define(limits={})) for _ in range(8)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        fd = os.open(tmp_path / "locks" / "capacity", os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
        await one.define(limits={})


async def test_two_that_grow_hold_a_lock_each_and_wait_for_a_third(world: libvirt.virConnect) -> None:
    async with operator(shared=True) as one:
        names = [await one.define() for _ in range(4)]
        await asyncio.gather(*(one.resize(name, vcpus=2, limits={"vcpus": 8}) for name in names))
    assert vcpus(world) == 8


def pinned(*cpus: int, kept_free: tuple[int, ...] = (), devices: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arguments that tie a VM to CPUs and devices, and claim them."""
    cell = {"cpus": list(range(len(cpus))), "memory": 64 * MIB, "host": 0}
    tied = {
        "cells": [cell] if cpus else [],
        "pins": list(enumerate(cpus)),
        "kept_free": kept_free,
        "devices": devices,
    }
    return {
        "vcpus": max(1, len(cpus)),
        "tied": tied,
        "limits": {"cpus": [*cpus, *kept_free], "devices": devices},
    }


@pytest.mark.parametrize("shared", [True, False])
async def test_no_cpu_and_no_device_is_given_twice(world: libvirt.virConnect, *, shared: bool) -> None:
    card = ("0000:3b:00.0",)
    async with operator(shared=shared) as one:
        first = await one.define(**pinned(0, 2, kept_free=(1, 3)))
        second = await one.define(**pinned(4, devices=card))
        for wanted, why in (
            (pinned(5, 2), f"no room: vm-{first} has CPU 2 for itself"),
            (pinned(3), f"no room: vm-{first} has CPU 3 for itself"),
            (pinned(6, kept_free=(4,)), f"no room: vm-{second} has CPU 4 for itself"),
            (pinned(devices=card), f"no room: vm-{second} has device 0000:3b:00.0"),
        ):
            with pytest.raises(NoRoomError) as caught:
                await one.define(**wanted)
            assert caught.value.message == why
        await one.define(**pinned(5, kept_free=(6,)))
        # Begun again, its own are its own; who asks for no CPU takes none; who grows keeps what he has.
        assert await one.define(first, **pinned(0, 2), again=True) == first
        await one.define(limits={"vcpus": 20})
        await one.resize(second, vcpus=2, limits={"vcpus": 20})
    assert len(world.listAllDomains()) == 4
    assert not [each for each in promised(world, marks=True) if each.mark]


@pytest.mark.parametrize("shared", [True, False])
async def test_of_those_who_come_together_one_gets_the_cpu(
    world: libvirt.virConnect, *, shared: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        several = [await stack.enter_async_context(operator(shared=shared)) for _ in range(3)]
        claims = (one.define(**pinned(cpu)) for one in several for cpu in (0, 1))
        ends = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(each).__name__ for each in ends) == ["NoRoomError"] * 4 + ["str"] * 2
    taken = [each.cpus for each in promised(world, marks=True)]
    assert sorted(taken) == [(0,), (1,)]
