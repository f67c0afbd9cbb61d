"""A move as its source does it: started, watched, given up, and what of it is left there.

Peer to peer: the source's own libvirt speaks with the destination's, and goes
on whatever becomes of us. What became of it is not for one host to say:
`actions/moving_steps.py` asks both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import HostError, NotFoundError, RefusedError, UnsupportedError, VirtfleetError
from virtfleet.hypervisor.acts.domains import lookup, name_of, on_domain
from virtfleet.hypervisor.acts.migrate_pace import Pace, Standing, standing
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.states import vm_reason, vm_state
from virtfleet.hypervisor.views.safexml import parse
from virtfleet.model import VmState

_LOOK_EVERY = 0.5
_FOREVER = 7 * 86400.0
"""The call itself has no deadline: its progress has."""
_ENDS_WITHIN = 60.0
"""Seconds that an aborted migration may take to end."""
_HELD = ("migrating", "postcopy", "postcopy-failed")
_JOBS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "out",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "in",
}
_NOBODY = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
"""What job statistics say when it is all over, as well."""


async def _side(call: Call) -> dict[str, Any]:
    """The VM as this host has it: a `decide.recovery.Side`."""

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        try:
            return _seen(conn.lookupByUUIDString(call.args["uuid"]))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return {"present": False}
            raise

    return dict(await call.lanes.long.call(work, call.deadline))


def _seen(domain: libvirt.virDomain) -> dict[str, Any]:
    state, reason = _state_of(domain)
    return {
        "present": True,
        "state": state.value,
        "reason": reason,
        "job": _job_of(domain) if state.active else "",
        "name": name_of(domain),
        "persistent": bool(domain.isPersistent()),
    }


def _state_of(domain: libvirt.virDomain) -> tuple[VmState, str]:
    told: Any = domain.state()
    state = vm_state(told[0])
    return state, vm_reason(state, told[1])


def _stats(domain: libvirt.virDomain) -> dict[str, Any]:
    """Empty: no job, or none any more."""
    try:
        told: Any = domain.jobStats(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NOBODY:
            return {}
        raise
    return {} if told.get("type") in (None, libvirt.VIR_DOMAIN_JOB_NONE) else dict(told)


def _job_of(domain: libvirt.virDomain) -> str:
    found = _stats(domain)
    if not found:
        return ""
    return _JOBS.get(found.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0), "other")


async def _departure(call: Call) -> dict[str, Any]:
    """What the destination must be asked of: {cpu, arch, machine, kind}. Of one that is off: no CPU."""

    def work(domain: libvirt.virDomain) -> dict[str, Any]:
        active = bool(domain.isActive())
        root = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE if active else 0))
        cpu, os_type = root.find("cpu"), root.find("os/type")
        mode = cpu.get("mode", "custom") if cpu is not None else ""
        named = cpu is not None and mode == "custom" and cpu.find("model") is not None
        return {
            "cpu": etree.tostring(cpu, encoding="unicode") if cpu is not None and named and active else "",
            "arch": (os_type.get("arch", "") if os_type is not None else "")[:60],
            "machine": (os_type.get("machine", "") if os_type is not None else "")[:100],
            "kind": (root.get("type") or "")[:30],
        }

    return await on_domain(call, work)


# ---- on its way


async def _migrate(call: Call) -> dict[str, Any]:
    """Moves it, or with `watch` stays until a move that is under way has ended; says how far it is.

    Cancelled, it is aborted, unless it runs at the destination already.
    """
    pace = Pace.of(call.args)
    if call.args.get("watch"):
        await _watched(call, pace)
        return {}

    def work(conn: libvirt.virConnect) -> None:
        domain = lookup(conn, call.args["uuid"])
        state, reason = _state_of(domain)
        if state is VmState.PAUSED and reason in _HELD:
            raise HostError(f"{name_of(domain)} stands in a migration that is not over")
        flags, params = _how(call.args, domain)
        domain.migrateToURI3(str(call.args["peer"]), params, flags)  # type: ignore[arg-type] # a mapping

    async with call.lanes.extra() as lane:
        if lane is call.lanes.long:
            raise UnsupportedError("libvirt's driver for this host can't migrate")
        task = asyncio.ensure_future(lane.call(work, _FOREVER, linger=_ENDS_WITHIN))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_LOOK_EVERY)
                if not task.done():
                    await _look(call, pace)
            await task
        except asyncio.CancelledError:
            await _abort(call)
            await asyncio.wait({task}, timeout=_ENDS_WITHIN)
            raise
        finally:
            if not task.done():
                task.cancel()
    return {}


def _how(args: Mapping[str, Any], domain: libvirt.virDomain) -> tuple[int, dict[str, Any]]:
    """Flags and parameters. `disks` names those that are copied: an empty list would mean all of them."""
    flags = libvirt.VIR_MIGRATE_PEER2PEER
    params: dict[str, Any] = {}
    if not domain.isActive():
        flags |= libvirt.VIR_MIGRATE_OFFLINE
    elif args.get("live", True):
        flags |= libvirt.VIR_MIGRATE_LIVE
    if domain.isPersistent():
        flags |= libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    if not domain.isActive():
        return flags, params
    params[libvirt.VIR_MIGRATE_PARAM_URI] = str(args["data"])
    if disks := list(args.get("disks") or ()):
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
        params[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = disks
    if bandwidth := int(args.get("bandwidth") or 0):
        params[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(1, bandwidth >> 20)
    if args.get("auto_converge"):
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    if args.get("post_copy"):
        flags |= libvirt.VIR_MIGRATE_POSTCOPY
    if args.get("compressed"):
        flags |= libvirt.VIR_MIGRATE_COMPRESSED
    if parallel := int(args.get("parallel") or 0):
        flags |= libvirt.VIR_MIGRATE_PARALLEL
        params[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = parallel
    return flags, params


async def _look(call: Call, pace: Pace) -> bool:
    """Tells how far it is and does what its pace asks for. False: no migration is under way."""

    def work(domain: libvirt.virDomain) -> Standing | None:
        found = _stats(domain)
        if _JOBS.get(found.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0)) != "out":
            return None
        now = standing(found, time.monotonic(), _state_of(domain)[1])
        match pace.next(now):
            case "downtime" if pace.max_downtime:
                domain.migrateSetMaxDowntime(int(pace.max_downtime * 1000), 0)
            case "post-copy":
                domain.migrateStartPostCopy(0)
            case "abort":
                domain.abortJob()
        return now

    try:
        now = await on_domain(call, work)
    except NotFoundError:
        return False
    except (HostError, RefusedError):  # it may be over this moment, or the host is busy: look again
        return True
    if now is None:
        return False
    if pace.moves(now):  # the request's deadline counts from its last progress
        call.report(now.done, now.total, pace.words(now))
    return True


async def _watched(call: Call, pace: Pace) -> None:
    try:
        while True:
            if not await _look(call, pace):
                return
            await asyncio.sleep(_LOOK_EVERY)
    except asyncio.CancelledError:
        await _abort(call)
        raise


async def _abort(call: Call) -> None:
    """Gives it up, and waits until it has ended; not after the switch of a post-copy."""

    def work(domain: libvirt.virDomain) -> None:
        if _state_of(domain)[1] not in _HELD[1:] and _job_of(domain) == "out":
            domain.abortJob()

    def over(domain: libvirt.virDomain) -> bool:
        return _job_of(domain) != "out"

    async def both() -> None:
        with contextlib.suppress(VirtfleetError):
            await on_domain(call, work)
            until = time.monotonic() + _ENDS_WITHIN
            while time.monotonic() < until:
                if await on_domain(call, over):
                    return
                await asyncio.sleep(_LOOK_EVERY / 5)

    await asyncio.shield(both())


async def _given_up(call: Call) -> dict[str, Any]:
    await _abort(call)
    return {}


# ---- what is left


async def _resume(call: Call) -> dict[str, Any]:
    """Lets it run on where a migration broke off. Only for whoever has looked at the destination."""

    def work(domain: libvirt.virDomain) -> bool:
        if _state_of(domain) != (VmState.PAUSED, "migrating"):
            return False
        if _job_of(domain):
            raise HostError(f"{name_of(domain)}: its migration is not over")
        domain.resume()
        return True

    return {"resumed": await on_domain(call, work)}


async def _remove(call: Call) -> dict[str, Any]:
    """Takes away what stands at the source of a VM that is at its destination. What runs is not touched."""

    def work(domain: libvirt.virDomain) -> bool:
        state, reason = _state_of(domain)
        if state.active:
            if state is not VmState.PAUSED or reason not in _HELD:
                raise HostError(f"{name_of(domain)} is {state.value} here: it is not removed")
            if _job_of(domain) == "out":
                raise HostError(f"{name_of(domain)}: its migration is not over")
            persistent = bool(domain.isPersistent())
            domain.destroy()
            if not persistent:
                return True
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM if domain.isPersistent() else 0)
        return True

    try:
        return {"removed": await on_domain(call, work)}
    except NotFoundError:
        return {"removed": False}


ACTS: Mapping[str, Operation] = {
    "vm.side": _side,
    "vm.departure": _departure,
    "vm.migrate": _migrate,
    "vm.migrate.abort": _given_up,
    "vm.migrate.resume": _resume,
    "vm.migrate.remove": _remove,
}
