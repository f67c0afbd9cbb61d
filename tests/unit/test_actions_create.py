"""Plans of new VMs and of clones: what they take, where there is room for it, what they may be called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from unit.plan_objects import GIB, IMAGE, disk, host, pool, ref, vm, volume, world
from virtfleet.actions import given, planner, sources
from virtfleet.actions.conditions import check
from virtfleet.config.settings import FleetSettings, HostSettings, Project, Quota
from virtfleet.errors import RefusedError
from virtfleet.model import HostFacts, VmDisk, VmState
from virtfleet.model.action import AssignVm, CloneVm, CreateVm, DeleteVm, FileRef, ResizeVm, Seed
from virtfleet.model.plan import Effect, Plan
from virtfleet.model.project import Use

XML = """<domain type='kvm'><name>x</name><memory unit='GiB'>3</memory><vcpu>5</vcpu><devices>
<disk type='file' device='disk'><source file='/srv/data.img'/><target dev='vda'/></disk>
<interface type='network'><source network='default'/></interface>
<interface type='bridge'><source bridge='br0'/></interface></devices></domain>"""


def xml_file(folder: Path, text: str = XML) -> FileRef:
    path = folder / "given.xml"
    path.write_text(text)
    return FileRef(str(path), hashlib.sha256(text.encode()).hexdigest(), len(text))


def effect(plan: Plan, what: str) -> Effect:
    return next(each for each in plan.effects if each.what == what)


# ---- given XML


def test_given_xml_says_what_it_takes_and_is_given_what_was_asked(tmp_path: Path) -> None:
    file = xml_file(tmp_path)
    action = CreateVm(name="n", xml=file, project="web", tags=("a",), title="T", protected=True, vcpus=1)
    plan = planner.plan(action, world(host("hv1"), given=given.read(file)))
    define = next(step for step in plan.steps if step.op == "vm.define_xml")
    assert define.title == "define it: 5 vCPU, 3.0G of memory"
    assert define.args["macs"] == ["52:54:00:11:22:02", "52:54:00:11:22:03"]
    assert define.args["data"] == {
        "project": "web", "flavor": "", "group": "", "tags": ("a",), "title": "T", "description": "",
        "protected": True,
    }  # fmt: skip
    assert effect(plan, "memory promised on hv1").after == 3 * GIB
    assert effect(plan, "vCPUs promised on hv1").after == 5
    assert "uses /srv/data.img, which are not made" in [reason.text for reason in plan.reasons]
    assert plan.claims[0].use == Use(vms=1, vcpus=5, memory=3 * GIB)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<network/>", "its root is <network>, not <domain>"),
        ("<domain><vcpu>many</vcpu></domain>", "<vcpu> is 'many', not a number of virtual CPUs"),
        ("<domain><vcpu>1</vcpu></domain>", "<memory> is '', not a size"),
        ("<domain><vcpu>1</vcpu><memory unit='ells'>1</memory></domain>", "<memory> is '1 ells', not a size"),
        ("<!DOCTYPE x><domain/>", "XML with a document type"),
        ("no", "not well-formed"),
        ("x" * (2 << 20), "larger than 1 MiB"),
    ],
)
def test_xml_that_is_none(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(RefusedError) as caught:
        given.read(xml_file(tmp_path, text))
    assert why in str(caught.value)
    assert "given.xml" in str(caught.value)


def test_the_networks_of_given_xml_must_be_there(tmp_path: Path) -> None:
    file = xml_file(tmp_path)
    with pytest.raises(RefusedError, match="hv1: no active network default"):
        planner.plan(
            CreateVm(name="n", xml=file, host="hv1"), world(host("hv1", networks=()), given=given.read(file))
        )


# ---- room


def test_a_host_whose_pools_have_no_room_does_not_fit() -> None:
    full = host("hv1", pools=(pool("default", identity="local:hv1", available=GIB),))
    network = host("hv2", pools=(pool("g", identity="gluster:x", type_="gluster"),))
    none = host("hv3", pools=())
    good = host("hv4")
    plan = planner.plan(CreateVm(name="n", image="i"), world(full, network, none, good))
    assert plan.host == "hv4"
    assert plan.reasons[1].text == (
        "not hv1: pool default has 1.0G left, needs 1.1G; "
        "hv2: pool g is of type gluster, whose volumes are no files of the host; hv3: no pool"
    )


def test_an_image_that_is_there_needs_no_room() -> None:
    cached = volume(IMAGE.volume_name)
    hv = host("hv1", pools=(pool("default", identity="local:hv1", available=GIB),), volumes=(cached,))
    plan = planner.plan(CreateVm(name="n", image="i", seed=Seed()), world(hv))
    room = next(each for each in plan.conditions if each.kind == "pool-active")
    assert room.value == (64 + 2) << 20
    full = replace(hv, pools=(pool("default", identity="local:hv1", available=GIB >> 5),))
    assert check(plan.conditions, world(full).snapshot, 1000.0) == ["pool default on hv1 has 32 MiB left"]


def test_an_image_of_another_machine_goes_elsewhere() -> None:
    arm = replace(IMAGE, arch="aarch64")
    one, two = (
        host(name, facts=HostFacts(arch=arch, cpus=4)) for name, arch in (("a", "x86_64"), ("b", "aarch64"))
    )
    plan = planner.plan(CreateVm(name="n", image="i"), world(one, two, images={"i": arm}))
    assert plan.host == "b"
    assert plan.reasons[1].text == "not a: is of x86_64, not aarch64"


def test_a_clone_needs_room_and_free_names() -> None:
    seed = VmDisk(target="sda", device="cdrom", source="/default/a-seed.iso", format="raw")
    big = volume("a.qcow2", allocation=40 * GIB)
    small = volume("a-seed.iso", capacity=1 << 20)
    original = vm("a", VmState.SHUTOFF, (disk("/default/a.qcow2"), seed))
    hv = host("hv1", original, volumes=(big, small))
    plan = planner.plan(CloneVm(vm=ref(hv, "a"), name="b"), world(hv))
    free = [each.name for each in plan.conditions if each.kind == "volume-free"]
    assert free == ["b.qcow2", "b-seed.iso"]
    assert [each.value for each in plan.conditions if each.kind == "pool-active"] == [(40 << 30) + (2 << 20)]
    tight = replace(hv, pools=(pool("default", identity="local:hv1", available=30 * GIB),))
    with pytest.raises(RefusedError, match=r"default: 30.0G left, 40.0G needed"):
        planner.plan(CloneVm(vm=ref(hv, "a"), name="b"), world(tight))
    taken = replace(hv, volumes=(big, small, volume("b-seed.iso")))
    with pytest.raises(RefusedError, match=r"a volume b-seed.iso is in pool default"):
        planner.plan(CloneVm(vm=ref(hv, "a"), name="b"), world(taken))


# ---- names, seeds


def test_the_seed_goes_with_a_vm_that_was_renamed() -> None:
    seed = VmDisk(target="sda", device="cdrom", source="/default/old-seed.iso", format="raw")
    medium = VmDisk(target="sdb", device="cdrom", source="/default/debian.iso", format="raw")
    volumes = (volume("old-seed.iso", capacity=1 << 20), volume("debian.iso", capacity=1 << 29))
    hv = host("hv1", vm("new", VmState.SHUTOFF, (seed, medium)), volumes=volumes)
    plan = planner.plan(DeleteVm(vm=ref(hv, "new"), volumes="own"), world(hv))
    assert [step.args["name"] for step in plan.steps if step.op == "volume.delete"] == ["old-seed.iso"]


# ---- images


async def test_a_checksum_has_a_form() -> None:
    with pytest.raises(RefusedError, match="'sha256:xyz' is no checksum"):
        await sources.examine(
            CreateVm(name="n", image="i", checksum="sha256:xyz"), FleetSettings(), world().snapshot
        )


# ---- quotas


def test_quotas_refuse_in_the_plan() -> None:
    settings = FleetSettings(projects={"web": Project(quota=Quota(vms=2, vcpus=4, memory=4 * GIB))})
    hv = host("hv1", vm("a", project="web", vcpus_max=3), vm("b"))
    where = world(hv, settings=settings)
    with pytest.raises(RefusedError, match="project web may have 4 vCPUs, has 3, 2 more are asked for"):
        planner.plan(CreateVm(name="n", image="i", project="web", vcpus=2), where)
    one = planner.plan(CreateVm(name="n", image="i", project="web", vcpus=1), where)
    with pytest.raises(RefusedError, match="project web may have 2 VMs, has 2, 1 more are asked for"):
        planner.plan(
            CreateVm(name="m", image="i", project="web"), world(hv, settings=settings, beside=(one,))
        )
    with pytest.raises(RefusedError, match=r"resize a: .* has 3, 2 more"):
        planner.plan(ResizeVm(vm=ref(hv, "a"), vcpus=5), where)
    with pytest.raises(RefusedError, match=r"assign b: .* has 3, 2 more"):
        planner.plan(AssignVm(vm=ref(hv, "b"), project="web"), where)
    assert planner.plan(AssignVm(vm=ref(hv, "a"), project=""), where).claims[0].project == "default"
    assert planner.plan(ResizeVm(vm=ref(hv, "a"), vcpus=2), where).claims[0].use.vcpus == 2


def test_what_stays_on_its_host_needs_room_there() -> None:
    settings = FleetSettings(hosts={"hv1": HostSettings(name="hv1", uri="")})
    hv = host(
        "hv1", vm("a", VmState.SHUTOFF, memory_max=20 * GIB), vm("b", memory_max=10 * GIB, vcpus_max=60)
    )
    where = world(hv, settings=settings)
    with pytest.raises(
        RefusedError, match=r"resize a: 23.0G of memory are wanted, free 22.0G of 32.0G on hv1"
    ):
        planner.plan(ResizeVm(vm=ref(hv, "a"), memory=23 * GIB), where)
    with pytest.raises(RefusedError, match="resize a: 5 vCPUs are wanted, free 4 of 64 on hv1"):
        planner.plan(ResizeVm(vm=ref(hv, "a"), vcpus=5), where)
    with pytest.raises(RefusedError, match=r"clone a: 20.0G of memory are wanted, free 2.0G of 32.0G on hv1"):
        planner.plan(CloneVm(vm=ref(hv, "a"), name="c"), where)
    grown = planner.plan(ResizeVm(vm=ref(hv, "a"), memory=22 * GIB), where)
    step = next(step for step in grown.steps if step.op == "vm.resize")
    assert step.args["limits"] == {"vcpus": 64, "memory": 32 * GIB}


def test_an_over_committed_host_may_shrink() -> None:
    settings = FleetSettings(hosts={"hv1": HostSettings(name="hv1", uri="")})
    hv = host("hv1", vm("a", memory_max=40 * GIB), vm("b", memory_max=10 * GIB))
    plan = planner.plan(ResizeVm(vm=ref(hv, "a"), memory=39 * GIB), world(hv, settings=settings))
    assert [step.op for step in plan.steps] == ["vm.claim", "vm.resize", "vm.release"]
