"""Brings a simulated host up in libvirt's test driver: its place in the fleet, its node file, its extras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from virtfleet.errors import ConfigError
from virtfleet.hypervisor.simulated_node import write_node_xml
from virtfleet.hypervisor.simulated_world import HostPlan, virtual_machines
from virtfleet.hypervisor.wire import WorkerSettings

if TYPE_CHECKING:
    import libvirt

_MOST_VMS = 2000


def plan_of(name: str, uri: str) -> HostPlan:
    """The place in the fleet that the URI of a demo host tells; `config/demo.py` writes it.

    `test:///demo?number=3&hosts=8&place=3&zone=a&vms=15&ssd=1`; what is
    missing has its default. ConfigError: not a number, or out of range.
    """
    words = {key: values[-1] for key, values in parse_qs(urlsplit(uri).query).items()}
    default = HostPlan(name)
    try:
        plan = HostPlan(
            name=name,
            number=int(words.get("number", default.number)),
            hosts=int(words.get("hosts", default.hosts)),
            place=int(words.get("place", default.place)),
            zone=words.get("zone", default.zone),
            vms=int(words.get("vms", default.vms)),
            ssd=words.get("ssd") == "1",
        )
    except ValueError as error:
        raise ConfigError(f"not a simulated host: {error}", where=f"hosts.{name}.uri") from None
    if min(plan.number, plan.place, plan.vms, plan.hosts - 1) < 0 or plan.vms > _MOST_VMS:
        raise ConfigError(f"not a simulated host: {uri}", where=f"hosts.{name}.uri")
    return plan


def open_uri(settings: WorkerSettings, folder: str | os.PathLike[str]) -> str:
    """Writes the node file of a simulated host into `folder` and gives the URI for libvirt to open.

    ValueError: `settings` are those of a real host. OSError: the file can't be written.
    """
    if settings.simulate is None or not settings.uri.startswith("test:///"):
        raise ValueError(f"{settings.name} is not a simulated host")
    path = Path(folder).absolute() / "node.xml"
    path.write_text(write_node_xml(settings.simulate, plan_of(settings.name, settings.uri)), "utf-8")
    return f"test://{quote(str(path))}"


def furnish(connection: libvirt.virConnect, settings: WorkerSettings) -> None:
    """Sets on a fresh connection what a node file can't say: what starts with the host."""
    if settings.simulate is None:
        raise ValueError(f"{settings.name} is not a simulated host")
    for vm in virtual_machines(settings.simulate, plan_of(settings.name, settings.uri)):
        if vm.role.priority is not None:
            connection.lookupByUUIDString(vm.uuid).setAutostart(1)
    for pool in connection.listAllStoragePools():
        pool.setAutostart(1)
    for network in connection.listAllNetworks():
        network.setAutostart(1)
