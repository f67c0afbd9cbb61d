"""Networks with their leases, and a host's own facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtfleet.hypervisor.views.host import Capabilities, capabilities, host_facts, version
from virtfleet.hypervisor.views.network import leases, network
from virtfleet.model import GuestKind, HugePages, Lease, Network, NumaCell

DATA = Path(__file__).parent / "data"


def test_nat_network() -> None:
    text = """<network connections='2'><name>default</name><uuid>dd8fe884-6c02-601e-7551-cca97df1c5df</uuid>
      <forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>
      <bridge name='virbr0' stp='on' delay='0'/>
      <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='a' end='b'/></dhcp></ip>
      <ip family='ipv6' address='fd00:7a::1' prefix='64'/></network>"""
    assert network(text, active=True, autostart=True) == Network(
        uuid="dd8fe884-6c02-601e-7551-cca97df1c5df",
        name="default",
        active=True,
        autostart=True,
        bridge="virbr0",
        forward="nat",
        addresses=("192.168.122.1/24", "fd00:7a::1/64"),
        dhcp=True,
    )


@pytest.mark.parametrize(
    ("inside", "forward", "addresses"),
    [
        ("<forward/>", "nat", ()),
        ("<forward mode='bridge'/><bridge name='br0'/>", "bridge", ()),
        ("", "", ()),
        ("<ip address='10.0.0.1'/>", "", ("10.0.0.1",)),
        ("<ip address='10.0.0.1' netmask='wide'/>", "", ("10.0.0.1",)),
        ("<ip address='10.0.0.1' prefix='-4'/>", "", ("10.0.0.1",)),
        ("<ip/>", "", ()),
    ],
)
def test_other_networks(inside: str, forward: str, addresses: tuple[str, ...]) -> None:
    found = network(f"<network><name>n</name>{inside}</network>", active=False)
    assert (found.forward, found.addresses, found.dhcp) == (forward, addresses, False)


def test_leases() -> None:
    records: list[dict[str, object]] = [
        {
            "mac": "52:54:00:AA:00:01",
            "ipaddr": "192.168.122.7",
            "hostname": "web\x1b",
            "expirytime": 1700000000,
        },
        {"mac": "52:54:00:aa:00:02", "ipaddr": "192.168.122.8", "hostname": None, "expirytime": None},
        {"mac": None, "ipaddr": "192.168.122.9"},
        {"mac": "52:54:00:aa:00:03", "ipaddr": ""},
    ]
    assert leases(records) == (
        Lease("52:54:00:aa:00:01", "192.168.122.7", "web\ufffd", 1700000000.0),
        Lease("52:54:00:aa:00:02", "192.168.122.8"),
    )


def test_capabilities() -> None:
    found = capabilities((DATA / "capabilities_qemu.xml").read_text("utf-8"))
    assert found == Capabilities(
        uuid="4c4c4544-0051-3510-8052-b6c04f4d4c32",
        arch="x86_64",
        cpu_model="Skylake-Server-IBRS",
        cpu_vendor="Intel",
        sockets=2,
        cores=2,
        threads=2,
        numa=(
            NumaCell(0, 98731852 * 1024, 4, (0, 1, 2, 3), ((0, 2), (1, 3))),
            NumaCell(1, 99055276 * 1024, 4, (4, 5, 6, 7), ((4, 6), (5, 7))),
        ),
        iommu=True,
        page_sizes=(2 * 1024**2, 1024**3),
        guests=(GuestKind("x86_64", "hvm"),),
        cpu_features=("vmx",),
        cpu_xml=found.cpu_xml,
    )
    assert found.cpu_xml.startswith("<cpu>")
    assert found.cpu_xml.endswith("</cpu>")


@pytest.mark.parametrize(
    "text", ["", "<", "<capabilities/>", "<capabilities><host><iommu support='who'/></host></capabilities>"]
)
def test_broken_capabilities_are_empty(text: str) -> None:
    assert capabilities(text) == Capabilities()


def test_host_facts() -> None:
    facts = host_facts(
        caps=capabilities((DATA / "capabilities_qemu.xml").read_text("utf-8")),
        node_info=["x86_64", 193_151, 8, 2400, 2, 1, 2, 2],
        hostname="hv1.example\x07",
        hypervisor="QEMU",
        hypervisor_version=7_002_011,
        libvirt_version=9_000_000,
        hugepages=(HugePages(2 * 1024**2, 10, 4),),
        kernel="6.1.0",
        os="Debian",
    )
    assert facts.hostname == "hv1.example\ufffd"
    assert (facts.hypervisor_version, facts.libvirt_version) == ("7.2.11", "9.0.0")
    assert (facts.cpus, facts.sockets, facts.cores, facts.threads, facts.mhz) == (8, 2, 2, 2, 2400)
    assert facts.memory == 193_151 * 1024**2
    assert facts.iommu is True
    assert facts.hugepages[0].free == 4


def test_host_facts_of_a_driver_that_tells_little() -> None:
    sysinfo = "<sysinfo type='smbios'><processor><entry name='version'>Xeon</entry></processor></sysinfo>"
    facts = host_facts(node_info=["armv8", "?", None, 0, 1], sysinfo_xml=sysinfo)
    assert (facts.arch, facts.cpu_model, facts.cpus, facts.memory, facts.iommu) == (
        "armv8",
        "Xeon",
        0,
        0,
        None,
    )
    assert host_facts().arch == ""


@pytest.mark.parametrize(("number", "text"), [(None, ""), (0, ""), (-1, ""), (1_002_003, "1.2.3")])
def test_version(number: int | None, text: str) -> None:
    assert version(number) == text
