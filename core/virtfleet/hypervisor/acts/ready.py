"""Waits until a VM can be used: it runs, an address is known, its SSH server answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import libvirt

from virtfleet.errors import RefusedError, VirtfleetError
from virtfleet.hypervisor.acts.domains import name_of, on_domain
from virtfleet.hypervisor.call import Call, Operation

_LOOK_EVERY = 0.5
_SSH_PORT = 22
_BANNER_WITHIN = 5.0
_SOURCES = (
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
)


def addresses(domain: libvirt.virDomain) -> list[str]:
    """What DHCP leases, the guest agent or the host's ARP table know, IPv4 first."""
    for source in _SOURCES:
        with contextlib.suppress(libvirt.libvirtError):
            found: Any = domain.interfaceAddresses(source, 0) or {}
            all_of = [
                str(each["addr"])
                for name, nic in found.items()
                if name != "lo"
                for each in nic.get("addrs") or ()
            ]
            usable = [each for each in all_of if not each.startswith(("fe80:", "127.", "::1"))]
            if usable:
                return sorted(usable, key=lambda each: ":" in each)
    return []


async def _wait(call: Call) -> dict[str, Any]:
    """{address}. RefusedError: it stopped, or was not ready within `seconds`."""
    ready, seconds = str(call.args["ready"]), float(call.args["seconds"])
    began = time.monotonic()
    address = ""
    while True:

        def look(domain: libvirt.virDomain) -> tuple[bool, str, list[str]]:
            active = bool(domain.isActive())
            return active, name_of(domain), addresses(domain) if active and ready != "running" else []

        active, name, found = await on_domain(call, look)
        if not active:
            raise RefusedError(
                f"{name} does not run any more", cure="look at its console, and at the host's log"
            )
        address = found[0] if found else ""
        if ready == "running" or (ready == "address" and address):
            return {"address": address}
        if address and await _greets(call, address):
            return {"address": address}
        passed = time.monotonic() - began
        if passed > seconds:
            lacks = f"SSH at {address} does not answer" if address else "it has no address"
            raise RefusedError(f"{name} runs, but {lacks} after {seconds:.0f} s", cure="look at its console")
        what = f"waiting for SSH at {address}" if address else "waiting for an address"
        call.report(int(passed), int(seconds), what)
        await asyncio.sleep(_LOOK_EVERY)


async def _greets(call: Call, address: str) -> bool:
    """Whether an SSH server greets there, asked through the host."""
    try:
        return await asyncio.to_thread(_banner, call, address)
    except (VirtfleetError, OSError, EOFError):
        return False


def _banner(call: Call, address: str) -> bool:
    stream = call.reach.forward(address, _SSH_PORT, _BANNER_WITHIN)
    try:
        stream.settimeout(_BANNER_WITHIN)
        return bool(stream.recv(64).startswith(b"SSH-"))
    finally:
        stream.close()


ACTS: Mapping[str, Operation] = {"vm.wait": _wait}
