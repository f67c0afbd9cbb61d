"""What ties a VM to its host, as libvirt's XML: as it shall be written, valid for libvirt, and read back."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from virtfleet.decide.tied import not_parted, shown_as
from virtfleet.errors import RefusedError
from virtfleet.hypervisor.builders.domain import domain_xml
from virtfleet.hypervisor.builders.offers import Offers
from virtfleet.hypervisor.views.domain import vm_info
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model import HostFacts, PciDevice
from virtfleet.model.spec import CellSpec, Tied, VmSpec

MIB, GIB = 1 << 20, 1 << 30
UUID = "8f7d5a64-0000-4000-8000-0000000000aa"
_KEPT = ("vcpu", "cputune", "numatune", "memoryBacking", "cpu")


def built(tied: Tied, vcpus: int = 2, memory: int = GIB, offer: Offers | None = None) -> str:
    spec = VmSpec(name="tied", uuid=UUID, vcpus=vcpus, memory=memory, tied=tied)
    return domain_xml(spec, offer or Offers(kind="test"), {}, None)


def parts(xml: str) -> str:
    """What of it ties it, without the layout."""
    root = parse(xml)
    found = [each for each in root if each.tag in _KEPT] + root.findall("devices/hostdev")
    root.find("name").tail = None  # type: ignore[union-attr] # it has one
    texts = []
    for each in found:
        for inner in each.iter():
            inner.tail = None
            inner.text = (inner.text or "").strip() or None
        texts.append(etree.tostring(each, encoding="unicode"))
    return "\n".join(texts)


GOLDEN = {
    "dedicated": (
        Tied(cells=(CellSpec(cpus=(0, 1), memory=GIB, host=0),), pins=((0, 2), (1, 3))),
        """<vcpu>2</vcpu>
<cputune><vcpupin vcpu="0" cpuset="2"/><vcpupin vcpu="1" cpuset="3"/><emulatorpin cpuset="2-3"/></cputune>
<numatune><memory mode="strict" nodeset="0"/><memnode cellid="0" mode="strict" nodeset="0"/></numatune>
<cpu><numa><cell id="0" cpus="0-1" memory="1048576" unit="KiB"/></numa></cpu>""",
    ),
    "isolated on two cells with pages": (
        Tied(
            cells=(
                CellSpec(cpus=(0,), memory=GIB // 2, host=1, page_size=2 * MIB),
                CellSpec(cpus=(1,), memory=GIB // 2, host=0, page_size=GIB // 2),
            ),
            pins=((0, 8), (1, 0)),
            kept_free=(1, 9),
        ),
        """<vcpu>2</vcpu>
<cputune><vcpupin vcpu="0" cpuset="8"/><vcpupin vcpu="1" cpuset="0"/><emulatorpin cpuset="0,8"/></cputune>
<numatune><memory mode="strict" nodeset="0-1"/><memnode cellid="0" mode="strict" nodeset="1"/>"""
        """<memnode cellid="1" mode="strict" nodeset="0"/></numatune>
<memoryBacking><hugepages><page size="2048" unit="KiB" nodeset="0"/>"""
        """<page size="524288" unit="KiB" nodeset="1"/></hugepages></memoryBacking>
<cpu><numa><cell id="0" cpus="0" memory="524288" unit="KiB"/>"""
        """<cell id="1" cpus="1" memory="524288" unit="KiB"/></numa></cpu>""",
    ),
    "one cell, shared": (
        Tied(cells=(CellSpec(cpus=(0, 1), memory=GIB, host=1, page_size=2 * MIB, shared_cpus=(8, 9, 12)),)),
        """<vcpu placement="static" cpuset="8-9,12">2</vcpu>
<numatune><memory mode="strict" nodeset="1"/><memnode cellid="0" mode="strict" nodeset="1"/></numatune>
<memoryBacking><hugepages><page size="2048" unit="KiB" nodeset="0"/></hugepages></memoryBacking>
<cpu><numa><cell id="0" cpus="0-1" memory="1048576" unit="KiB"/></numa></cpu>""",
    ),
    "two cells, shared": (
        Tied(
            cells=(
                CellSpec(cpus=(0,), memory=GIB // 2, host=0, shared_cpus=(0, 1)),
                CellSpec(cpus=(1,), memory=GIB // 2, host=1, shared_cpus=(2, 3)),
            )
        ),
        """<vcpu>2</vcpu>
<cputune><vcpupin vcpu="0" cpuset="0-1"/><vcpupin vcpu="1" cpuset="2-3"/><emulatorpin cpuset="0-3"/></cputune>
<numatune><memory mode="strict" nodeset="0-1"/><memnode cellid="0" mode="strict" nodeset="0"/>"""
        """<memnode cellid="1" mode="strict" nodeset="1"/></numatune>
<cpu><numa><cell id="0" cpus="0" memory="524288" unit="KiB"/>"""
        """<cell id="1" cpus="1" memory="524288" unit="KiB"/></numa></cpu>""",
    ),
    "devices": (
        Tied(devices=("0000:3b:00.0", "0001:af:10.7")),
        """<vcpu>2</vcpu>
<hostdev mode="subsystem" type="pci" managed="yes"><source>"""
        """<address domain="0x0000" bus="0x3b" slot="0x00" function="0x0"/></source></hostdev>
<hostdev mode="subsystem" type="pci" managed="yes"><source>"""
        """<address domain="0x0001" bus="0xaf" slot="0x10" function="0x7"/></source></hostdev>""",
    ),
}


@pytest.fixture
def driver() -> Iterator[libvirt.virConnect]:
    """libvirt's own parser and schema, without a hypervisor."""
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_xml_is_as_it_shall_be_and_libvirt_takes_it(name: str, driver: libvirt.virConnect) -> None:
    tied, wanted = GOLDEN[name]
    xml = built(tied)
    assert parts(xml) == wanted
    domain = driver.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        told = vm_info(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    finally:
        domain.undefine()
    shown = shown_as(tied, UUID, "tied", 2, GIB)
    for field in ("pinned", "dedicated", "kept_free", "cpuset", "memory_cells", "cells", "pci"):
        assert getattr(told, field) == getattr(shown, field), field


def test_what_is_tied_to_nothing_stays_as_it_was() -> None:
    assert parts(built(Tied())) == "<vcpu>2</vcpu>"


def test_the_cpu_of_the_host_is_kept_beside_the_cells() -> None:
    tied = GOLDEN["dedicated"][0]
    cpu = parse(built(tied, offer=Offers(kind="kvm", cpu="host-model"))).find("cpu")
    assert cpu is not None
    assert cpu.get("mode") == "host-model"
    assert cpu.find("numa/cell") is not None


@pytest.mark.parametrize("address", ["", "3b:00.0", "0000:3b:00", "0000:zz:00.0", "a"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(RefusedError, match="is no address of a PCI device"):
        built(Tied(devices=(address,)))


@st.composite
def fits(draw: st.DrawFn) -> tuple[Tied, int]:
    """Up to three cells on hosts cells of eight CPUs each, pinned, isolated or shared."""
    hosts = draw(st.permutations(range(4)))[: draw(st.integers(1, 3))]
    dedicated, isolated = draw(st.booleans()), draw(st.booleans())
    cells, pins, kept, vcpu = [], [], [], 0
    for host in hosts:
        count = draw(st.integers(1, 4))
        vcpus = tuple(range(vcpu, vcpu + count))
        vcpu += count
        cores = draw(st.permutations(range(host * 8, host * 8 + 8, 2)))[:count]
        if dedicated:
            pins += list(zip(vcpus, cores, strict=True))
            kept += [core + 1 for core in cores] if isolated else []
        page = draw(st.sampled_from((0, 2 * MIB, GIB)))
        # A set of one CPU is one that a vCPU has for itself.
        shared = () if dedicated else tuple(range(host * 8, host * 8 + draw(st.integers(2, 8))))
        cells.append(CellSpec(cpus=vcpus, memory=GIB, host=host, page_size=page, shared_cpus=shared))
    devices = draw(st.lists(st.sampled_from(("0000:00:1f.3", "0000:3b:00.0", "00ff:01:02.1")), unique=True))
    tied = Tied(
        cells=tuple(cells),
        pins=tuple(sorted(pins)),
        kept_free=tuple(sorted(kept)),
        devices=tuple(devices),
    )
    return tied, vcpu


@settings(deadline=None, max_examples=60)
@given(fits())
def test_what_is_promised_is_what_the_host_will_show(fit: tuple[Tied, int]) -> None:
    tied, vcpus = fit
    told = vm_info(built(tied, vcpus, GIB * len(tied.cells)))
    shown = shown_as(tied, UUID, "tied", vcpus, GIB * len(tied.cells))
    assert told.dedicated == tied.cpus == shown.dedicated
    assert sorted(told.pinned, key=str) == sorted(shown.pinned, key=str)
    assert (told.cpuset, told.memory_cells) == (shown.cpuset, shown.memory_cells)
    assert (told.cells, told.pci) == (shown.cells, shown.pci)


def test_what_goes_with_a_device() -> None:
    def device(at: str, **more: object) -> PciDevice:
        return PciDevice(at, "10de", "1eb8", **more)  # type: ignore[arg-type]

    facts = HostFacts(
        pci=(
            device("a", iommu_group=1),
            device("b", iommu_group=1),
            device("pf"),
            device("v1", physical="pf", iommu_group=2),
            device("v2", physical="pf", iommu_group=3),
        )
    )
    assert not_parted(facts, ["a"]) == ("a", "b")
    assert not_parted(facts, ["v1"]) == ("pf", "v1")
    assert not_parted(facts, ["pf"]) == ("pf", "v1", "v2")
    assert not_parted(HostFacts(), ["x"]) == ("x",)
