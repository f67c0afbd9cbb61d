"""Pools and volumes from their XML, and when two hosts have the same pool."""

from __future__ import annotations

import pytest

from virtfleet.hypervisor.views.pool import identity, pool, pool_parts
from virtfleet.hypervisor.views.volume import volume, volume_from_info
from virtfleet.model import Pool, PoolState, Volume

GIB = 1024**3


def xml(kind: str, source: str = "", path: str = "", name: str = "p", sizes: str = "") -> str:
    target = f"<target><path>{path}</path></target>" if path else ""
    inside = f"<name>{name}</name><uuid>u</uuid>{sizes}<source>{source}</source>{target}"
    return f"<pool type='{kind}'>{inside}</pool>"


def same(kind: str, first: str, second: str, path: str = "") -> bool:
    one = identity(pool_parts(xml(kind, first, path)), "hv1")
    two = identity(pool_parts(xml(kind, second, path)), "hv2")
    return one == two


def test_directory_pool() -> None:
    text = """<pool type='dir'>
      <name>images</name><uuid>dfe224cb-28fb-8dd0-c4b2-64eb3f0f4566</uuid>
      <capacity unit='bytes'>107374182400</capacity><allocation unit='GiB'>40</allocation>
      <available unit='bytes'>64424509440</available>
      <source/><target><path>/var/lib/libvirt/images/</path></target></pool>"""
    assert pool(text, host="hv1", state=2, volumes=4, autostart=True) == Pool(
        uuid="dfe224cb-28fb-8dd0-c4b2-64eb3f0f4566",
        name="images",
        type="dir",
        state=PoolState.RUNNING,
        identity="local:hv1:/var/lib/libvirt/images",
        target="/var/lib/libvirt/images/",
        source="",
        capacity=100 * GIB,
        allocation=40 * GIB,
        available=60 * GIB,
        volumes=4,
        autostart=True,
        persistent=True,
    )
    assert pool(text, host="hv1", state=2, probe="0b3e").identity == "probe:0b3e"


NFS = "<host name='{}'/><dir path='{}'/><format type='nfs'/>"
GLUSTERFS = "<host name='{}'/><dir path='{}'/><format type='glusterfs'/>"
GLUSTER = "<host name='{}'/><name>{}</name><dir path='{}'/>"
ISCSI = "<host name='{}' port='{}'/><device path='{}'/>"


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("netfs", NFS.format("nas1.example", "/export/vm"), NFS.format("NAS1.Example.", "//export/./vm/")),
        ("netfs", NFS.format("2001:db8::1", "/x"), NFS.format("[2001:0DB8:0::1]", "/x")),
        ("netfs", GLUSTERFS.format("g1", "/vol"), GLUSTERFS.format("g1", "vol/")),
        ("gluster", GLUSTER.format("g1", "vol", "/"), GLUSTER.format("G1", "vol", "")),
        ("iscsi-direct", ISCSI.format("san", "3260", "iqn.A"), ISCSI.format("san", "", "iqn.a")),
        (
            "rbd",
            "<host name='mon2' port='6789'/><host name='mon1'/><name>vms</name>",
            "<name>vms</name><host name='mon1' port='3300'/><host name='Mon2'/>",
        ),
    ],
)
def test_the_same_storage_however_it_is_written(kind: str, first: str, second: str) -> None:
    assert same(kind, first, second)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("netfs", NFS.format("nas1", "/export/vm"), NFS.format("nas1", "/export/vm2")),
        ("netfs", NFS.format("nas1", "/export/vm"), NFS.format("nas2", "/export/vm")),
        ("netfs", NFS.format("localhost", "/export/vm"), NFS.format("localhost", "/export/vm")),
        ("netfs", NFS.format("127.0.0.1", "/x"), NFS.format("127.0.0.1", "/x")),
        ("gluster", GLUSTER.format("::1", "vol", "/"), GLUSTER.format("::1", "vol", "/")),
        ("gluster", GLUSTER.format("g1", "vol", "/a"), GLUSTER.format("g1", "vol", "/b")),
        ("iscsi", ISCSI.format("san", "3261", "iqn.a"), ISCSI.format("san", "3260", "iqn.a")),
        ("rbd", "<name>vms</name>", "<name>vms</name>"),
        ("rbd", "<host name='m'/><name>vms</name>", "<host name='m'/><name>img</name>"),
        ("dir", "", ""),
        ("logical", "<name>vg0</name>", "<name>vg0</name>"),
        ("zfs", "<name>tank</name>", "<name>tank</name>"),
    ],
)
def test_not_the_same_storage(kind: str, first: str, second: str) -> None:
    assert not same(kind, first, second, path="/srv/same/path")


def test_one_target_by_the_kernel_and_by_libiscsi_is_one() -> None:
    source = ISCSI.format("san", "3260", "iqn.a")
    kernel = pool_parts(xml("iscsi", source, "/dev/disk/by-path"))
    assert kernel.identity == pool_parts(xml("iscsi-direct", source)).identity == "iscsi:san/iqn.a"


@pytest.mark.parametrize(
    ("kind", "source", "shown"),
    [
        ("netfs", NFS.format("nas1", "/export"), "nas1:/export"),
        ("gluster", GLUSTER.format("g1", "vol", "/"), "g1:vol"),
        ("rbd", "<host name='m1'/><host name='m2' port='6789'/><name>vms</name>", "vms@m1,m2:6789"),
        ("iscsi-direct", ISCSI.format("san", "3260", "iqn.a"), "san:3260/iqn.a"),
        ("logical", "<name>vg0</name><device path='/dev/sdb'/>", "vg0"),
        ("fs", "<device path='/dev/sdc1'/>", "/dev/sdc1"),
        ("scsi", "<adapter type='scsi_host' name='scsi_host5'/>", "scsi_host5"),
    ],
)
def test_source_for_a_person(kind: str, source: str, shown: str) -> None:
    assert pool_parts(xml(kind, source)).source == shown


def test_two_scsi_pools_of_a_host_share_a_target_and_are_two() -> None:
    one = pool_parts(xml("scsi", "<adapter name='scsi_host5'/>", "/dev/disk/by-path"))
    two = pool_parts(xml("scsi", "<adapter name='scsi_host6'/>", "/dev/disk/by-path"))
    assert identity(one, "hv1") == "local:hv1:scsi/scsi_host5" != identity(two, "hv1")


SIZES = "<capacity>{}</capacity><allocation>{}</allocation><available>{}</available>"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((100, 40, 60), (100, 40, 60)),
        ((0, 0, 0), (None, None, None)),
        ((0, 0, 2**64 - 4096), (None, None, None)),  # a Ceph cluster without a manager
        ((2**64 - 1, 0, 2**64 - 1), (None, None, None)),
        ((100, 30, 2**64 - 5), (100, 30, 70)),
        ((100, 150, 2**64 - 50), (100, 150, None)),  # overcommitted: the driver's own underflow
        (("x", "y", "z"), (None, None, None)),
    ],
)
def test_sizes_that_can_not_be_are_not_told(sizes: tuple[object, ...], expected: tuple[object, ...]) -> None:
    parts = pool_parts(xml("rbd", sizes=SIZES.format(*sizes)))
    assert (parts.capacity, parts.allocation, parts.available) == expected


def test_unknown_state_promises_nothing() -> None:
    assert pool(xml("dir", path="/x"), host="h", state=77).state is PoolState.INACCESSIBLE


def test_volume() -> None:
    text = """<volume type='file'><name>db-01.qcow2</name><key>/img/db-01.qcow2</key>
      <capacity unit='GiB'>20</capacity><allocation unit='bytes'>4096</allocation>
      <physical unit='bytes'>8192</physical>
      <target><path>/img/db-01.qcow2</path><format type='qcow2'/></target>
      <backingStore><path>/img/base.qcow2</path><format type='qcow2'/></backingStore></volume>"""
    path = "/img/db-01.qcow2"
    assert volume(text, "images") == Volume(
        "images", "db-01.qcow2", path, path, "file", "qcow2", 20 * GIB, 4096, 8192, "/img/base.qcow2"
    )
    assert volume("<volume/>", "images") == Volume("images", "")
    assert volume_from_info("p", "a\x1b", [1, 10, 5], "/dev/vg/a").name == "a\ufffd"
    assert volume_from_info("p", "a", [1, 10, 5], "/dev/vg/a").type == "block"
    with pytest.raises(ValueError, match="volume"):
        volume("<pool/>", "images")
