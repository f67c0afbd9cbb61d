"""Writes into a VM's metadata which hosts it left when they were drained, so that it can be brought home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import libvirt
from lxml import etree

from virtfleet.errors import RefusedError
from virtfleet.hypervisor.acts import metadata
from virtfleet.hypervisor.acts.domains import name_of, on_domain
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.views.home import MOVE, PREFIX, homes


async def _home(call: Call) -> dict[str, Any]:
    """`set`: names of hosts, the one that it left last at the end. `expect`: what stands there now.

    RefusedError: it is neither. As an undo (`undo`) such a one is left alone.
    """
    wanted, expected = (tuple(map(str, call.args[key])) for key in ("set", "expect"))

    def work(domain: libvirt.virDomain) -> dict[str, Any]:
        present = homes(metadata.read(domain, MOVE))
        if present == wanted:
            return {}
        if present != expected:
            said = f"its metadata says now that it left {', '.join(present) or 'no host'}"
            if call.args.get("undo"):
                return {"left": said}
            raise RefusedError(f"{name_of(domain)}: {said}", cure="plan it again")
        metadata.write(domain, MOVE, PREFIX, _xml(wanted) if wanted else None)
        return {}

    async with host_lock(call, metadata.lock_name(call.args["uuid"])):
        return await on_domain(call, work)


def _xml(names: tuple[str, ...]) -> str:
    root = etree.Element("move")
    for name in names:
        etree.SubElement(root, "drained").set("from", name)
    return str(etree.tostring(root, encoding="unicode"))


ACTS: Mapping[str, Operation] = {"vm.home": _home}
