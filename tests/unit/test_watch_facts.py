"""What a worker tells of a host's cells, kinds of guests and devices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import libvirt
import pytest
import pytest_asyncio

from unit.test_without_events import serving, until
from virtfleet.errors import UnreachableError
from virtfleet.hypervisor import happenings, wire
from virtfleet.hypervisor.lanes import Lane, Meter
from virtfleet.hypervisor.watch_devices import DeviceWatch
from virtfleet.model import GuestKind, HostFacts, PciDevice


def device(number: int, driver: str = "") -> str:
    own = f"<driver><name>{driver}</name></driver>" if driver else ""
    return f"""<device><name>pci_0000_{number:02x}_00_0</name>{own}<capability type='pci'>
      <domain>0</domain><bus>{number}</bus><slot>0</slot><function>0</function>
      <product id='0x1eb8'/><vendor id='0x10de'/></capability></device>"""


class NodeDevice:
    def __init__(self, number: int, xml: str) -> None:
        self._number = number
        self._xml = xml

    def name(self) -> str:
        return f"pci_0000_{self._number:02x}_00_0"

    def XMLDesc(self, flags: int) -> str:  # noqa: N802 - libvirt's name
        if not self._xml:
            raise libvirt.libvirtError("Node device not found")
        return self._xml


class Host:
    """A connection to a host with devices: libvirt's test driver can't have any of PCI."""

    def __init__(self) -> None:
        self.devices: dict[int, str] = {}
        self.refuses = False
        self.listed = 0

    def listAllDevices(self, flags: int) -> list[NodeDevice]:  # noqa: N802 - libvirt's name
        assert flags == libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
        self.listed += 1
        if self.refuses:
            raise libvirt.libvirtError("this function is not supported by the connection driver")
        return [NodeDevice(*each) for each in self.devices.items()]

    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        return 1

    def close(self) -> int:
        return 0


@pytest_asyncio.fixture
async def lane_of() -> AsyncIterator[Callable[[Any], Lane]]:
    made: list[Lane] = []

    def make(connection: Any) -> Lane:
        made.append(Lane("t", lambda: cast(Any, connection), door=None, on_stuck=lambda: None))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def test_many_devices_are_read_some_at_a_time(lane_of: Callable[[Any], Lane]) -> None:
    host, meter = Host(), Meter()
    host.devices = {number: device(number) for number in range(40, 0, -1)}
    host.devices[7] = ""  # it was there when the list was made
    host.devices[8] = "<device"
    watch = DeviceWatch(lane_of(host), meter)
    assert await watch.read()
    expected = [number for number in range(1, 41) if number not in (7, 8)]
    assert watch.devices == tuple(PciDevice(f"0000:{n:02x}:00.0", "10de", "1eb8") for n in expected)
    assert host.listed == 4, "three times sixteen, and the end"
    assert meter.take()[0] == 40 + 4
    assert not await watch.read(), "it is not time yet"
    assert meter.take()[0] == 0


async def test_an_event_has_them_read_anew(lane_of: Callable[[Any], Lane]) -> None:
    host = Host()
    host.devices = {1: device(1)}
    watch = DeviceWatch(lane_of(host), Meter())
    await watch.read()
    host.devices[1] = device(1, "vfio-pci")
    watch.poke()
    assert await watch.read()
    assert watch.devices is not None
    assert [each.driver for each in watch.devices] == ["vfio-pci"]
    watch.poke()
    assert not await watch.read(), "nothing changed"
    host.devices.clear()
    watch.poke()
    assert await watch.read()
    assert watch.devices == ()


async def test_a_driver_without_devices_tells_nothing(lane_of: Callable[[Any], Lane]) -> None:
    host = Host()
    host.refuses = True
    watch = DeviceWatch(lane_of(host), Meter())
    assert not await watch.read()
    assert watch.devices is None


async def test_a_lost_connection_is_not_an_empty_host(lane_of: Callable[[Any], Lane]) -> None:
    host = Host()
    host.devices = {1: device(1)}
    watch = DeviceWatch(lane_of(host), Meter())
    await watch.read()
    before = watch.devices

    def lost(flags: int) -> list[NodeDevice]:
        error = libvirt.libvirtError("cut")
        error.err = (libvirt.VIR_ERR_RPC, 0, "Connection reset by peer", 0, "", None, None, 0, 0)
        raise error

    host.listAllDevices = lost  # type: ignore[method-assign]
    watch.poke()
    with pytest.raises(UnreachableError):
        await watch.read()
    assert watch.devices == before
    del host.listAllDevices
    host.devices[2] = device(2)
    assert await watch.read(), "what failed is tried again at the next occasion"
    assert watch.devices is not None
    assert len(watch.devices) == 2


async def test_the_test_driver_has_no_pci_devices(lane_of: Callable[[Any], Lane]) -> None:
    happenings.start_event_loop()
    watch = DeviceWatch(lane_of(libvirt.open("test:///default")), Meter())
    assert await watch.read()
    assert watch.devices == ()


async def test_facts_of_the_test_driver(tmp_path: Path) -> None:
    async with serving(tmp_path, uri="test:///default") as (_, told):

        def facts() -> list[HostFacts]:
            return [each.facts for each in told if isinstance(each, wire.Facts)]

        await until(lambda: bool(facts()) and facts()[-1].pci is not None)
        first, last = facts()[0], facts()[-1]
        assert first.pci is None, "the facts do not wait for the devices"
        assert last.pci == ()
        assert [cell.cpu_ids for cell in last.numa] == [tuple(range(8)), tuple(range(8, 16))]
        assert [cell.pages[0].total for cell in last.numa] == [524288, 524288]
        assert [[page.size // 1024 for page in cell.pages] for cell in last.numa] == [
            [4, 2048, 1048576],
            [8, 2048, 1048576],
        ]
        assert last.guests == (GuestKind("i686", "hvm", ("test",)), GuestKind("i686", "xen", ("test",)))
        assert (last.cpu_modes, last.cpu_models, last.firmwares) == ((), (), ()), "it does not tell"


CARD = """<device><parent>scsi_host1</parent><capability type='scsi_host'><capability type='fc_host'>
  <wwnn>2000000012341235</wwnn><wwpn>1000000012341236</wwpn></capability></capability></device>"""


@pytest.mark.parametrize(("prefix", "heard"), [("scsi_host", True), ("pci_", False)])
async def test_an_event_of_a_device_has_the_facts_told_again(
    prefix: str, heard: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test driver tells of a SCSI card as others tell of PCI devices."""
    host = Host()
    monkeypatch.setattr(happenings, "_DEVICES", prefix)
    monkeypatch.setattr(libvirt.virConnect, "listAllDevices", lambda _, flags=0: host.listAllDevices(flags))
    monkeypatch.setattr("virtfleet.hypervisor.watch_host._DEVICES_PAUSE", 0.05)
    async with serving(tmp_path, uri="test:///default") as (session, told):

        def addresses() -> list[str] | None:
            facts = [each.facts for each in told if isinstance(each, wire.Facts)]
            if not facts or facts[-1].pci is None:
                return None
            return [each.address for each in facts[-1].pci]

        await until(lambda: addresses() == [])
        lanes = session.lanes
        assert lanes is not None
        host.devices = {59: device(59)}
        listed = host.listed
        await lanes.monitor.call(lambda conn: conn.nodeDeviceCreateXML(CARD, 0), 5)
        if heard:
            await until(lambda: addresses() == ["0000:3b:00.0"])
            assert host.listed > listed
        else:
            await until(lambda: sum(isinstance(each, wire.Sample) for each in told) > 10)
            assert (addresses(), host.listed) == ([], listed)
        assert not any(isinstance(each, wire.Happened) and each.event.kind == "device" for each in told)
