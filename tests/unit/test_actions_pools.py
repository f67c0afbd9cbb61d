"""Plans about pools: what is refused and why, what is done in which order, and that nobody's disks go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from unit.plan_objects import FRESH, NOW, disk, fleet, host, pool, vm, volume, world
from virtfleet.actions import pool_users
from virtfleet.actions.batch import action_of, read
from virtfleet.actions.conditions import check
from virtfleet.actions.planner import plan
from virtfleet.actions.world import World
from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.model import HostFacts, HostState, HostView, Pool, PoolState, Vm, VmDisk, VmState
from virtfleet.model.action import Action
from virtfleet.model.action_storage import (
    AutostartPool,
    BuildPool,
    CreatePool,
    DeletePool,
    PoolAuth,
    PoolRef,
    PoolSource,
    RefreshPool,
    ResizePool,
    StartPool,
    StopPool,
)
from virtfleet.model.plan import Danger, Plan

IQN = "iqn.2026-01.example:store"


def with_pools(name: str, *pools: Pool, vms: tuple[Vm, ...] = (), **more: Any) -> HostView:
    return host(name, *vms, pools=pools, **more)


def refs(name: str, *hosts: str) -> tuple[PoolRef, ...]:
    return tuple(PoolRef(each, f"p-{name}", name) for each in hosts)


def folder(name: str = "data", *hosts: str, **more: Any) -> CreatePool:
    given = {"type": "dir", "target": "/srv/data"} | more
    return CreatePool(name=name, hosts=hosts or ("hv1",), **given)


def shared(name: str = "data", **more: Any) -> Pool:
    return pool(name, identity="probe:1", target=f"/{name}", volumes=1, **more)


def ops(made: Plan) -> list[str]:
    return [step.op.removeprefix("pool.") for step in made.steps]


def refused(action: Action, where: World) -> str:
    with pytest.raises(RefusedError) as caught:
        plan(action, where)
    return caught.value.message


# ---------------------------------------------------------------- create


def test_a_pool_on_two_hosts_is_one_plan() -> None:
    made = plan(folder("data", "hv1", "hv2"), world(host("hv1"), host("hv2")))
    assert ops(made) == ["define", "look", "build", "start", "autostart"] * 2
    assert [step.host for step in made.steps] == ["hv1"] * 5 + ["hv2"] * 5
    assert made.steps[0].args["spec"]["uuid"] != made.steps[5].args["spec"]["uuid"]
    assert (made.kind, made.danger, made.name) == ("pool", Danger.NONE, "data")
    undone = [step.undo.op if step.undo else "" for step in made.steps[:5]]
    assert undone == ["pool.undefine", "", "pool.unbuild", "pool.stop", ""]
    assert len({step.id for step in made.steps}) == 10


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"target": ""}, "a pool of type dir needs a target folder"),
        ({"target": "srv"}, "no absolute path"),
        ({"target": "/srv/../etc"}, "no absolute path"),
        ({"target": "/"}, "can't be the root folder"),
        ({"target": "/a\nb"}, "no absolute path"),
        ({"source": PoolSource(hosts=("x",))}, "takes no source host"),
        ({"type": "nfs"}, "accepted: dir, fs, netfs"),
        ({"build": "new"}, "nothing to be built but its folder"),
        ({"type": "gluster", "target": ""}, "host; a pool of type gluster needs a source name"),
        ({"type": "fs", "source": PoolSource(devices=("sdb",))}, "source device 'sdb' is no absolute path"),
        ({"type": "fs", "source": PoolSource(devices=("/dev/b",), format="ntfs")}, "accepted: auto, ext2"),
        ({"type": "netfs", "source": PoolSource(hosts=("a b",), path="/x")}, "'a b' is no HOST"),
        ({"hosts": ("hv1", "hv2"), "type": "fs", "build": "new", "source": PoolSource(devices=("/dev/b",))},
         "build on one"),
        ({"type": "iscsi-direct", "target": "",
          "source": PoolSource(hosts=("s",), devices=("x",), initiator=IQN)}, "is no name of a target"),
        ({"type": "rbd", "target": "", "source": PoolSource(hosts=("s",), name="p")},
         "hv1: its libvirt has no rbd"),
        ({"target": "/default/"}, "pool default on hv1 is at /default/ already"),
    ],
)  # fmt: skip
def test_what_can_not_be_made_is_refused_with_what_is_accepted(more: dict[str, Any], says: str) -> None:
    kinds = ("dir", "fs", "netfs", "gluster", "iscsi-direct")
    view = with_pools("hv1", pool(target="/default"), facts=HostFacts(pool_types=kinds))
    given = {"hosts": ("hv1",), "name": "data", "type": "dir", "target": "/srv/data"} | more
    assert says.rstrip("/").replace("/default/", "/default") in refused(
        CreatePool(**given), world(view, host("hv2"))
    )


def test_a_secret_is_named_and_never_told() -> None:
    source = PoolSource(hosts=("san",), devices=(IQN,), initiator="iqn.2026-01.example:hv")
    action = CreatePool(
        name="san",
        hosts=("hv1",),
        type="iscsi-direct",
        source=source,
        auth=PoolAuth(user="hv", secret="hunter2"),
    )
    text = refused(action, world(host("hv1")))
    assert "a secret in plain text is not accepted (not shown)" in text
    assert "hunter2" not in text
    named = replace(action, auth=PoolAuth(user="hv", secret="env:CHAP"))
    made = plan(named, world(host("hv1")))
    assert ops(made) == ["secret", "define", "start", "autostart"]
    assert made.steps[0].args["from"] == "env:CHAP"
    assert made.steps[0].undo is not None
    assert made.steps[0].args["uuid"] == made.steps[1].args["spec"]["secret"]
    again = msgspec.json.decode(msgspec.json.encode(made), type=Plan)
    assert again.action == named


def test_the_same_storage_twice_on_a_host_is_refused_and_elsewhere_is_told() -> None:
    source = PoolSource(hosts=("FS1.example.",), name="vol")
    there = pool("old", type_="gluster", identity="gluster:fs1.example:vol")
    action = CreatePool(name="new", hosts=("hv1",), type="gluster", source=source)
    assert "pool old on hv1 is that storage already" in refused(action, world(with_pools("hv1", there)))
    made = plan(action, world(host("hv1"), with_pools("hv2", there)))
    assert [reason.text for reason in made.reasons] == ["hv2 has this storage already, as pool old"]


def test_a_name_or_folder_that_was_taken_since_is_noticed() -> None:
    made = plan(folder(), world(host("hv1")))
    taken = with_pools("hv1", pool("data", target="/elsewhere"), pool("b", target="/srv/data"))
    assert check(made.conditions, fleet(host("hv1")), NOW) == []
    assert check(made.conditions, fleet(taken), NOW) == [
        "a pool called data is on hv1 now",
        "pool b on hv1 is at /srv/data now",
    ]


def test_what_destroys_data_must_be_said_and_typed() -> None:
    source = PoolSource(devices=("/dev/sdb",))
    action = CreatePool(
        name="d", hosts=("hv1",), type="fs", target="/srv/d", source=source, build="overwrite"
    )
    made = plan(action, world(host("hv1")))
    build = next(step for step in made.steps if step.op == "pool.build")
    assert (made.danger, build.final, build.args["how"]) == (Danger.IRREVERSIBLE, True, "overwrite")
    assert any(reason.warning and "/dev/sdb is lost" in reason.text for reason in made.reasons)
    careful = plan(replace(action, build="new"), world(host("hv1")))
    assert careful.danger is Danger.CONFIRM
    assert not any(step.final for step in careful.steps)


# ---------------------------------------------------------------- start, stop ...


def test_start_and_stop_do_what_is_not_done() -> None:
    off = replace(shared(), state=PoolState.INACTIVE)
    where = world(with_pools("hv1", off), with_pools("hv2", shared()))
    made = plan(StartPool(pools=refs("data", "hv1", "hv2")), where)
    assert [(step.op, step.host) for step in made.steps] == [("pool.start", "hv1")]
    assert [reason.text for reason in made.reasons] == ["data@hv2 is active already"]
    stop = plan(StopPool(pools=refs("data", "hv1", "hv2")), where)
    assert [(step.op, step.host) for step in stop.steps] == [("pool.stop", "hv2")]
    assert stop.steps[0].undo is not None
    assert check(stop.conditions, fleet(with_pools("hv1", off), with_pools("hv2", off)), NOW) == [
        "pool data on hv2 is inactive now"
    ]


def test_a_mount_is_not_taken_from_under_running_vms() -> None:
    user = vm("web", disks=(disk("/data/web.qcow2"),))
    mount = pool("data", type_="netfs", identity="netfs:filer:/x", target="/data")
    action = StopPool(pools=refs("data", "hv1"))
    assert "web@hv1 on hv1 would lose disks" in refused(action, world(with_pools("hv1", mount, vms=(user,))))
    stopped = vm("web", VmState.SHUTOFF, disks=(disk("/data/web.qcow2"),))
    made = plan(action, world(with_pools("hv1", mount, vms=(stopped,))))
    assert check(made.conditions, fleet(with_pools("hv1", mount, vms=(user,))), NOW) == [
        "web@hv1 uses what is in data now"
    ]
    plain = plan(action, world(with_pools("hv1", replace(mount, type="dir"), vms=(user,))))
    assert [reason.warning for reason in plain.reasons] == [True]


def test_others_that_see_it_look_too() -> None:
    silent = with_pools("hv4", shared(), state=HostState.UNREACHABLE)
    off = with_pools("hv3", replace(shared(), state=PoolState.INACTIVE))
    where = world(with_pools("hv1", shared()), with_pools("hv2", shared("other")), off, silent)
    made = plan(RefreshPool(pools=refs("data", "hv1")), where)
    assert ops(made) == ["refresh", "peers"]
    assert (made.steps[1].host, made.steps[1].args["pools"]) == ("", [["hv2", "p-other"]])


def test_autostart_build_and_resize() -> None:
    off = replace(pool("data", target="/data"), state=PoolState.INACTIVE)
    where = world(with_pools("hv1", off))
    made = plan(AutostartPool(pools=refs("data", "hv1"), on=True), where)
    assert made.steps[0].undo is not None
    assert (made.steps[0].args["on"], made.steps[0].undo.args["on"]) == (True, False)
    assert plan(AutostartPool(pools=refs("data", "hv1"), on=False), where).steps == ()
    assert plan(BuildPool(pools=refs("data", "hv1")), where).steps[0].args["how"] == "folder"
    assert "nothing to overwrite" in refused(BuildPool(pools=refs("data", "hv1"), overwrite=True), where)
    assert "data@hv1 is inactive" in refused(ResizePool(pools=refs("data", "hv1")), where)
    on = world(with_pools("hv1", pool("data", target="/data"), pool("ceph", type_="rbd")))
    assert plan(ResizePool(pools=refs("data", "hv1")), on).steps[0].args["how"] == "filesystem"
    assert "its server decides how large it is" in refused(ResizePool(pools=refs("ceph", "hv1")), on)
    assert "data@hv1 is running" in refused(BuildPool(pools=refs("data", "hv1")), on)
    with pytest.raises(NotFoundError, match="there is no pool nope on hv1"):
        plan(StartPool(pools=(PoolRef("hv1", name="nope"),)), on)


# ---------------------------------------------------------------- delete


def test_a_pool_with_volumes_goes_only_when_it_is_said_what_becomes_of_them() -> None:
    view = with_pools("hv1", pool("data", target="/data", volumes=1), volumes=(volume("a", "data"),))
    action = DeletePool(pools=refs("data", "hv1"))
    assert "data@hv1 has 1 volume: a" in refused(action, world(view))
    kept = plan(replace(action, volumes="keep"), world(view))
    assert ops(kept) == ["remember", "stop", "undefine"]
    assert all(step.undo is not None for step in kept.steps[1:])
    gone = plan(replace(action, volumes="delete"), world(view))
    assert ops(gone) == ["remember", "empty", "stop", "end", "undefine"]
    assert (gone.danger, gone.steps[1].final, gone.steps[1].args["volumes"]) == (
        Danger.IRREVERSIBLE,
        True,
        ["a"],
    )
    more = replace(view, volumes=(volume("a", "data"), volume("b", "data")))
    assert check(gone.conditions, fleet(more), NOW) == ["volume b is in data now"]
    off = replace(view, pools=(replace(view.pools[0], state=PoolState.INACTIVE),))
    assert "what is in data@hv1 is not known" in refused(action, world(off))


def test_of_a_shared_pool_the_last_one_counts() -> None:
    one = with_pools("hv1", shared(), volumes=(volume("a", "data"),))
    two = with_pools("hv2", shared(), volumes=(volume("a", "data"),))
    assert ops(plan(DeletePool(pools=refs("data", "hv1")), world(one, two))) == [
        "remember",
        "stop",
        "undefine",
    ]
    assert "has 1 volume" in refused(DeletePool(pools=refs("data", "hv1", "hv2")), world(one, two))
    both = plan(DeletePool(pools=refs("data", "hv1", "hv2"), volumes="delete"), world(one, two))
    assert ops(both).count("empty") == 1
    assert ops(both).count("undefine") == 2
    silent = replace(two, state=HostState.UNREACHABLE)
    assert "hv2 may use it and does not answer" in refused(
        DeletePool(pools=refs("data", "hv1"), volumes="delete"), world(one, silent)
    )


def test_a_secret_is_forgotten_last() -> None:
    its = pool("san", type_="iscsi-direct", identity=f"iscsi:san/{IQN}", source=f"san/{IQN}", volumes=2)
    view = with_pools("hv1", its, volumes=(volume("unit:0:0:1", "san"),))
    made = plan(DeletePool(pools=refs("san", "hv1")), world(view))
    assert ops(made) == ["remember", "stop", "undefine", "forget-secret"]
    assert made.steps[-1].final
    user = vm("db", disks=(VmDisk(target="vda", source=f"iscsi:{IQN}/1", type="network"),))
    used = replace(view, vms=(user,))
    assert "db@hv1 uses what is in san@hv1" in refused(DeletePool(pools=refs("san", "hv1")), world(used))


@pytest.mark.parametrize(
    ("its", "source"),
    [
        (pool("data", target="/data"), VmDisk(target="vda", source="/data/x")),
        (pool("data", target="/data"), VmDisk(target="vda", source="/data/sub/unknown.img")),
        (pool("data", target="/data"), VmDisk(target="vda", source="data/x", type="volume")),
        (pool("data", type_="rbd", source="vms@mon1"),
         VmDisk(target="vda", source="rbd:vms/x", type="network")),
        (pool("data", type_="gluster", source="fs1:vol"),
         VmDisk(target="vda", source="gluster:vol/x", type="network")),
        (shared(), VmDisk(target="vda", source="gluster:vol/x", type="network")),
    ],
)  # fmt: skip
def test_every_way_to_use_a_volume_counts(its: Pool, source: VmDisk) -> None:
    view = with_pools("hv1", its, vms=(vm("web", disks=(source,)),), volumes=(volume("x", "data"),))
    assert [use.text for use in pool_users.uses(view, its, fleet(view))] == ["web@hv1"]


def test_a_machine_that_is_two_hosts_of_the_fleet_has_each_pool_once() -> None:
    its = pool("data", target="/data", identity="local:hv1:/data", volumes=1)
    facts = HostFacts(hostname="machine")
    one = with_pools("hv1", its, volumes=(volume("x", "data"),), facts=facts)
    container = vm("ct", disks=(disk("/data/x"),))
    two = with_pools("lx1", replace(its, identity="local:lx1:/data"), vms=(container,), facts=facts)
    action = DeletePool(pools=refs("data", "hv1"), volumes="delete")
    assert "ct@lx1 uses what is in data@hv1" in refused(action, world(one, two))
    other = replace(two, facts=HostFacts(hostname="another"))
    assert plan(action, world(one, other)).steps


_HOSTS = ("hv1", "hv2", "hv3")


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[list[HostView], str]:
    """Hosts of which some share a storage, with VMs on its volumes or on others; and a host that has it."""
    views = []
    sees = draw(st.lists(st.sampled_from(_HOSTS), min_size=1, unique=True))
    for name in _HOSTS:
        pools, volumes, folders = [pool("own", identity=f"local:{name}", target="/own")], [], ["/own"]
        if name in sees:
            called = draw(st.sampled_from(("data", "other")))
            pools.append(shared(called))
            volumes = [volume(each, called) for each in "ab"]
            folders.append(f"/{called}")
        vms = tuple(
            vm(f"{name}-{n}", draw(st.sampled_from((VmState.RUNNING, VmState.SHUTOFF))),
               disks=(disk(f"{draw(st.sampled_from(folders))}/{draw(st.sampled_from('abc'))}"),))
            for n in range(draw(st.integers(0, 2)))
        )  # fmt: skip
        views.append(with_pools(name, *pools, vms=vms, volumes=tuple(volumes), freshness=FRESH))
    return views, sees[0]


@given(_worlds())
def test_data_that_anybody_uses_are_never_deleted(case: tuple[list[HostView], str]) -> None:
    views, where = case
    its = next(pool for view in views if view.name == where for pool in view.pools if pool.name != "own")
    used = [
        each.name for view in views for each in view.vms if not each.info.disks[0].source.startswith("/own/")
    ]
    action = DeletePool(pools=refs(its.name, where), volumes="delete")
    if used:
        assert used[0].partition("-")[0] in refused(action, world(*views))
        return
    made = plan(action, world(*views))
    assert sorted(made.steps[1].args["volumes"]) == ["a", "b"]
    first = next(n for n, step in enumerate(made.steps) if step.final)
    assert made.steps[first].op == "pool.empty"
    assert all(step.undo is None for step in made.steps[:first])


def test_pools_can_be_written_in_a_batch_file(tmp_path: Path) -> None:
    text = """
- {action: pool.create, name: data, hosts: [hv1, hv2], type: dir, target: /srv/data}
- action: pool.create
  name: san
  hosts: [hv1]
  type: iscsi-direct
  source: {hosts: [san1], devices: ["iqn.2026-01.example:store"], initiator: "iqn.2026-01.example:hv"}
  auth: {user: hv, secret: "env:CHAP"}
- {action: pool.stop, pools: [{host: hv1, name: old}]}
"""
    first, second, third = (action_of(item, None) for item in read(text, "f.yaml", tmp_path).items)
    assert first == folder("data", "hv1", "hv2")
    assert isinstance(second, CreatePool)
    assert second.auth == PoolAuth(user="hv", secret="env:CHAP")
    assert third == StopPool(pools=(PoolRef("hv1", name="old"),))
    made = plan(third, world(with_pools("hv1", pool("old"))))
    assert made.steps[0].args["uuid"] == "p-old"
