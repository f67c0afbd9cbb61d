"""What a host offers to guests, and its NUMA cells with their pages."""

from __future__ import annotations

import pytest

from virtfleet.hypervisor.views.host import capabilities, host_facts
from virtfleet.hypervisor.views.offering import Offering, features, offering
from virtfleet.model import CellPages, GuestKind, NumaCell

MIB = 1024**2

CAPABILITIES = """<capabilities>
  <host>
    <cpu>
      <arch>x86_64</arch><model>Broadwell-IBRS</model><vendor>Intel</vendor>
      <topology sockets='1' dies='1' cores='2' threads='2'/>
      <feature name='vmx'/><feature name='aes' policy='disable'/>
      <pages unit='KiB' size='4'/><pages unit='KiB' size='2048'/>
    </cpu>
    <topology>
      <cells num='2'>
        <cell id='0'>
          <memory unit='KiB'>33554432</memory>
          <pages unit='KiB' size='4'>8256512</pages>
          <pages unit='KiB' size='2048'>256</pages>
          <pages unit='KiB' size='1048576'>0</pages>
          <distances><sibling id='0' value='10'/><sibling id='2' value='21'/></distances>
          <cpus num='4'>
            <cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0,4'/>
            <cpu id='1' socket_id='0' die_id='0' core_id='1' siblings='1,5'/>
            <cpu id='4' socket_id='0' die_id='0' core_id='0' siblings='0,4'/>
            <cpu id='5' socket_id='0' die_id='0' core_id='1' siblings='1,5'/>
          </cpus>
        </cell>
        <cell id='2'>
          <memory unit='KiB'>33554432</memory>
          <pages unit='KiB' size='1048576'>4</pages>
          <pages unit='KiB' size='4'>7340032</pages>
          <cpus num='2'>
            <cpu id='2' socket_id='1' core_id='0' siblings='2'/>
            <cpu id='6'/>
          </cpus>
        </cell>
      </cells>
    </topology>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <wordsize>64</wordsize>
      <emulator>/usr/bin/qemu-system-x86_64</emulator>
      <machine maxCpus='255'>pc-i440fx-7.2</machine>
      <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>
      <machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>
      <domain type='qemu'/>
      <domain type='kvm'/>
    </arch>
  </guest>
  <guest>
    <os_type>hvm</os_type>
    <arch name='aarch64'><machine>virt</machine><domain type='qemu'/></arch>
  </guest>
  <guest><os_type>exe</os_type><arch name='x86_64'><domain type='lxc'/></arch></guest>
  <guest><os_type>xen</os_type><arch/></guest>
</capabilities>"""

OFFERS = """<domainCapabilities>
  <path>/usr/bin/qemu-system-x86_64</path>
  <domain>kvm</domain><machine>pc-i440fx-7.2</machine><arch>x86_64</arch><vcpu max='255'/>
  <os supported='yes'>
    <enum name='firmware'><value>efi</value></enum>
    <loader supported='yes'><enum name='type'><value>rom</value><value>pflash</value></enum></loader>
  </os>
  <cpu>
    <mode name='host-passthrough' supported='yes'/>
    <mode name='maximum' supported='no'/>
    <mode name='host-model' supported='yes'>
      <model fallback='forbid'>Broadwell-IBRS</model><vendor>Intel</vendor>
      <feature policy='require' name='vme'/>
    </mode>
    <mode name='custom' supported='yes'>
      <model usable='yes' vendor='unknown'>qemu64</model>
      <model usable='no' vendor='Intel'>Skylake-Server</model>
      <model usable='unknown' vendor='Intel'>Broadwell</model>
    </mode>
  </cpu>
</domainCapabilities>"""


def test_cells_with_cpus_threads_and_pages() -> None:
    assert capabilities(CAPABILITIES).numa == (
        NumaCell(
            id=0,
            memory=32768 * MIB,
            cpus=4,
            cpu_ids=(0, 1, 4, 5),
            siblings=((0, 4), (1, 5)),
            pages=(CellPages(4096, 8256512), CellPages(2 * MIB, 256), CellPages(1024 * MIB, 0)),
        ),
        NumaCell(
            id=2,
            memory=32768 * MIB,
            cpus=2,
            cpu_ids=(2, 6),
            pages=(CellPages(4096, 7340032), CellPages(1024 * MIB, 4)),
        ),
    )


def test_free_huge_pages_are_added_and_ordinary_ones_are_not() -> None:
    free = {0: {4: 1000, 2048: 200, 1048576: 0}, 2: {1048576: 9}, 7: {2048: 1}}
    facts = host_facts(caps=capabilities(CAPABILITIES), free_pages=free)
    assert facts.numa[0].pages == (
        CellPages(4096, 8256512),
        CellPages(2 * MIB, 256, 200),
        CellPages(1024 * MIB, 0, 0),
    )
    assert facts.numa[1].pages[1] == CellPages(1024 * MIB, 4, 4), "no more are free than there are"


def test_kinds_of_guests() -> None:
    facts = host_facts(caps=capabilities(CAPABILITIES))
    assert facts.guests == (
        GuestKind("x86_64", "hvm", ("qemu", "kvm"), ("pc", "pc-i440fx-7.2", "pc-q35-7.2", "q35")),
        GuestKind("aarch64", "hvm", ("qemu",), ("virt",)),
        GuestKind("x86_64", "exe", ("lxc",)),
    )
    assert facts.machines == ("pc", "pc-i440fx-7.2", "pc-q35-7.2", "q35")
    assert facts.cpu_features == ("vmx",), "what it has not is not one of its features"
    assert facts.pci is None


def test_offers_of_domain_capabilities() -> None:
    found = offering(OFFERS)
    assert found == Offering(
        cpu_modes=("host-passthrough", "host-model", "custom"),
        host_model="Broadwell-IBRS",
        cpu_models=("Broadwell", "qemu64"),
        firmwares=("bios", "efi"),
    )
    facts = host_facts(caps=capabilities(CAPABILITIES), offers=found, cpu_features=("aes", "vmx"))
    assert (facts.host_model, facts.cpu_features) == ("Broadwell-IBRS", ("aes", "vmx"))


def test_an_arm_host_has_no_bios() -> None:
    assert offering(OFFERS.replace(">x86_64<", ">aarch64<")).firmwares == ("efi",)


@pytest.mark.parametrize("text", ["", "<", "<capabilities/>", "<domainCapabilities/>"])
def test_broken_offers_are_none(text: str) -> None:
    assert offering(text) == Offering()
    assert features(text) == ()


def test_features_that_libvirt_spelled_out() -> None:
    text = """<cpu mode='custom' match='exact'><model fallback='forbid'>Broadwell</model>
      <feature policy='require' name='vme'/><feature policy='require' name='aes'/>
      <feature policy='disable' name='rtm'/></cpu>"""
    assert features(text) == ("aes", "vme")


def test_a_hostile_host_stays_small() -> None:
    cpus = "".join(f"<cpu id='{n}' siblings='0-8191'/>" for n in range(20_000))
    kinds = "<arch name='a'/>" * 100
    machines = "".join(f"<machine>m{n}</machine>" for n in range(2000))
    caps = capabilities(
        f"<capabilities><host><topology><cells><cell id='0'><cpus>{cpus}</cpus></cell></cells></topology>"
        f"</host><guest><os_type>hvm</os_type><arch name='x'>{machines}</arch>{kinds}</guest></capabilities>"
    )
    [cell] = caps.numa
    assert len(cell.cpu_ids) == 8192
    assert len(caps.guests) == 64
    assert len(caps.guests[0].machines) == 512
