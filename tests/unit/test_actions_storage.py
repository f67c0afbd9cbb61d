"""Who stands on a volume, on one host and across hosts that see the same storage."""

from __future__ import annotations

import pytest

from unit.plan_objects import disk, fleet, host, pool, vm, volume
from virtfleet.actions import storage
from virtfleet.model import HostFacts, HostState, HostView, VmDisk, VmState, Volume

NFS = pool("nfs", identity="netfs:server:/export", type_="netfs")


def on_other_path(name: str, backing: str = "") -> Volume:
    return Volume(pool="mnt", name=name, path=f"/mnt/{name}", backing=backing, format="qcow2")


def seer(name: str, *vms: object, volumes: tuple[Volume, ...] = ()) -> HostView:
    """A host that has the shared storage under another pool name and path."""
    return host(
        name,
        *vms,  # type: ignore[arg-type]
        pools=(pool("mnt", identity=NFS.identity, type_="netfs"),),
        volumes=volumes,
    )


def test_a_disk_is_a_volume_by_path_or_by_pool_and_name() -> None:
    a = volume("a.qcow2")
    hv = host("hv1", volumes=(a,))
    assert storage.volume_of(disk("/default/a.qcow2"), hv) == a
    assert storage.volume_of(VmDisk(target="vda", type="volume", source="default/a.qcow2"), hv) == a
    assert storage.volume_of(disk("/default/b.qcow2"), hv) is None
    assert storage.volume_of(disk(""), host("hv1", volumes=(Volume(pool="default", name="x"),))) is None


def test_a_vm_on_another_host_counts_although_its_path_is_another() -> None:
    a = volume("a.qcow2", "nfs")
    here = host("hv1", pools=(NFS,), volumes=(a,))
    there = seer("hv2", vm("b", disks=(disk("/mnt/a.qcow2"),)), volumes=(on_other_path("a.qcow2"),))
    assert storage.user_of(a, here, "", fleet(here, there)) == storage.User("b@hv2", True)


def test_an_overlay_seen_from_another_host_counts() -> None:
    a = volume("a.qcow2", "nfs")
    here = host("hv1", pools=(NFS,), volumes=(a,))
    # It was made here, so it names the path of here; only hv2 has looked since.
    there = seer("hv2", volumes=(on_other_path("over.qcow2", "/nfs/a.qcow2"),))
    assert storage.user_of(a, here, "", fleet(here, there)) == storage.User("mnt/over.qcow2", False)


def test_the_same_path_on_another_storage_is_another_volume() -> None:
    a = volume("a.qcow2")
    here = host("hv1", pools=(pool(identity="local:hv1:/default"),), volumes=(a,))
    there = host(
        "hv2",
        vm("b", disks=(disk("/default/a.qcow2"),)),
        pools=(pool(identity="local:hv2:/default"),),
        volumes=(a, volume("over.qcow2", backing="default/a.qcow2")),
    )
    assert storage.user_of(a, here, "", fleet(here, there)) is None


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vms/a", "rbd:vms/a"),
        ("gluster://server/vms/a", "gluster:vms/a"),
        ("gluster://server/vms/a", "x:vms/a"),
    ],
)
def test_network_disks_are_known_by_their_name(path: str, source: str) -> None:
    a = Volume(pool="default", name="a", path=path)
    hv = host("hv1", vm("b", disks=(VmDisk(target="vda", type="network", source=source),)), volumes=(a,))
    assert storage.user_of(a, hv, "", fleet(hv)) == storage.User("b@hv1", True)


def test_a_vm_stands_not_on_itself_but_its_twin_elsewhere_does() -> None:
    a = volume("a.qcow2", "nfs")
    mine = vm("m", disks=(disk("/nfs/a.qcow2"),))
    here = host("hv1", mine, pools=(NFS,), volumes=(a,))
    assert storage.user_of(a, here, "u-m", fleet(here)) is None
    twin = host("hv2", mine, pools=(NFS,), volumes=(a,))
    assert storage.user_of(a, here, "u-m", fleet(here, twin)) == storage.User("m@hv2", True)


def test_dependants_are_others_overlays_and_not_ones_own() -> None:
    base, own, other = (
        volume("base.qcow2"),
        volume("own.qcow2", backing="default/base.qcow2"),
        volume("other.qcow2", backing="default/base.qcow2"),
    )
    origin = vm("origin", VmState.SHUTOFF, (disk("/default/base.qcow2"), disk("/default/own.qcow2")))
    linked = vm("linked", disks=(disk("/default/other.qcow2"),))
    hv = host("hv1", origin, linked, volumes=(base, own, other))
    found = storage.dependants(hv, origin, fleet(hv))
    assert found == [storage.Dependant("vda", "default/other.qcow2", ("linked@hv1",))]
    alone = host("hv1", origin, volumes=(base, own, other))
    assert storage.dependants(alone, origin, fleet(alone)) == [
        storage.Dependant("vda", "default/other.qcow2", ())
    ]


def test_hosts_that_may_see_a_shared_storage_and_are_silent_are_named() -> None:
    a = volume("a.qcow2", "nfs")
    here = host("hv1", pools=(NFS,), volumes=(a,))
    dead = host("hv2", pools=(NFS,), state=HostState.UNREACHABLE)
    never = host("hv3", pools=(), state=HostState.HUNG)
    elsewhere = host("hv4", pools=(pool(),), state=HostState.HUNG)
    assert storage.silent_seers(a, here, fleet(here, dead, never, elsewhere)) == ["hv2", "hv3"]
    local = host("hv1", volumes=(volume("a.qcow2"),))
    assert storage.silent_seers(volume("a.qcow2"), local, fleet(local, dead)) == []


def test_another_connection_to_the_same_machine_sees_the_same_folder() -> None:
    """A VM of the one must not lose its disk because it was deleted through the other."""
    here = pool("default", identity="local:hv1:/default", target="/default")
    there = pool("images", identity="local:lx1:/default", target="/default")
    user = vm("a", disks=(disk("/default/a.qcow2"),))
    for name, found in (("box", True), ("other", False), ("", False)):
        hv = host("hv1", user, pools=(here,), volumes=(volume("a.qcow2"),), facts=HostFacts(hostname="box"))
        same = Volume(pool="images", name="a.qcow2", path="/default/a.qcow2")
        lx = host("lx1", pools=(there,), volumes=(same,), facts=HostFacts(hostname=name))
        seen = storage.user_of(lx.volumes[0], lx, "", fleet(hv, lx))
        assert (seen is not None and seen.text == "a@hv1") is found
