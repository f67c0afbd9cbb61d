"""What a VM has of its host's cells and devices, and what a hostile XML can't make of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtfleet.hypervisor.views.domain import vm_info
from virtfleet.hypervisor.views.reading import MOST_IN_SET, number_set
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model import CpuPin, VmCell, VmInfo

MIB = 1024**2


def read(inside: str) -> VmInfo:
    return vm_info(f"<domain type='kvm'><name>v</name><uuid>u</uuid>{inside}</domain>")


def test_a_guest_with_cells_of_its_own() -> None:
    """As Nova writes it for hw:cpu_policy=dedicated, hw:numa_nodes=2, hw:mem_page_size=2048."""
    info = read("""
      <memory unit='KiB'>4194304</memory>
      <memoryBacking>
        <hugepages>
          <page size='2048' unit='KiB' nodeset='0'/>
          <page size='1048576' unit='KiB' nodeset='1'/>
        </hugepages>
        <nosharepages/>
      </memoryBacking>
      <vcpu placement='static'>4</vcpu>
      <cputune>
        <shares>4096</shares>
        <vcpupin vcpu='0' cpuset='4'/>
        <vcpupin vcpu='1' cpuset='24'/>
        <vcpupin vcpu='2' cpuset='14'/>
        <vcpupin vcpu='3' cpuset='34'/>
        <emulatorpin cpuset='4,14,24,34'/>
      </cputune>
      <numatune>
        <memory mode='strict' nodeset='0-1'/>
        <memnode cellid='0' mode='strict' nodeset='0'/>
        <memnode cellid='1' mode='strict' nodeset='1'/>
      </numatune>
      <cpu mode='host-model' check='partial'>
        <topology sockets='4' dies='1' cores='1' threads='1'/>
        <numa>
          <cell id='0' cpus='0-1' memory='2097152' unit='KiB' memAccess='shared'/>
          <cell id='1' cpus='2-3' memory='2' unit='GiB'/>
        </numa>
      </cpu>""")
    assert info.pinned == (
        CpuPin((0,), (4,)),
        CpuPin((1,), (24,)),
        CpuPin((2,), (14,)),
        CpuPin((3,), (34,)),
    )
    assert info.dedicated == (4, 14, 24, 34)
    assert info.emulator_cpus == (4, 14, 24, 34)
    assert info.memory_cells == (0, 1)
    assert info.cells == (
        VmCell(0, (0, 1), 2048 * MIB, (0,), 2 * MIB),
        VmCell(1, (2, 3), 2048 * MIB, (1,), 1024 * MIB),
    )
    assert info.page_size is None, "no memory is outside of its cells"


def test_vcpus_of_one_set_stand_together() -> None:
    info = read("""<vcpu placement='static' cpuset='0-15,^8'>4</vcpu>
      <cputune><vcpupin vcpu='2' cpuset='0-3'/><vcpupin vcpu='0' cpuset='0-3'/></cputune>""")
    assert info.cpuset == (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15)
    assert info.pinned == (CpuPin((0, 2), (0, 1, 2, 3)),)
    assert info.dedicated == ()


@pytest.mark.parametrize(
    ("backing", "size"),
    [
        ("", None),
        ("<memoryBacking><locked/></memoryBacking>", None),
        ("<memoryBacking><hugepages/></memoryBacking>", 0),
        ("<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>", 1024 * MIB),
        ("<memoryBacking><hugepages><page size='2048'/></hugepages></memoryBacking>", 2 * MIB),
        ("<memoryBacking><hugepages><page size='2048' nodeset='0'/></hugepages></memoryBacking>", 2 * MIB),
        ("<memoryBacking><hugepages><page size='many'/></hugepages></memoryBacking>", 0),
    ],
)
def test_huge_pages(backing: str, size: int | None) -> None:
    assert read(backing).page_size == size


def test_cells_take_what_the_whole_guest_has() -> None:
    info = read("""<memoryBacking><hugepages/></memoryBacking>
      <numatune><memory mode='strict' nodeset='1'/></numatune>
      <cpu><numa><cell cpus='0' memory='1024'/><cell cpus='1' memory='x'/></numa></cpu>""")
    assert info.cells == (VmCell(0, (0,), MIB, (1,), 0), VmCell(1, (1,), 0, (1,), 0))


def test_devices_of_the_host() -> None:
    info = read("""<devices>
      <hostdev mode='subsystem' type='pci' managed='yes'>
        <driver name='vfio'/>
        <source><address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></source>
        <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>
      </hostdev>
      <hostdev mode='subsystem' type='usb'>
        <source><vendor id='0x1234'/><product id='0xbeef'/><address bus='1' device='2'/></source>
      </hostdev>
      <hostdev mode='subsystem' type='mdev' model='vfio-pci'>
        <source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source>
      </hostdev>
      <hostdev type='pci'><source><address bus='0xzz' slot='0x00' function='0x0'/></source></hostdev>
      <interface type='hostdev' managed='yes'>
        <mac address='52:54:00:6d:90:02'/>
        <source><address type='pci' domain='0x10000' bus='0x07' slot='0x1f' function='0x7'/></source>
      </interface>
      <interface type='network'><source network='default'/></interface>
      <disk type='nvme' device='disk'>
        <source type='pci' managed='yes' namespace='1'>
          <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
        </source>
        <target dev='vda'/>
      </disk></devices>""")
    assert info.pci == ("0000:3b:00.0", "10000:07:1f.7", "0000:01:00.0")


def test_a_plain_vm_has_nothing_of_it() -> None:
    info = read("<vcpu>2</vcpu><cputune><shares>1</shares></cputune><devices/>")
    assert (info.cpuset, info.pinned, info.emulator_cpus, info.memory_cells) == ((), (), (), ())
    assert (info.cells, info.page_size, info.pci, info.dedicated) == ((), None, (), ())


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,^2,8", (0, 1, 3, 8)),
        (" 5 , 1", (1, 5)),
        ("^1,0-2", (0, 1, 2)),
        ("3-1", ()),
        ("-1", ()),
        ("a,2,1-,-,^", (2,)),
        ("99999999999", ()),
        ("8190-99999999999", (8190, 8191)),
        ("٣", ()),
    ],
)
def test_sets_of_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert number_set(parse(f"<x s='{text}'/>"), "s") == numbers


@given(st.sets(st.integers(0, MOST_IN_SET - 1), max_size=30))
@settings(max_examples=50)
def test_a_set_is_read_as_it_was_written(numbers: set[int]) -> None:
    element = parse("<x/>")
    element.set("s", ",".join(map(str, numbers)))
    assert number_set(element, "s") == tuple(sorted(numbers))


def test_a_hostile_guest_stays_small() -> None:
    pins = "".join(f"<vcpupin vcpu='{n}' cpuset='{n}-8191'/>" for n in range(5000))
    cells = "".join(f"<cell id='{n}' cpus='0-8191' memory='1'/>" for n in range(400))
    nodes = "".join(f"<memnode cellid='{n}' nodeset='0-8191'/>" for n in range(400))
    info = read(f"<cputune>{pins}</cputune><numatune>{nodes}</numatune><cpu><numa>{cells}</numa></cpu>")
    assert sum(len(pin.cpus) for pin in info.pinned) <= 65_536
    assert len(info.cells) == 256
    assert sum(len(cell.cpus) for cell in info.cells) == 4096
    assert sum(len(cell.host_cells) for cell in info.cells) == 65_536
