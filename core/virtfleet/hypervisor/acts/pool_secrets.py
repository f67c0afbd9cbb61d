"""Secrets that pools log in with: read where they are, put into libvirt's store, and nowhere else.

A plan, a journal and a log know where a secret is and never what it is. It is
read in the worker, at the moment of its step; libvirt keeps it as private,
which means that it gives it back to nobody.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import libvirt

from virtfleet.config.secret import Secret
from virtfleet.errors import ConfigError, RefusedError
from virtfleet.hypervisor.builders.pool import secret_xml
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.pool_sources import secret_of
from virtfleet.model import PromptKind

_STILL = 5.0
"""Seconds after which it is said again that a person is being asked: less than any step has."""
OURS = "virtfleet pool "
"""With this the usage of our secrets begins."""


async def _set(call: Call) -> dict[str, Any]:
    """A secret of UUID `uuid` whose value is what `from` names; `for` says to people what it is for."""
    args = call.args
    value = _value(await _read(call), str(args["kind"]), str(args["from"]))
    xml = secret_xml(uuid=args["uuid"], kind=args["kind"], usage=f"{OURS}{args['uuid']}")

    def work(conn: libvirt.virConnect) -> None:
        conn.secretDefineXML(xml, 0).setValue(value, 0)  # type: ignore[arg-type]  # the stub knows no bytes

    await call.lanes.long.call(work, call.deadline)
    return {"uuid": args["uuid"]}


async def _read(call: Call) -> str:
    """RefusedError: it is not where it shall be, or nobody is there to ask."""
    reference, what = str(call.args["from"]), str(call.args["for"])
    try:
        secret = Secret.parse(reference, Path("/"))
        value = await asyncio.to_thread(secret.read)
    except (ValueError, ConfigError, OSError) as error:
        raise RefusedError(f"the secret of {what}: {error}") from None
    if value is None:
        value = await _ask(call, what)
    if not value:
        raise RefusedError(
            f"the secret of {what} was not given", cure="answer the question, or name env:NAME or file:PATH"
        )
    return value


async def _ask(call: Call, what: str) -> str | None:
    """A person's answer, who may take his time."""
    asking = asyncio.ensure_future(
        asyncio.to_thread(
            call.session.asker.ask, PromptKind.PASSWORD, f"Secret of {what}", identity=f"pool {what}"
        )
    )
    while not (await asyncio.wait({asking}, timeout=_STILL))[0]:
        call.report(0, 0, "waiting for an answer")
    return asking.result()


def _value(text: str, kind: str, reference: str) -> bytes:
    """As libvirt wants it. A key of Ceph is written in base64, and kept as what that means."""
    if kind != "ceph":
        return text.encode()
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(
            f"what {reference} names is no key of Ceph (it is not shown)",
            cure="give what `ceph auth get-key client.NAME` says",
        ) from None


async def _forget(call: Call) -> dict[str, Any]:
    """Removes the secret `uuid`, or that of the pool whose definition is `xml`, if it is ours alone."""
    uuid = call.args.get("uuid") or secret_of(str(call.args.get("xml") or "<pool/>"))[0]
    if not uuid:
        return {}

    def work(conn: libvirt.virConnect) -> dict[str, Any]:
        try:
            secret = conn.secretLookupByUUIDString(uuid)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
                return {}
            raise
        if not str(secret.usageID()).startswith(OURS):
            return {"left": "its secret was not made by us"}
        for pool in conn.listAllStoragePools():
            if uuid in pool.XMLDesc(libvirt.VIR_STORAGE_XML_INACTIVE if pool.isPersistent() else 0):
                return {"left": "another pool uses its secret"}
        secret.undefine()
        return {"forgotten": True}

    return await call.lanes.long.call(work, call.deadline)


ACTS: Mapping[str, Operation] = {"pool.secret": _set, "pool.forget-secret": _forget}
