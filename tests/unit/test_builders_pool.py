"""The XML of every type of pool, word for word, and by libvirt's own schema where it is installed."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from virtfleet.hypervisor.builders.pool import pool_xml, secret_xml, source_xml
from virtfleet.hypervisor.builders.pool_types import BACKENDS, backend, split_host, why_not
from virtfleet.hypervisor.views.offering import pool_types
from virtfleet.hypervisor.views.pool import pool_parts
from virtfleet.hypervisor.views.pool_sources import secret_of, sources
from virtfleet.model.action_storage import PoolSource

UUID = "11111111-1111-4111-8111-111111111111"
SECRET = "22222222-2222-4222-8222-222222222222"
IQN = "iqn.2026-01.example:store"
SCHEMAS = Path("/usr/share/libvirt/schemas")

HEAD = f"<name>p</name><uuid>{UUID}</uuid>"
GOLDEN: dict[str, tuple[PoolSource, str, str]] = {
    "dir": (PoolSource(), "/srv/a", "<target><path>/srv/a</path></target>"),
    "fs": (
        PoolSource(devices=("/dev/sdb1",), format="ext4"),
        "/srv/a",
        "<source><device path='/dev/sdb1'/><format type='ext4'/></source>"
        "<target><path>/srv/a</path></target>",
    ),
    "netfs": (
        PoolSource(hosts=("filer:2049",), path="/export/vms", format="nfs"),
        "/srv/a",
        "<source><host name='filer' port='2049'/><dir path='/export/vms'/><format type='nfs'/></source>"
        "<target><path>/srv/a</path></target>",
    ),
    "logical": (
        PoolSource(name="vg0", devices=("/dev/sdb", "/dev/sdc")),
        "",
        "<source><device path='/dev/sdb'/><device path='/dev/sdc'/><name>vg0</name>"
        "<format type='lvm2'/></source>"
        "<target><path>/dev/vg0</path></target>",
    ),
    "disk": (
        PoolSource(devices=("/dev/sdb",), format="gpt"),
        "",
        "<source><device path='/dev/sdb'/><format type='gpt'/></source><target><path>/dev</path></target>",
    ),
    "iscsi": (
        PoolSource(hosts=("san",), devices=(IQN,)),
        "",
        f"<source><host name='san'/><device path='{IQN}'/></source>"
        "<target><path>/dev/disk/by-path</path></target>",
    ),
    "iscsi-direct": (
        PoolSource(hosts=("[fd00::1]:3260",), devices=(IQN,), initiator="iqn.2026-01.example:hv"),
        "",
        f"<source><host name='fd00::1' port='3260'/><device path='{IQN}'/>"
        "<initiator><iqn name='iqn.2026-01.example:hv'/></initiator></source>",
    ),
    "scsi": (
        PoolSource(adapter="scsi_host5"),
        "",
        "<source><adapter type='scsi_host' name='scsi_host5'/></source>"
        "<target><path>/dev/disk/by-path</path></target>",
    ),
    "mpath": (PoolSource(), "", "<target><path>/dev/mapper</path></target>"),
    "gluster": (
        PoolSource(hosts=("fs1",), name="vol"),
        "",
        "<source><host name='fs1'/><dir path='/'/><name>vol</name></source>",
    ),
    "rbd": (
        PoolSource(hosts=("mon1:6789", "mon2"), name="vms"),
        "",
        "<source><host name='mon1' port='6789'/><host name='mon2'/><name>vms</name></source>",
    ),
    "zfs": (
        PoolSource(name="tank", devices=("/dev/sdb",)),
        "",
        "<source><device path='/dev/sdb'/><name>tank</name></source>",
    ),
}


def canonical(text: str) -> str:
    return etree.tostring(etree.fromstring(text), method="c14n").decode()


def valid(text: str, schema: str) -> None:
    file = SCHEMAS / schema
    if file.exists():
        etree.RelaxNG(etree.parse(file)).assertValid(etree.fromstring(text))


def test_every_type_has_its_xml_here() -> None:
    assert GOLDEN.keys() == BACKENDS.keys()


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_xml_of_a_pool(kind: str) -> None:
    source, target, inside = GOLDEN[kind]
    made = pool_xml(name="p", uuid=UUID, type=kind, target=target, source=source)
    assert canonical(made) == canonical(f"<pool type='{kind}'>{HEAD}{inside}</pool>")
    valid(made, "storagepool.rng")
    parts = pool_parts(made)
    assert (parts.name, parts.uuid, parts.type) == ("p", UUID, kind)
    assert (parts.identity is not None) == BACKENDS[kind].network


@pytest.mark.parametrize(("kind", "auth"), [("iscsi", "chap"), ("iscsi-direct", "chap"), ("rbd", "ceph")])
def test_a_login_names_the_secret_and_never_is_it(kind: str, auth: str) -> None:
    source, target, _ = GOLDEN[kind]
    made = pool_xml(name="p", uuid=UUID, type=kind, target=target, source=source, user="hv", secret=SECRET)
    assert f'<auth type="{auth}" username="hv"><secret uuid="{SECRET}"/></auth>' in made
    valid(made, "storagepool.rng")
    assert secret_of(made) == (SECRET, "")
    secret = secret_xml(uuid=SECRET, kind=auth, usage=f"virtfleet pool {SECRET}")
    valid(secret, "secret.rng")
    assert etree.fromstring(secret).get("private") == "yes"


def test_names_are_only_names() -> None:
    name = """<&"']]>"""
    made = pool_xml(name=name, uuid=UUID, type="dir", target=f"/srv/{name}", source=None)
    assert (pool_parts(made).name, pool_parts(made).target) == (name, f"/srv/{name}")


@given(st.text(string.printable, max_size=30))
def test_a_host_is_one_or_is_refused(text: str) -> None:
    try:
        name, port = split_host(text)
    except ValueError:
        return
    assert name
    assert not name.startswith("-")
    assert 0 <= port < 65536
    assert not set(name) & set(" /'\"<>&\n[]")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("san", ("san", 0)),
        ("10.0.0.1:3260", ("10.0.0.1", 3260)),
        ("fd00::1", ("fd00::1", 0)),
        ("[fd00::1]:24007", ("fd00::1", 24007)),
        ("[fd00::1]", ("fd00::1", 0)),
    ],
)
def test_hosts_with_and_without_a_port(text: str, found: tuple[str, int]) -> None:
    assert split_host(text) == found


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:0", "a:65536", "a:x", "[a", "[a]b", "-o", "a b", "a/b"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"accepted|is no HOST"):
        split_host(text)


def test_what_a_backend_can_not_do_is_said() -> None:
    assert why_not("dir", "resize") == ""
    assert "LUNs" in why_not("iscsi-direct", "resize")
    assert "libvirt has no rbd pools; it has dir, fs" in why_not("rbd", "create", ("dir", "fs"))
    assert why_not("rbd", "create") == ""
    assert why_not("rbd", "stop", ("dir",)) == ""
    assert "can't look for sources" in why_not("dir", "discover")
    assert "is not for libvirt to make" in why_not("gluster", "build")
    with pytest.raises(ValueError, match="accepted: dir, fs, netfs"):
        backend("nfs")


def test_what_a_host_has_been_built_with() -> None:
    xml = (
        "<storagepoolCapabilities><pool type='dir' supported='yes'/><pool type='rbd' supported='no'/>"
        "<pool type='gluster' supported='yes'/></storagepoolCapabilities>"
    )
    assert pool_types(xml) == ("dir", "gluster")
    assert pool_types("<other/>") == pool_types("") == ()


def test_sources_that_libvirt_finds() -> None:
    xml = (
        "<sources><source><host name='fs1'/><dir path='/'/><name>vol</name></source>"
        "<source><host name='localhost'/><dir path='/x'/><name>other</name></source></sources>"
    )
    first, second = sources("gluster", xml)
    assert (first.hosts, first.name, first.path, first.identity) == (("fs1",), "vol", "/", "gluster:fs1:vol")
    assert second.identity == ""
    with pytest.raises(ValueError, match="no list of sources"):
        sources("gluster", "<pool/>")


def test_a_question_for_sources_names_the_server_alone() -> None:
    made = etree.tostring(source_xml("netfs", PoolSource(hosts=("filer",)))).decode()
    assert made == '<source><host name="filer"/></source>'
