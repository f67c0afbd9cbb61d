"""Start, stop and what lies between. Each is done when the VM is as it shall be: steps may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import libvirt

from virtfleet.errors import HostError, NotFoundError, RefusedError, UnsupportedError, VirtfleetError
from virtfleet.hypervisor.acts.domains import lookup, name_of, on_domain, state_of
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.states import vm_reason
from virtfleet.model import VmState

_LOOK_EVERY = 0.5
_AGENT_AFTER = 1 / 3
"""Share of the time after which the agent is asked, too: a guest may ignore ACPI."""
_ON = (VmState.RUNNING, VmState.BLOCKED)
_MOVING = ("migrating", "postcopy", "postcopy-failed")
"""Why a VM is paused that may run on another host."""


async def _start(call: Call) -> dict[str, Any]:
    """Boots it, or goes on from its saved state. `saved`: only so; `discard_saved`: never so."""
    paused, discard = bool(call.args.get("paused")), bool(call.args.get("discard_saved"))

    def work(domain: libvirt.virDomain) -> bool:
        state = state_of(domain)
        if state is VmState.SUSPENDED:
            raise RefusedError(f"{name_of(domain)} sleeps (pmsuspended); resume wakes it")
        if domain.isActive():
            return False
        if call.args.get("saved") and not _has_saved(domain):
            raise RefusedError(f"{name_of(domain)} has no saved state")
        if discard and _has_saved(domain):
            domain.managedSaveRemove(0)
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
        return True

    return {"started": await on_domain(call, work)}


def _has_saved(domain: libvirt.virDomain) -> bool:
    try:
        return bool(domain.hasManagedSaveImage(0))
    except libvirt.libvirtError:
        return False


async def _shutdown(call: Call) -> dict[str, Any]:
    """Asks the guest, waits `wait` seconds, then fails or with `force` pulls the plug."""
    wait, force = float(call.args.get("wait", 60.0)), bool(call.args.get("force"))
    began = time.monotonic()
    asked = ""
    while True:
        left = wait - (time.monotonic() - began)
        state = await on_domain(call, state_of)
        if not state.active:
            return {"how": asked or "off already"}
        if state is VmState.PAUSED:
            raise RefusedError(
                "it is paused, so its guest can't shut down", cure="resume it first, or power it off"
            )
        if not asked:
            asked = await _ask(call, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, "ACPI")
        elif asked == "ACPI" and left < wait * (1 - _AGENT_AFTER):
            asked = await _ask(call, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, "agent") or "ACPI alone"
        if left <= 0:
            break
        call.report(int(wait - left), int(wait), "waiting for the guest to shut down")
        await asyncio.sleep(min(_LOOK_EVERY, max(0.05, left)))
    if not force:
        raise RefusedError(
            f"its guest still runs {wait:.0f} s after it was asked to shut down",
            cure="ask again, or power it off",
        )
    await _poweroff(call)
    return {"how": "powered off"}


async def _ask(call: Call, how: int, name: str) -> str:
    """Asks the guest to shut down; `name` if it was asked, empty if that way is not to be had."""

    def work(domain: libvirt.virDomain) -> None:
        try:
            domain.shutdownFlags(how)
        except libvirt.libvirtError:
            if how == libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT:
                raise
            domain.shutdown()  # drivers without ACPI have a way of their own

    try:
        await on_domain(call, work)
    except NotFoundError:
        raise
    except VirtfleetError:
        if how == libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT:
            return ""
        raise
    return name


async def _poweroff(call: Call) -> dict[str, Any]:
    def work(domain: libvirt.virDomain) -> bool:
        if not domain.isActive():
            return False
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
            return True
        domain.destroy()  # a QEMU that does not obey is killed
        return True

    return {"stopped": await on_domain(call, work)}


async def _reboot(call: Call) -> dict[str, Any]:
    def work(domain: libvirt.virDomain) -> None:
        _must_run(domain)
        domain.reboot(0)

    await on_domain(call, work)
    return {}


async def _reset(call: Call) -> dict[str, Any]:
    def work(domain: libvirt.virDomain) -> None:
        if not domain.isActive():
            raise RefusedError(f"{name_of(domain)} is off")
        domain.reset(0)

    await on_domain(call, work)
    return {}


def _must_run(domain: libvirt.virDomain) -> None:
    state = state_of(domain)
    if state not in _ON:
        raise RefusedError(f"{name_of(domain)} is {state.value}")


async def _suspend(call: Call) -> dict[str, Any]:
    def work(domain: libvirt.virDomain) -> bool:
        if state_of(domain) is VmState.PAUSED:
            return False
        _must_run(domain)
        domain.suspend()
        return True

    return {"suspended": await on_domain(call, work)}


async def _resume(call: Call) -> dict[str, Any]:
    def work(domain: libvirt.virDomain) -> bool:
        state = state_of(domain)
        if state in _ON:
            return False
        if state is VmState.SUSPENDED:
            domain.pMWakeup(0)
        elif state is VmState.PAUSED:
            if vm_reason(state, domain.state()[1]) in _MOVING:
                raise RefusedError(
                    f"{name_of(domain)} stands in a migration: resumed, it might run twice",
                    cure="resume or roll back the job that moves it; if there is none: `vm settle`",
                )
            domain.resume()
        else:
            raise RefusedError(f"{name_of(domain)} is {state.value}")
        return True

    return {"resumed": await on_domain(call, work)}


async def _save(call: Call) -> dict[str, Any]:
    """Memory to the host's disk, with progress; cancelled, it goes on running."""

    def work(conn: libvirt.virConnect) -> bool:
        domain = lookup(conn, call.args["uuid"])
        if not domain.isActive():
            if _has_saved(domain):
                return False
            raise RefusedError(f"{name_of(domain)} is off")
        if not domain.isPersistent():
            raise UnsupportedError(f"{name_of(domain)} is transient: its saved state would be lost")
        domain.managedSave(0)
        return True

    return {"saved": await with_progress(call, work, "saving its memory")}


async def with_progress(call: Call, work: Callable[[libvirt.virConnect], Any], what: str) -> Any:
    """A call that takes long, on a lane of its own, while the domain's job statistics are reported.

    Cancelled, the domain's job is aborted, which ends the call.
    """
    async with call.lanes.extra() as lane:
        if lane is call.lanes.long:  # one connection for all: nothing can be asked meanwhile
            return await lane.call(work, call.deadline)
        task = asyncio.ensure_future(lane.call(work, 86400.0))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_LOOK_EVERY)
                if not task.done() and (found := await _job(call)):
                    call.report(*found, what)
            return await task
        except asyncio.CancelledError:
            if "uuid" in call.args:  # copies of volumes have no domain, and nobody can stop them
                with contextlib.suppress(VirtfleetError):
                    await asyncio.shield(on_domain(call, lambda domain: domain.abortJob()))
            await asyncio.wait({task}, timeout=call.deadline)
            raise
        finally:
            if not task.done():
                task.cancel()


async def _job(call: Call) -> tuple[int, int] | None:
    """Bytes done and in all of the domain's job; None: it has none, or can't say."""
    if "uuid" not in call.args:
        return None
    try:
        found: Any = await on_domain(call, lambda domain: domain.jobStats(0))
    except (HostError, RefusedError, NotFoundError):
        return None
    total = int(found.get(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL, 0))
    done = int(found.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED, 0))
    return (done, total) if total else None


async def _autostart(call: Call) -> dict[str, Any]:
    on = bool(call.args["on"])

    def work(domain: libvirt.virDomain) -> bool:
        was = bool(domain.autostart())
        if was != on:
            domain.setAutostart(int(on))
        return was

    return {"was": await on_domain(call, work)}


ACTS: Mapping[str, Operation] = {
    "vm.start": _start,
    "vm.shutdown": _shutdown,
    "vm.poweroff": _poweroff,
    "vm.reboot": _reboot,
    "vm.reset": _reset,
    "vm.suspend": _suspend,
    "vm.resume": _resume,
    "vm.save": _save,
    "vm.autostart": _autostart,
}
