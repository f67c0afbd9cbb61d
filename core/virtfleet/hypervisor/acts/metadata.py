"""What belongs to a VM and is kept with it: claims of jobs, project, tags, title, description, its name.

All of it is read, changed and written under the host's lock, so that two
operators on two laptops lose nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import libvirt
import msgspec

from virtfleet.errors import HostError, RefusedError
from virtfleet.hypervisor.acts.domains import affected, name_of, on_domain
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views import vmdata
from virtfleet.model.text import clean, clean_lines

_ELEMENT = libvirt.VIR_DOMAIN_METADATA_ELEMENT


def read(domain: libvirt.virDomain, namespace: str) -> str | None:
    """Our element in the domain's metadata, as it will be at the next boot; None: there is none."""
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else libvirt.VIR_DOMAIN_AFFECT_LIVE
    try:
        return str(domain.metadata(_ELEMENT, namespace, flags))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise


def write(domain: libvirt.virDomain, namespace: str, prefix: str, xml: str | None) -> None:
    """Puts `xml` in the place of our element; None takes it away."""
    if xml is None and read(domain, namespace) is None:
        return
    name = prefix if xml is not None else None
    domain.setMetadata(_ELEMENT, xml, name, namespace, affected(domain))  # type: ignore[arg-type] # None: away


def lock_name(uuid: str) -> str:
    return f"vm-{uuid}"


async def _claim(call: Call) -> dict[str, Any]:
    """Says who works on it. RefusedError: somebody else does. A claim of the same job is renewed."""
    now = time.time()

    def work(domain: libvirt.virDomain) -> None:
        other = vmdata.claim_of(read(domain, vmdata.JOB))
        if other is not None and other.id != call.job and other.until > now:
            clock = time.strftime("%H:%M:%S", time.localtime(other.since))
            raise RefusedError(
                f"{name_of(domain)}: {other.says(clock)}",
                cure=f"wait for it; when nobody renews it, it is free at {_clock(other.until)}",
            )
        claim = vmdata.Claim(
            id=call.job,
            verb=str(call.args["verb"]),
            who=str(call.args["who"]),
            since=now,
            until=now + float(call.args["seconds"]),
        )
        write(domain, vmdata.JOB, vmdata.JOB_PREFIX, vmdata.claim_xml(claim))

    async with host_lock(call, lock_name(call.args["uuid"])) as alone:
        await on_domain(call, work)
    return {"alone": alone}


def _clock(when: float) -> str:
    return time.strftime("%H:%M", time.localtime(when))


async def _renew(call: Call) -> dict[str, Any]:
    """{renewed}: whether the claim of the job `of` stands still, and now `seconds` more.

    On a lane of its own, and without the job's name: it comes while a step of the same job runs.
    """
    args = call.args

    def work(conn: libvirt.virConnect) -> bool:
        try:
            domain = conn.lookupByUUIDString(args["uuid"])
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return False
            raise
        claim = vmdata.claim_of(read(domain, vmdata.JOB))
        if claim is None or claim.id != args["of"]:
            return False
        longer = msgspec.structs.replace(claim, until=time.time() + float(args["seconds"]))
        write(domain, vmdata.JOB, vmdata.JOB_PREFIX, vmdata.claim_xml(longer))
        return True

    async with host_lock(call, lock_name(args["uuid"])), call.lanes.extra() as lane:
        return {"renewed": await lane.call(work, call.deadline)}


async def _release(call: Call) -> dict[str, Any]:
    """Takes our own claim away; nobody else's. A VM that is gone needs none."""

    def work(conn: libvirt.virConnect) -> None:
        try:
            domain = conn.lookupByUUIDString(call.args["uuid"])
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return
            raise
        claim = vmdata.claim_of(read(domain, vmdata.JOB))
        if claim is not None and claim.id == call.job:
            write(domain, vmdata.JOB, vmdata.JOB_PREFIX, None)

    async with host_lock(call, lock_name(call.args["uuid"])):
        await call.lanes.long.call(work, call.deadline)
    return {}


async def _metadata(call: Call) -> dict[str, Any]:
    """Changes project, group, flavor, protection, tags. `change` as `vmdata.changed` has it.

    As an undo: `exact` is what the step itself gave as its inverse, and counts instead of `change`;
    `ours` {key: value} is what it had set: what somebody has set anew since is left alone.
    """
    change = call.args.get("exact") or call.args.get("change") or call.args

    def work(domain: libvirt.virDomain) -> dict[str, Any]:
        before = read(domain, vmdata.VM)
        try:
            wanted, left = _still_ours(call, before, dict(change))
            after, inverse = vmdata.changed(before, wanted)
        except ValueError as error:
            raise HostError(f"the metadata of {name_of(domain)} can't be changed: {error}") from None
        if after != before:
            write(domain, vmdata.VM, vmdata.PREFIX, after)
        # What a first time may have changed is not to be known from a second.
        return {"inverse": None if call.again else inverse} | ({"left": left} if left else {})

    async with host_lock(call, lock_name(call.args["uuid"])):
        return await on_domain(call, work)


def _still_ours(call: Call, before: str | None, change: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The change without what others have set since; and what that is. RefusedError as `_left` has it."""
    ours, wanted = dict(call.args.get("ours") or {}), dict(change.get("set", {}))
    if not ours:
        return change, ""
    present = vmdata.changed(before, {"set": wanted})[1]["set"]
    others = {
        key: value for key, value in present.items() if key in ours and value not in (ours[key], wanted[key])
    }
    return change | {"set": {key: wanted[key] for key in wanted if key not in others}}, _left(call, others)


def _left(call: Call, others: Mapping[str, Any]) -> str:
    """What others have set meanwhile, in words. RefusedError: to undo a job that was done."""
    words = ", ".join(f"its {key} is {clean(str(value), 200) or 'none'} now" for key, value in others.items())
    if words and call.args.get("of_done"):
        raise RefusedError(
            f"{words}: somebody else has changed it since", cure="look, and change it yourself"
        )
    return words


async def _describe(call: Call) -> dict[str, Any]:
    """Title and description; None leaves one as it is. `exact` and `ours` as in `vm.metadata`."""
    kinds = {
        "title": libvirt.VIR_DOMAIN_METADATA_TITLE,
        "description": libvirt.VIR_DOMAIN_METADATA_DESCRIPTION,
    }
    wanted = {key: (call.args.get("exact") or call.args).get(key) for key in kinds}
    ours = dict(call.args.get("ours") or {})

    def work(domain: libvirt.virDomain) -> dict[str, Any]:
        flags = affected(domain)
        present = {key: _text(domain, kinds[key]) for key in ours}
        others = {
            key: text
            for key, text in present.items()
            if text not in (clean_lines(ours[key]), clean_lines(wanted[key] or ""))
        }
        left = _left(call, others)
        was: dict[str, str] = {}
        for key, kind in kinds.items():
            text = wanted[key]
            if text is None or key in others:
                continue
            was[key] = _text(domain, kind)
            if was[key] != text:
                domain.setMetadata(kind, text or None, None, None, flags)  # type: ignore[arg-type] # None: away
        return {"was": None if call.again else was} | ({"left": left} if left else {})

    async with host_lock(call, lock_name(call.args["uuid"])):
        return await on_domain(call, work)


def _text(domain: libvirt.virDomain, kind: int) -> str:
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else libvirt.VIR_DOMAIN_AFFECT_LIVE
    try:
        return clean_lines(domain.metadata(kind, None, flags))  # type: ignore[arg-type] # no namespace
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return ""
        raise


async def _rename(call: Call) -> dict[str, Any]:
    """A name of its own on its host; the VM must be off. `ours`: of an undo, the name that it must have."""
    name = str(call.args["name"])

    def work(domain: libvirt.virDomain) -> str:
        was = str(domain.name())
        if was == name:
            return str(call.args.get("was") or was)
        if call.args.get("ours", was) != was:
            raise RefusedError(f"it is called {name_of(domain)} now: somebody else has renamed it")
        if domain.isActive():
            raise RefusedError(f"{name_of(domain)} runs; only a VM that is off can be renamed")
        domain.rename(name, 0)
        return was

    async with host_lock(call, lock_name(call.args["uuid"])):
        return {"was": await on_domain(call, work)}


ACTS: Mapping[str, Operation] = {
    "vm.claim": _claim,
    "vm.renew": _renew,
    "vm.release": _release,
    "vm.metadata": _metadata,
    "vm.describe": _describe,
    "vm.rename": _rename,
}
