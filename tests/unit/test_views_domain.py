"""`vm_info` over the XML of every kind of hypervisor, and over what a hostile one might send."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtfleet.hypervisor.views.domain import vm_info
from virtfleet.hypervisor.views.safexml import MAX_CHARS, parse
from virtfleet.model import VmDisk, VmGraphics, VmInfo, VmNic

DATA = Path(__file__).parent / "data"


def read(name: str) -> VmInfo:
    return vm_info((DATA / f"domain_{name}.xml").read_text("utf-8"))


def test_qemu_whole() -> None:
    info = vm_info(
        (DATA / "domain_qemu.xml").read_text("utf-8"),
        persistent=True,
        autostart=True,
        snapshots=3,
        managed_save=False,
    )
    assert info == VmInfo(
        uuid="4dea22b3-1d52-d8f3-2516-782e98ab3fa0",
        name="db-01",
        title="PostgreSQL primary",
        description="Shop database. Ask the data team before touching it.",
        persistent=True,
        autostart=True,
        arch="x86_64",
        machine="pc-q35-7.2",
        os_type="hvm",
        firmware="efi",
        cpu_mode="custom",
        cpu_model="Skylake-Server-IBRS",
        vcpus_max=8,
        memory_max=16 * 1024**3,
        disks=(
            VmDisk("vda", "disk", "file", "/var/lib/libvirt/images/db-01.qcow2", "qcow2", "virtio"),
            VmDisk("vdb", "disk", "network", "rbd:vms/db-01-data", "raw", "virtio", shareable=True),
            VmDisk(
                "sda",
                "lun",
                "block",
                "/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-iqn.2024-01.demo:a-lun-1",
                "raw",
                "scsi",
            ),
            VmDisk("vdc", "disk", "volume", "fast/db-01-wal", "raw", "virtio"),
            VmDisk("vdd", "disk", "nvme", "0000:01:00.0", "raw", "virtio"),
            VmDisk("sdb", "cdrom", "file", "", "", "sata", readonly=True),
            VmDisk("share", "filesystem", "mount", "/srv/share", "virtiofs", "", readonly=True),
        ),
        nics=(
            VmNic("52:54:00:4a:12:01", "network", "default", "virtio", "vnet3"),
            VmNic("52:54:00:4a:12:02", "bridge", "br-prod", "e1000e", "vnet4"),
            VmNic("52:54:00:4a:12:03", "direct", "eno2", "virtio", "macvtap0"),
            VmNic("52:54:00:4a:12:04", "hostdev", "0000:3b:02.1"),
            VmNic("52:54:00:4a:12:05", "user"),
        ),
        graphics=(
            VmGraphics("vnc", "127.0.0.1", 5907),
            VmGraphics("spice", "10.0.0.7", 5908),
            VmGraphics("vnc", "", None, "/run/virtfleet/db-01.vnc"),
        ),
        consoles=2,
        agent=True,
        snapshots=3,
        managed_save=False,
        project="web",
        flavor="xlarge",
        group="db",
        tags=("prod", "critical"),
        protected=True,
        ha_priority=10,
        page_size=2 * 1024**2,
        pci=("0000:3b:02.1", "0000:01:00.0"),
    )


def test_lxc_has_its_root_and_its_configured_addresses() -> None:
    info = read("lxc")
    assert info.os_type == "exe"
    assert info.firmware == ""
    assert info.memory_max == 128 * 1024**2
    assert info.disks == (
        VmDisk("/", "filesystem", "mount", "/srv/containers/dns"),
        VmDisk("/var/zones", "filesystem", "file", "/srv/zones.img", "loop", readonly=True),
    )
    assert info.addresses == ("10.0.5.9", "fd00::9")
    assert info.nics[0].address_source == "config"
    assert info.consoles == 1
    assert info.agent is None


def test_xen() -> None:
    info = read("xen")
    assert (info.os_type, info.machine, info.firmware) == ("linux", "xenpv", "")
    assert info.memory_max == 2 * 1024**3
    assert info.disks == (VmDisk("xvda", "disk", "block", "/dev/vg0/pv-guest", "raw", "xen"),)
    assert info.nics == (VmNic("00:16:3e:41:84:1b", "bridge", "xenbr0", "", "vif3.0"),)
    assert info.graphics == (VmGraphics("vnc"),)


def test_esx() -> None:
    info = read("esx")
    assert info.name == "Windows Server (old)"
    assert info.firmware == "efi"
    assert info.disks[0].source == "[datastore1] Windows/Windows.vmdk"
    assert info.nics[0].source == "VM Network"
    assert info.consoles == 0


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("<memory unit='KiB'>1</memory>", 1024),
        ("<memory>1</memory>", 1024),
        ("<memory unit='k'>1</memory>", 1024),
        ("<memory unit='KB'>1</memory>", 1000),
        ("<memory unit='b'>4096</memory>", 4096),
        ("<memory unit='MiB'>3</memory>", 3 * 1024**2),
        ("<memory unit='GB'>3</memory>", 3 * 1000**3),
        (
            "<memory unit='TiB'>9007199</memory>",
            9007199 * 1024**4 if 9007199 * 1024**4 < 2**63 else 2**63 - 1,
        ),
        ("<memory unit='furlong'>3</memory>", 0),
        ("<memory>-5</memory>", 0),
        ("<memory>1_000</memory>", 0),
        ("<memory>٣</memory>", 0),
        ("<memory>99999999999999999999999</memory>", 0),
        ("<memory/>", 0),
        ("", 0),
    ],
)
def test_memory_units(memory: str, expected: int) -> None:
    assert vm_info(f"<domain><name>x</name>{memory}</domain>").memory_max == expected


def test_names_from_hell_are_harmless() -> None:
    info = vm_info(
        "<domain><name>[red]x\x1b[2J\u202egnp.exe</name><title>a&#27;]0;b&#x9b;</title>"
        f"<description>{'d' * 250}</description></domain>"
    )
    assert info.name == "[red]x\ufffd[2Jgnp.exe"
    assert info.title == "a\ufffd]0;b\ufffd"
    assert info.description == "d" * 250
    long = "n" * 250
    assert vm_info(f"<domain><name>{long}</name></domain>").name == long


def test_odd_elements_give_defaults() -> None:
    info = vm_info(
        """<domain><name/><uuid>u</uuid><vcpu>many</vcpu><cpu><model/></cpu><metadata>
        <v:vm xmlns:v="urn:virtfleet:vm:1"><v:protected>no</v:protected><v:ha-priority>high</v:ha-priority>
        <v:tag/><!-- c --><v:tag> a </v:tag></v:vm></metadata>
        <devices><disk/><disk type='nvme'><source/></disk><interface/><graphics type='vnc' port='99999'/>
        <channel/><console/><disk type='network'><source/></disk><serial><x/></serial></devices></domain>"""
    )
    assert info.name == "u"
    assert info.vcpus_max == 0
    assert info.disks == (VmDisk(""), VmDisk("", type="nvme"), VmDisk("", type="network"))
    assert info.nics == (VmNic(""),)
    assert info.graphics == (VmGraphics("vnc"),)
    assert info.agent is None
    assert info.consoles == 2
    assert (info.protected, info.ha_priority, info.tags) == (False, None, ("a",))


def test_silent_agent() -> None:
    xml = "<domain><devices><channel><target name='org.qemu.guest_agent.0'/></channel></devices></domain>"
    assert vm_info(xml).agent is False


LAUGHS = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">
<!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY lol3 "&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;">]>
<domain><name>&lol3;</name></domain>"""


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        '<!DOCTYPE d SYSTEM "http://192.0.2.1/x.dtd"><domain/>',
        '<!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]><domain><name>&f;</name></domain>',
        "<domain><name>&unknown;</name></domain>",
        "<domain",
        "",
        "no xml",
        "<pool/>",
        "<a>" * 100_000,
        "<domain>" + " " * MAX_CHARS + "</domain>",
    ],
    ids=["laughs", "remote-dtd", "file", "entity", "cut", "empty", "text", "other", "deep", "huge"],
)
def test_attacks_are_value_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"XML|domain"):
        vm_info(text)


def test_text_in_any_encoding_declaration_and_lone_surrogates() -> None:
    assert parse('<?xml version="1.0" encoding="latin-1"?><a>é</a>').text == "é"
    assert vm_info("<domain><name>a\ud800b</name></domain>").name in ("a?b", "a\ufffdb")


def test_what_ties_a_vm_to_its_host_is_named_once() -> None:
    devices = (
        "<hostdev mode='subsystem' type='usb'/><hostdev mode='subsystem' type='usb'/>"
        "<hostdev mode='subsystem' type='mdev'/><hostdev mode='subsystem' type='pci'/>"
        "<tpm><backend type='passthrough'/></tpm><tpm><backend type='emulator'/></tpm><shmem name='s'/>"
        "<interface type='vdpa'/>"
    )
    info = vm_info(f"<domain><uuid>u</uuid><name>n</name><devices>{devices}</devices></domain>")
    assert info.tied == (
        "a USB device of its host",
        "a mediated device (vGPU)",
        "a vDPA network card",
        "its host's TPM",
        "memory shared with its host",
    )
    assert vm_info("<domain><uuid>u</uuid><name>n</name></domain>").tied == ()
