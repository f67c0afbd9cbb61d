"""What the engine may ask of a worker without changing anything; and the way to what changes something.

Adding a question: write a function that takes a `Call` and enter it in
`OPERATIONS`. Results are plain values that msgpack can carry. What changes a
host stands in `acts/`, which is imported when it is first asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import libvirt

from virtfleet.errors import InternalError, RefusedError, UnreachableError
from virtfleet.hypervisor import wire
from virtfleet.hypervisor.call import Call, Operation, Report
from virtfleet.hypervisor.session import Session
from virtfleet.model.text import clean, clean_lines


async def run(session: Session | None, request: wire.Request, report: Report) -> Any:
    """The result of an operation. Raises UnreachableError while there is no connection, RefusedError for a
    change in read-only mode. `report(done, total, text)` tells how far a long one is."""
    if session is None:
        raise UnreachableError("the worker is not set up yet")
    operation = OPERATIONS.get(request.op)
    if operation is None:
        from virtfleet.hypervisor.acts import ACTS  # not every worker is ever asked to act

        operation = ACTS.get(request.op)
        if operation is None:
            raise InternalError(f"no operation {request.op!r}")
        if session.settings.read_only:
            raise RefusedError("read-only: nothing may be changed")
        result = await operation(Call(session, request.args, request.deadline, report))
        session.acted(request.op, str(request.args.get("uuid") or ""))
        return result
    return await operation(Call(session, request.args, request.deadline, report))


async def _vm_xml(call: Call) -> str:
    """The live XML of a VM, without secrets (no VIR_DOMAIN_XML_SECURE)."""
    flag = libvirt.VIR_DOMAIN_XML_INACTIVE if call.args.get("inactive") else 0
    text = await call.lanes.long.call(
        lambda conn: conn.lookupByUUIDString(call.args["uuid"]).XMLDesc(flag), call.deadline
    )
    return clean_lines(text)


async def _pool_xml(call: Call) -> str:
    return clean_lines(
        await call.lanes.storage.call(
            lambda conn: conn.storagePoolLookupByUUIDString(call.args["uuid"]).XMLDesc(), call.deadline
        )
    )


async def _volume_xml(call: Call) -> str:
    def read(conn: libvirt.virConnect) -> str:
        pool = conn.storagePoolLookupByUUIDString(call.args["pool_uuid"])
        return str(pool.storageVolLookupByName(call.args["name"]).XMLDesc())

    return clean_lines(await call.lanes.storage.call(read, call.deadline))


async def _network_xml(call: Call) -> str:
    return clean_lines(
        await call.lanes.long.call(
            lambda conn: conn.networkLookupByUUIDString(call.args["uuid"]).XMLDesc(), call.deadline
        )
    )


async def _capabilities(call: Call) -> str:
    return clean_lines(await call.lanes.long.call(lambda conn: conn.getCapabilities(), call.deadline))


async def _check(call: Call) -> dict[str, Any]:
    """What works on this host and how quickly: for `host check`."""
    lanes = call.lanes
    found: dict[str, Any] = {"lanes": {}}
    for name in ("monitor", "detail", "storage", "long"):
        started = time.monotonic()
        await getattr(lanes, name).call(lambda conn: conn.getLibVersion(), call.deadline)
        found["lanes"][name] = time.monotonic() - started

    def ask(conn: libvirt.virConnect) -> dict[str, Any]:
        return {
            "encrypted": bool(conn.isEncrypted()),
            "secure": bool(conn.isSecure()),
            "uri": clean(conn.getURI(), 300),
            "supported": {name: _has(conn, question) for name, question in _QUESTIONS.items()},
        }

    found.update(await lanes.long.call(ask, call.deadline))
    return found


async def _door(call: Call) -> str:
    """Path of a socket through which another process of ours speaks to this host's libvirtd."""
    return call.reach.door(f"door-{int(call.args['number'])}")


async def _image_check(call: Call) -> dict[str, Any]:
    """What a volume is that shall serve as an image."""
    from virtfleet.hypervisor.acts.image import check

    return await check(call)


async def _pool_sources(call: Call) -> list[dict[str, Any]]:
    """What storage the host could make pools of."""
    from virtfleet.hypervisor.pool_discovery import discover

    return await discover(call)


async def _snapshots(call: Call) -> list[dict[str, Any]]:
    """The snapshots of a VM."""
    from virtfleet.hypervisor.acts.snapshots import listed

    return await listed(call)


async def _edited(call: Call) -> dict[str, str]:
    """What an editor is given: the definition without secrets, and the mark by which it is known again."""
    from virtfleet.hypervisor.acts.define import fingerprint

    xml = await _vm_xml(Call(call.session, {**call.args, "inactive": True}, call.deadline, call.report))
    return {"xml": xml, "was": fingerprint(xml)}


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
    "image.check": _image_check,
    "pool.sources": _pool_sources,
    "vm.snapshots": _snapshots,
    "vm.edited": _edited,
}
