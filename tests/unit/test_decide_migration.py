"""Where a VM could be moved to: each rule, alone, with its words; and what must be copied."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from unit.plan_objects import GIB, NOW, disk, host, pool, ref, vm, volume, world
from virtfleet.actions import planner
from virtfleet.actions.conditions import check
from virtfleet.actions.moving import matrix
from virtfleet.actions.peers import Peer, peer
from virtfleet.actions.placing import promised_by
from virtfleet.config.settings import FleetSettings, GroupSettings, HostSettings, SshOptions
from virtfleet.decide.migration import Fit, Way, obstacles
from virtfleet.errors import NotFoundError, NoValidHostError, RefusedError
from virtfleet.model import (
    CpuPin,
    GuestKind,
    HostFacts,
    HostState,
    HostView,
    Network,
    Pool,
    PoolState,
    Vm,
    VmDisk,
    VmState,
    VmStats,
)
from virtfleet.model.action import MigrateVm, ResumeVm, SettleVm
from virtfleet.model.plan import Danger

FACTS = HostFacts(
    cpus=16, hypervisor="QEMU", hypervisor_version="8.2.0", arch="x86_64", cpu_model="EPYC", cpu_vendor="AMD",
    cpu_features=("aes", "avx2"), cpu_models=("qemu64", "EPYC"), firmwares=("bios",),
    guests=(GuestKind("x86_64", "hvm", machines=("pc-q35-8.2", "q35")),),
)  # fmt: skip
SHARED = pool("san", identity="probe:1", target="/san")
LOCAL = "/default/web.qcow2"


def here(found: Vm, **more: Any) -> HostView:
    """Its disk is /san/web.qcow2, or /default/web.qcow2."""
    volumes = (volume("web.qcow2", "san", capacity=10 * GIB), volume("web.qcow2", capacity=10 * GIB))
    values: dict[str, Any] = {"facts": FACTS, "pools": (SHARED, local("hv1")), "volumes": volumes}
    return host("hv1", found, **{**values, **more})


def local(name: str, **more: Any) -> Pool:
    return pool(identity=f"local:{name}", target="/default", **more)


def there(*vms: Vm, **more: Any) -> HostView:
    return host("hv2", *vms, **{"facts": FACTS, "pools": (SHARED, local("hv2")), **more})


def web(**more: Any) -> Vm:
    given: dict[str, Any] = {"disks": (disk("/san/web.qcow2"),), "machine": "q35", "arch": "x86_64"}
    return vm("web", **{**given, **more})


def fleet(*hosts: HostView, **more: Any) -> Any:
    made = world(*hosts)
    settings = {
        each.name: HostSettings(name=each.name, uri=f"qemu+ssh://root@{each.name}/system") for each in hosts
    }
    return world(*hosts, settings=FleetSettings(hosts=settings, flavors=made.settings.flavors, **more))


def way(found: Vm, other: HostView, **more: Any) -> Way:
    left = here(found)
    (only,) = matrix(left, found, fleet(left, other, **more))
    return only


def test_over_shared_storage_it_fits() -> None:
    found = way(web(), there())
    assert (found.fit, found.refusals, found.copies) == (Fit.FITS, (), ())
    assert found.score is not None


CASES: list[tuple[str, Vm, HostView, str, str]] = [
    ("down", web(), there(state=HostState.HUNG, reason="no word"), "up", "hung: no word"),
    ("name", web(), there(replace(vm("web"), info=replace(vm("web").info, uuid="other"))), "name",
     "a VM called web is there"),
    ("uuid", web(), there(replace(vm("web"), info=replace(vm("web").info, name="z"))), "uuid",
     "a VM of its UUID is there"),
    ("kind", web(), there(facts=replace(FACTS, hypervisor="Xen")), "hypervisor", "runs Xen, not QEMU"),
    ("version", web(), there(facts=replace(FACTS, hypervisor_version="7.10.1")), "hypervisor",
     "has QEMU 7.10.1, older than 8.2.0"),
    ("arch", web(arch="aarch64"), there(), "image", "is of x86_64, not aarch64"),
    ("machine", web(machine="pc-q35-9.0"), there(), "image", "has no machine type pc-q35-9.0"),
    ("firmware", web(firmware="efi"), there(), "image", "has no firmware efi"),
    ("cpu model", web(cpu_mode="custom", cpu_model="Icelake"), there(), "image", "has no CPU model Icelake"),
    ("cpu", web(cpu_mode="host-passthrough"), there(facts=replace(FACTS, cpu_model="Rome")), "cpu",
     "its guest sees the CPU of its host, EPYC; this is Rome"),
    ("features", web(cpu_mode="host-passthrough"), there(facts=replace(FACTS, cpu_features=("aes",))), "cpu",
     "its CPU lacks avx2"),
    ("network", web(), there(networks=(Network(uuid="n", name="default", active=False),)), "networks",
     "no active network default"),
    ("memory", web(memory_max=40 * GIB), there(), "memory", "needs 40.0G, free 32.0G of 32.0G after ratio 1"),
    ("pins", web(pinned=(CpuPin((0,), (20,)),)), there(), "pins", "it is tied to CPU 20, which is not there"),
    ("taken", web(pinned=(CpuPin((0,), (3,)),)), there(vm("db", pinned=(CpuPin((0,), (3,)),))), "pins",
     "CPU 3, to which it is tied, is another VM's"),
    ("cell", web(memory_cells=(1,)), there(), "pins",
     "its memory is tied to NUMA cell 1, which is not there"),
    ("stopped pool", web(), there(pools=(replace(SHARED, state=PoolState.INACTIVE),)), "disks",
     "pool san, where vda is, is inactive"),
    ("other path", web(), there(pools=(replace(SHARED, target="/mnt"),)), "disks",
     "hv2 has vda at /mnt, not at /san"),
    ("no pool", web(disks=(disk("/nowhere/x"),)), there(), "disks",
     "vda (/nowhere/x) is in no pool: nothing shows that hv2 sees it"),
    ("folder", web(disks=(VmDisk(target="share", device="filesystem", source="/srv"),)), there(), "disks",
     "the folder /srv is handed through to it"),
    ("cdrom", web(disks=(disk(LOCAL, device="cdrom", readonly=True),)), there(), "disks",
     f"its cdrom vda has {LOCAL}, which hv2 does not see"),
    ("shareable", web(disks=(disk(LOCAL, shareable=True),)), there(), "disks",
     "vda is shared with other VMs and can't be copied"),
    ("no pool there", web(disks=(disk(LOCAL),)), there(pools=()), "disks", "no pool default for vda"),
    ("pool off", web(disks=(disk(LOCAL),)), there(pools=(local("hv2", state=PoolState.INACTIVE),)), "disks",
     "pool default is inactive"),
    ("pool kind", web(disks=(disk(LOCAL),)), there(pools=(local("hv2", type_="logical"),)), "disks",
     "pool default is of type logical: vda can't be copied there"),
    ("pool path", web(disks=(disk(LOCAL),)), there(pools=(replace(local("hv2"), target="/d"),)), "disks",
     "pool default is at /d, not at /default"),
    ("taken name", web(disks=(disk(LOCAL),)), there(volumes=(volume("web.qcow2"),)), "disks",
     "a volume web.qcow2 is in pool default already"),
    ("full", web(disks=(disk(LOCAL),)), there(pools=(local("hv2", left=GIB),)), "disks",
     "pool default has 1.0G left, needs 10.0G"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "other", "rule", "why"), [each[1:] for each in CASES], ids=[each[0] for each in CASES]
)
def test_each_reason_against_a_host(found: Vm, other: HostView, rule: str, why: str) -> None:
    answer = way(found, other)
    assert [(each.filter, each.why) for each in answer.refusals] == [(rule, why)]
    assert (answer.fit, answer.score) == (Fit.NO, None)


def test_a_host_that_has_not_told_what_it_is_is_none() -> None:
    refusals = [(each.filter, each.why) for each in way(web(), there(facts=None)).refusals]
    assert ("hypervisor", "what it runs is not known yet") in refusals


def test_the_rule_of_its_group_holds_where_it_goes() -> None:
    groups = {"apart": GroupSettings(policy="anti-affinity")}
    answer = way(web(group="apart"), there(vm("db", group="apart")), groups=groups)
    assert [each.filter for each in answer.refusals] == ["group"]
    assert way(web(group="apart"), there(), groups=groups).fit is Fit.FITS


def test_a_disk_that_only_its_host_sees_is_copied_and_one_that_both_see_never() -> None:
    disks = (
        disk("/san/web.qcow2"),
        VmDisk(target="vdb", source=LOCAL, format="raw"),
        VmDisk(target="sda", device="cdrom"),
    )
    answer = way(web(disks=disks), there())
    assert answer.fit is Fit.COPYING
    assert [(each.target, each.pool, each.format, each.capacity) for each in answer.copies] == [
        ("vdb", "default", "raw", 10 * GIB)
    ]


def test_equal_paths_are_no_evidence() -> None:
    """Two hosts may each have a pool at one path."""
    other = there(pools=(replace(SHARED, identity="local:hv2"),))
    assert way(web(), other).fit is Fit.COPYING


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (web(pci=("0000:3b:00.0",)), "it has PCI devices of its host: 0000:3b:00.0"),
        (web(tied=("a USB device of its host",)), "it has a USB device of its host, which can't be moved"),
        (web(snapshots=2), "it has snapshots (2), which libvirt can't move with it"),
        (web(os_type="exe"), "containers can't be moved"),
        (vm("web", VmState.CRASHED, managed_save=True),
         "it has a saved state, which lies on its host: restore it, or discard it"),
        (vm("web", VmState.SUSPENDED), "web is pmsuspended"),
        (Vm(web().info, VmStats("u-web", VmState.PAUSED, "migrating")),
         "web is being migrated, or was when that broke off"),
        (Vm(web().info, VmStats("u-web", VmState.PAUSED, "ioerror")),
         "web was paused by an I/O error: look at its storage first"),
    ],
)  # fmt: skip
def test_what_keeps_it_from_going_anywhere(found: Vm, why: str) -> None:
    assert obstacles(found) == [why]
    with pytest.raises(RefusedError, match="migrate web: "):
        planner.plan(MigrateVm(vm=ref(here(found), "web")), fleet(here(found), there()))


def test_a_running_vm_is_moved_without_a_question_and_the_plan_holds() -> None:
    found = web(autostart=True)
    left = here(found)
    given = fleet(left, there())
    plan = planner.plan(MigrateVm(vm=ref(left, "web")), given)
    assert [(step.op, step.host) for step in plan.steps] == [
        ("vm.claim", "hv1"), ("vm.departure", "hv1"), ("vm.room", "hv2"),
        ("vm.move", "hv1"), ("vm.arrive", "hv2"),
    ]  # fmt: skip
    how = plan.steps[3].args["how"]
    assert (how["disks"], how["peer"]) == ([], "qemu+ssh://root@hv2/system?no_tty=1")
    assert plan.steps[4].args["autostart"] is True
    assert plan.danger is Danger.NONE
    assert check(plan.conditions, given.snapshot, NOW) == []
    (promise,) = promised_by(plan)
    assert (promise.host, promise.memory, promise.vcpus) == ("hv2", GIB, 2)


def test_with_a_copy_its_volumes_are_made_there_and_then_deleted_here() -> None:
    found = web(disks=(disk(LOCAL),))
    left = here(found)
    given = fleet(left, there())
    with pytest.raises(
        NoValidHostError, match=r"hv2: it does not see vda \(10.0G\): a copy would be needed"
    ) as told:
        planner.plan(MigrateVm(vm=ref(left, "web")), given)
    assert told.value.cure == "give --copy to have its disks copied"
    plan = planner.plan(MigrateVm(vm=ref(left, "web"), copy="all"), given)
    ops = [(step.op, step.host) for step in plan.steps if step.op.startswith("volume")]
    assert ops == [("volume.create", "hv2"), ("volume.delete", "hv1")]
    assert [step.final for step in plan.steps] == [False] * 6 + [True]
    assert plan.danger is Danger.CONFIRM
    assert next(each for each in plan.steps if each.op == "vm.move").args["how"]["disks"] == ["vda"]
    kept = planner.plan(MigrateVm(vm=ref(left, "web"), copy="all", keep=True), given)
    assert not any(step.final for step in kept.steps)


def test_an_old_volume_that_another_stands_on_stays() -> None:
    found = web(disks=(disk(LOCAL),))
    volumes = (volume("web.qcow2"), volume("over.qcow2", backing="default/web.qcow2"))
    left = here(found, volumes=volumes)
    plan = planner.plan(MigrateVm(vm=ref(left, "web"), copy="all"), fleet(left, there()))
    assert "volume.delete" not in [step.op for step in plan.steps]


def test_of_hosts_that_fit_the_best_one_that_needs_no_copy() -> None:
    left = here(web())
    copying = there(pools=(local("hv2"), pool("san", identity="local:x", target="/san")))
    shared = host("hv3", vm("a"), vm("b"), facts=FACTS, pools=(SHARED,))
    plan = planner.plan(MigrateVm(vm=ref(left, "web"), copy="all"), fleet(left, copying, shared))
    assert plan.steps[2].host == "hv3"


def test_two_that_move_at_once_count_for_each_other() -> None:
    big: dict[str, Any] = {"memory_max": 20 * GIB, "nics": ()}
    one, two = vm("one", **big), vm("two", **big)
    left = host("hv1", one, two, facts=FACTS)
    given = fleet(left, host("hv2", facts=FACTS), host("hv3", facts=FACTS))
    first = planner.plan(MigrateVm(vm=ref(left, "one")), given)
    second = planner.plan(MigrateVm(vm=ref(left, "two")), dataclasses.replace(given, beside=(first,)))
    assert {first.steps[2].host, second.steps[2].host} == {"hv2", "hv3"}


@pytest.mark.parametrize(
    ("action", "kind", "why"),
    [
        ({"to": "hv1"}, RefusedError, "it is on hv1 already"),
        ({"to": "hv9"}, NotFoundError, "no host 'hv9' in this fleet"),
        ({"parallel": 2, "compressed": True}, RefusedError, "compression and parallel connections exclude"),
        ({"parallel": 2, "post_copy": True}, RefusedError, "post-copy and parallel connections exclude"),
    ],
)
def test_what_makes_no_sense_is_said(action: dict[str, Any], kind: type[Exception], why: str) -> None:
    left = here(web())
    with pytest.raises(kind, match=why):
        planner.plan(MigrateVm(vm=ref(left, "web"), **action), fleet(left, there()))


def test_a_vm_that_stands_in_a_migration_is_not_resumed() -> None:
    held = Vm(web().info, VmStats("u-web", VmState.PAUSED, "migrating"))
    with pytest.raises(RefusedError, match="resumed, it might run on two hosts"):
        planner.plan(ResumeVm(vm=ref(here(held), "web")), fleet(here(held)))


def test_a_migration_left_half_done_is_settled_with_the_host_that_shows_it() -> None:
    held = Vm(web().info, VmStats("u-web", VmState.PAUSED, "migrating"))
    left = here(held)
    asked = SettleVm(vm=ref(left, "web"))
    with pytest.raises(RefusedError, match="where it was to go is not known: no other host shows it"):
        planner.plan(asked, fleet(left, there()))
    shown = planner.plan(asked, fleet(left, there(), host("hv3", web())))
    named = planner.plan(SettleVm(vm=ref(left, "web"), other="hv2"), fleet(left, there()))
    assert [plan.steps[1].args["to"] for plan in (shown, named)] == ["hv3", "hv2"]
    assert [step.op for step in named.steps] == ["vm.claim", "vm.move.back", "vm.release"]
    with pytest.raises(RefusedError, match="hv2 is hung"):
        planner.plan(SettleVm(vm=ref(left, "web"), other="hv2"), fleet(left, there(state=HostState.HUNG)))
    with pytest.raises(RefusedError, match="the other host is asked for"):
        planner.plan(SettleVm(vm=ref(left, "web"), other="hv1"), fleet(left, there()))
    runs = here(web())
    assert planner.plan(asked, fleet(runs, there())).steps == ()


@pytest.mark.parametrize(
    ("uri", "more", "found"),
    [
        ("qemu+ssh://root@hv2/system", {}, Peer("qemu+ssh://root@hv2/system?no_tty=1", "tcp://hv2")),
        ("qemu+ssh://hv2:2222/system?keyfile=/me/key&socket=/run/s", {"migration_address": "10.0.9.1"},
         Peer("qemu+ssh://10.0.9.1:2222/system?socket=%2Frun%2Fs&no_tty=1", "tcp://10.0.9.1")),
        ("qemu+libssh2://hv2/system", {"ssh": SshOptions(user="op", port=22)},
         Peer("qemu+ssh://op@hv2:22/system?no_tty=1", "tcp://hv2")),
        ("qemu+tls://hv2/system", {}, Peer("qemu+tls://hv2/system", "tcp://hv2")),
        ("qemu://hv2/system", {}, Peer("qemu+tls://hv2/system", "tcp://hv2")),
        ("qemu+ssh://[fd00::2]/system", {}, Peer("qemu+ssh://[fd00::2]/system?no_tty=1", "tcp://[fd00::2]")),
        ("qemu:///system", {}, None),
        ("qemu:///system", {"migration_address": "hv2"}, Peer("qemu+ssh://hv2/system?no_tty=1", "tcp://hv2")),
    ],
)  # fmt: skip
def test_how_hosts_reach_each_other(uri: str, more: dict[str, Any], found: Peer | None) -> None:
    assert peer(HostSettings(uri=uri, **more)) == found
