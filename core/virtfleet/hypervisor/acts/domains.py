"""What operations on a VM share: finding it, its state, and where a change of it must be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import libvirt

from virtfleet.errors import NotFoundError
from virtfleet.hypervisor.call import Call
from virtfleet.hypervisor.states import vm_state
from virtfleet.model import VmState
from virtfleet.model.text import clean

T = TypeVar("T")


async def on_domain(call: Call, work: Callable[[libvirt.virDomain], T]) -> T:
    """`work(domain)` on the lane for what operators ask. NotFoundError: the VM is gone."""
    return await call.lanes.long.call(lambda conn: work(lookup(conn, call.args["uuid"])), call.deadline)


def lookup(conn: libvirt.virConnect, uuid: str) -> libvirt.virDomain:
    try:
        return conn.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise NotFoundError("the VM is no longer on this host") from None
        raise


def name_of(domain: libvirt.virDomain) -> str:
    return clean(domain.name(), 200)


def state_of(domain: libvirt.virDomain) -> VmState:
    return vm_state(domain.state()[0])


def affected(domain: libvirt.virDomain) -> int:
    """Flags for a change that is to count now and at the next boot: CONFIG, LIVE or both."""
    flags = 0
    if domain.isActive():
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    if domain.isPersistent():
        flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
    return flags
