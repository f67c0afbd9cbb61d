"""What the engine may ask of a worker, by name. Each operation runs on a lane, with the request's deadline.

Adding one: write a function that takes the session and the arguments, and
enter it in `OPERATIONS`. Results are plain values that msgpack can carry.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import libvirt

from virtfleet.errors import InternalError, UnreachableError
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.laneset import Lanes
from virtfleet.hypervisor.session import Session
from virtfleet.model.text import clean, clean_lines

Arguments = Mapping[str, Any]
Operation = Callable[[Session, Arguments, float], Awaitable[Any]]


async def run(session: Session | None, request: wire.Request) -> Any:
    """The result of an operation. Raises UnreachableError while there is no connection."""
    operation = OPERATIONS.get(request.op)
    if operation is None:
        raise InternalError(f"no operation {request.op!r}")
    if session is None:
        raise UnreachableError("the worker is not set up yet")
    return await operation(session, request.args, request.deadline)


def _lanes(session: Session) -> Lanes:
    if session.lanes is None:
        raise UnreachableError("not connected")
    return session.lanes


async def _vm_xml(session: Session, args: Arguments, deadline: float) -> str:
    """The live XML of a VM, without secrets (no VIR_DOMAIN_XML_SECURE)."""
    flag = libvirt.VIR_DOMAIN_XML_INACTIVE if args.get("inactive") else 0
    text = await _lanes(session).long.call(
        lambda conn: conn.lookupByUUIDString(args["uuid"]).XMLDesc(flag), deadline
    )
    return clean_lines(text)


async def _pool_xml(session: Session, args: Arguments, deadline: float) -> str:
    return clean_lines(
        await _lanes(session).storage.call(
            lambda conn: conn.storagePoolLookupByUUIDString(args["uuid"]).XMLDesc(), deadline
        )
    )


async def _volume_xml(session: Session, args: Arguments, deadline: float) -> str:
    def read(conn: libvirt.virConnect) -> str:
        pool = conn.storagePoolLookupByUUIDString(args["pool_uuid"])
        return str(pool.storageVolLookupByName(args["name"]).XMLDesc())

    return clean_lines(await _lanes(session).storage.call(read, deadline))


async def _network_xml(session: Session, args: Arguments, deadline: float) -> str:
    return clean_lines(
        await _lanes(session).long.call(
            lambda conn: conn.networkLookupByUUIDString(args["uuid"]).XMLDesc(), deadline
        )
    )


async def _capabilities(session: Session, args: Arguments, deadline: float) -> str:
    return clean_lines(await _lanes(session).long.call(lambda conn: conn.getCapabilities(), deadline))


async def _check(session: Session, args: Arguments, deadline: float) -> dict[str, Any]:
    """What works on this host and how quickly: for `host check`."""
    lanes = _lanes(session)
    found: dict[str, Any] = {"lanes": {}}
    for name in ("monitor", "detail", "storage", "long"):
        started = time.monotonic()
        await getattr(lanes, name).call(lambda conn: conn.getLibVersion(), deadline)
        found["lanes"][name] = time.monotonic() - started

    def ask(conn: libvirt.virConnect) -> dict[str, Any]:
        return {
            "encrypted": bool(conn.isEncrypted()),
            "secure": bool(conn.isSecure()),
            "uri": clean(conn.getURI(), 300),
            "supported": {name: _has(conn, question) for name, question in _QUESTIONS.items()},
        }

    found.update(await lanes.long.call(ask, deadline))
    return found


async def _door(session: Session, args: Arguments, deadline: float) -> str:
    """Path of a socket through which another process of ours speaks to this host's libvirtd."""
    if session.reach is None:
        raise UnreachableError("not connected")
    return session.reach.door(f"door-{int(args['number'])}")


_QUESTIONS: dict[str, Callable[[libvirt.virConnect], object]] = {
    "bulk statistics": lambda conn: conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE),
    "storage pools": lambda conn: conn.listAllStoragePools(),
    "networks": lambda conn: conn.listAllNetworks(),
    "host CPU statistics": lambda conn: conn.getCPUStats(-1),
    "host memory statistics": lambda conn: conn.getMemoryStats(-1),
    "node devices": lambda conn: conn.listAllDevices(),
    "nwfilters": lambda conn: conn.listAllNWFilters(),
    "secrets": lambda conn: conn.listAllSecrets(),
}


def _has(conn: libvirt.virConnect, question: Callable[[libvirt.virConnect], object]) -> str:
    """Empty: it works; else why not."""
    try:
        question(conn)
    except libvirt.libvirtError as error:
        return clean(error.get_error_message() or str(error), 200)
    return ""


OPERATIONS: Mapping[str, Operation] = {
    "vm.xml": _vm_xml,
    "pool.xml": _pool_xml,
    "volume.xml": _volume_xml,
    "network.xml": _network_xml,
    "host.capabilities": _capabilities,
    "host.check": _check,
    "host.door": _door,
}
