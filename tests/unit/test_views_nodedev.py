"""PCI devices by libvirt's node devices."""

from __future__ import annotations

import pytest

from virtfleet.hypervisor.views.nodedev import pci_device
from virtfleet.model import PciDevice

CARD = """<device>
  <name>pci_0000_3b_00_0</name>
  <path>/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0</path>
  <parent>pci_0000_3a_00_0</parent>
  <driver><name>vfio-pci</name></driver>
  <capability type='pci'>
    <class>0x030200</class>
    <domain>0</domain>
    <bus>59</bus>
    <slot>0</slot>
    <function>0</function>
    <product id='0x1eb8'>TU104GL [Tesla T4]</product>
    <vendor id='0x10DE'>NVIDIA Corporation</vendor>
    <iommuGroup number='33'>
      <address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/>
    </iommuGroup>
    <numa node='1'/>
    <pci-express><link validity='cap' port='0' speed='8' width='16'/></pci-express>
  </capability>
</device>"""

FUNCTION = """<device>
  <name>pci_0000_07_10_7</name>
  <capability type='pci'>
    <domain>0</domain><bus>7</bus><slot>16</slot><function>7</function>
    <product id='0x10ca'>82576 Virtual Function</product>
    <vendor id='0x8086'>Intel Corporation</vendor>
    <capability type='phys_function'>
      <address domain='0x0000' bus='0x07' slot='0x00' function='0x1'/>
    </capability>
    <numa node='-1'/>
  </capability>
</device>"""

PORT = """<device>
  <name>pci_0000_00_1c_0</name>
  <capability type='pci'>
    <domain>0</domain><bus>0</bus><slot>28</slot><function>0</function>
    <product id='0x8c10'/><vendor id='0x8086'/>
    <capability type='pci-bridge'/>
  </capability>
</device>"""


def test_a_card_that_is_ready_to_be_handed_out() -> None:
    assert pci_device(CARD) == PciDevice(
        address="0000:3b:00.0",
        vendor="10de",
        product="1eb8",
        class_code="030200",
        numa=1,
        driver="vfio-pci",
        iommu_group=33,
    )


def test_a_virtual_function_knows_its_card() -> None:
    assert pci_device(FUNCTION) == PciDevice("0000:07:10.7", "8086", "10ca", physical="0000:07:00.1")


@pytest.mark.parametrize(
    "text",
    [
        PORT,
        CARD.replace("0x030200", "0x060400"),
        "<device><name>computer</name><capability type='system'/></device>",
        CARD.replace("0x10DE", "0xtesla"),
        CARD.replace("<bus>59</bus>", ""),
        CARD.replace("<slot>0</slot>", "<slot>32</slot>"),
        CARD.replace("<function>0</function>", "<function>-1</function>"),
    ],
)
def test_what_is_no_device_to_hand_out(text: str) -> None:
    assert pci_device(text) is None


@pytest.mark.parametrize("text", ["", "<domain/>", "<device>", "<!DOCTYPE device><device/>"])
def test_what_is_no_device_at_all(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        pci_device(text)
