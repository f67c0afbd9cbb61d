"""What is known of real hosts for placement: cells, kinds of guests, devices, and what VMs have of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.fleet import Lab
from lab.host import LabHost
from lab.watching import Watched, watching
from virtfleet.model import CpuPin, HostFacts, VmCell

pytestmark = pytest.mark.lab

MIB = 1024**2

# Never started: its device is nowhere, and its CPUs and pages may be, too.
TIED = """<domain type='qemu'>
  <name>facts-tied</name>
  <memory unit='MiB'>64</memory>
  <memoryBacking><hugepages><page size='2048' unit='KiB' nodeset='0'/></hugepages></memoryBacking>
  <vcpu placement='static'>2</vcpu>
  <cputune>
    <vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='1'/><emulatorpin cpuset='0-1'/>
  </cputune>
  <numatune><memory mode='strict' nodeset='0'/></numatune>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu><numa><cell id='0' cpus='0-1' memory='64' unit='MiB'/></numa></cpu>
  <devices>
    <hostdev mode='subsystem' type='pci' managed='no'>
      <source><address domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/></source>
    </hostdev>
  </devices>
</domain>"""


def facts(watched: Watched, name: str) -> HostFacts:
    found = watched.host(name).facts
    assert found is not None
    return found


def sys_text(path: Path) -> str:
    return path.read_text("ascii").strip()


async def test_what_a_real_host_is_made_of_and_offers(lab: Lab, hosts: dict[str, LabHost]) -> None:
    async with watching(lab) as watched:
        await watched.engine.settled(("facts",), timeout=30)
        await watched.until(lambda: facts(watched, "hv1").pci is not None, "its PCI devices")
        found = facts(watched, "hv1")

        cpus = sorted(cpu for cell in found.numa for cpu in cell.cpu_ids)
        assert len(cpus) == found.cpus == sum(cell.cpus for cell in found.numa)
        assert hosts["hv1"].exec(["nproc", "--all"], check=True).stdout.strip() == str(len(cpus))
        for cell in found.numa:
            assert cell.pages[0].size == 4096
            assert cell.pages[0].total is not None
            held = sum(page.size * (page.total or 0) for page in cell.pages)
            assert abs(held - cell.memory) <= cell.memory // 100, "its pages are its memory"
            for core in cell.siblings:
                assert set(core) <= set(cell.cpu_ids)

        there = {"pc", "q35"}
        assert there <= set(found.machines)
        assert "i686" in {kind.arch for kind in found.guests}
        assert all("qemu" in kind.domains for kind in found.guests)
        assert "qemu64" in found.cpu_models
        assert "custom" in found.cpu_modes
        assert "bios" in found.firmwares
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line[:5] == "flags")
        if "sse2" in flags.split() and found.cpu_model:
            assert "sse2" in found.cpu_features, "the model's own features are spelled out"

        assert found.pci is not None
        listed = hosts["hv1"].virsh("nodedev-list --cap pci").split()
        real = {path.name: path for path in Path("/sys/bus/pci/devices").iterdir()}
        bridges = {name for name, path in real.items() if sys_text(path / "class").startswith("0x06")}
        assert len(found.pci) == len(listed) - len(bridges)
        for each in found.pci:
            path = real[each.address]
            assert (f"0x{each.vendor}", f"0x{each.product}") == (
                sys_text(path / "vendor"),
                sys_text(path / "device"),
            )
            assert f"0x{each.class_code}" == sys_text(path / "class")
            driver = (path / "driver").resolve().name if (path / "driver").exists() else ""
            assert each.driver == driver


async def test_a_host_of_containers_offers_them(lab: Lab) -> None:
    async with watching(lab) as watched:
        await watched.engine.settled(("facts",), timeout=30)
        kinds = facts(watched, "lx1").guests
        assert "exe" in {kind.os_type for kind in kinds}
        assert facts(watched, "lx1").cpu_modes == ()


async def test_what_a_vm_has_of_its_host(lab: Lab, hosts: dict[str, LabHost], tmp_path: Path) -> None:
    host = hosts["hv1"]
    where = host.inside("/run/facts-tied.xml")
    where.write_text(TIED, "utf-8")
    try:
        async with watching(lab) as watched:
            host.virsh("define /run/facts-tied.xml")
            await watched.until(
                lambda: any(vm.name == "facts-tied" for vm in watched.host("hv1").vms), "it is seen"
            )
            info = watched.vm("hv1", "facts-tied").info
            assert info.pinned == (CpuPin((0,), (0,)), CpuPin((1,), (1,)))
            assert (info.dedicated, info.emulator_cpus, info.memory_cells) == ((0, 1), (0, 1), (0,))
            assert info.cells == (VmCell(0, (0, 1), 64 * MIB, (0,), 2 * MIB),)
            assert info.pci == ("0000:3b:02.1",)
            plain = watched.vm("hv1", "hv1-vm1").info
            assert (plain.pinned, plain.cells, plain.page_size, plain.pci) == ((), (), None, ())
            where.write_text(TIED.replace("<vcpupin vcpu='1' cpuset='1'/>", ""), "utf-8")
            uuid = host.virsh("domuuid facts-tied").strip()
            where.write_text(where.read_text("utf-8").replace("<memory ", f"<uuid>{uuid}</uuid><memory ", 1))
            host.virsh("define /run/facts-tied.xml")
            await watched.until(
                lambda: watched.vm("hv1", "facts-tied").info.pinned == (CpuPin((0,), (0,)),),
                "the change of its definition is seen",
            )
            assert watched.vm("hv1", "facts-tied").info.dedicated == (0,)
    finally:
        host.exec(["virsh", "-q", "undefine", "facts-tied"])
        where.unlink(missing_ok=True)


async def test_pins_of_a_running_vm_are_seen_when_they_change(lab: Lab, hosts: dict[str, LabHost]) -> None:
    everywhere = hosts["hv1"].virsh("vcpupin hv1-vm1").split()[-1]
    try:
        async with watching(lab) as watched:
            assert watched.vm("hv1", "hv1-vm1").info.pinned == ()
            hosts["hv1"].virsh("vcpupin hv1-vm1 0 0 --live")
            await watched.until(
                lambda: watched.vm("hv1", "hv1-vm1").info.pinned == (CpuPin((0,), (0,)),), "its pin is seen"
            )
            assert watched.vm("hv1", "hv1-vm1").info.dedicated == (0,)
    finally:
        hosts["hv1"].virsh(f"vcpupin hv1-vm1 0 {everywhere} --live")
