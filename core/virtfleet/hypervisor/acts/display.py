"""Ways to a guest that a program of the operator's takes: its screen (VNC, SPICE), its SSH server.

Each is a port on this machine's loopback, carried over the host's connection.
It outlives a loss of that connection: whoever connects next uses the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import libvirt

from virtfleet.errors import NotFoundError, RefusedError, UnreachableError
from virtfleet.hypervisor.acts.domains import name_of, on_domain
from virtfleet.hypervisor.acts.ready import addresses
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.doors import Upstream
from virtfleet.hypervisor.forwards import LOOPBACK, Forwards
from virtfleet.hypervisor.reach import Reach
from virtfleet.hypervisor.views.reading import attribute, child, children, integer
from virtfleet.hypervisor.views.safexml import Element, parse

_KINDS = ("spice", "vnc")
"""What viewers speak, the better one first."""
_ANY = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1", "*": LOOPBACK}  # noqa: S104 - where it listens, not we
_CONNECT_WITHIN = 10.0
_IDLE = 300.0
_SSH_PORT = 22

_forwards = Forwards()


async def _display(call: Call) -> dict[str, Any]:
    """{uuid, kind?, idle?} → {id, kind, host, port, tls, password}: `password` whether it asks for one.

    RefusedError: the VM is off; NotFoundError: it has no such screen.
    """
    wanted = str(call.args.get("kind") or "")

    def look(domain: libvirt.virDomain) -> tuple[str, bool, str]:
        try:
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
        except libvirt.libvirtError:  # without the right to see secrets
            xml = domain.XMLDesc(0)
        return name_of(domain), bool(domain.isActive()), xml

    name, active, xml = await on_domain(call, look)
    if not active:
        raise RefusedError(f"{name} is off: there is nothing to see", cure="start it")
    screens = {attribute(each, "type"): each for each in children(child(parse(xml), "devices"), "graphics")}
    kind = next((each for each in _KINDS if each in screens and wanted in ("", each)), "")
    if not kind:
        found = ", ".join(each for each in screens if each) or "none"
        raise NotFoundError(
            f"{name} has no {wanted or 'screen that a viewer could show'}: its screens are {found}",
            cure="`vm console` reaches its serial port",
        )
    connect, tls = _way(screens[kind], name)
    number, port = _forwards.open(lambda: connect(call.reach), float(call.args.get("idle") or _IDLE))
    return {
        "id": number,
        "kind": kind,
        "host": LOOPBACK,
        "port": port,
        "tls": tls,
        "password": bool(screens[kind].get("passwd")),
    }


def _way(screen: Element, name: str) -> tuple[Callable[[Reach], Upstream], bool]:
    """How to connect to a screen, and whether it speaks TLS."""
    listen = child(screen, "listen")
    path = attribute(screen, "socket") or attribute(listen, "socket")
    if path:
        return lambda reach: reach.forward_unix(path, _CONNECT_WITHIN), False
    address = attribute(screen, "listen") or attribute(listen, "address")
    plain, secured = (integer(attribute(screen, key)) for key in ("port", "tlsPort"))
    port = next((each for each in (plain, secured) if each is not None and 0 < each < 65536), None)
    if port is None:
        raise NotFoundError(
            f"the screen of {name} listens nowhere", cure="its definition says listen type none"
        )
    target = _ANY.get(address, address)
    return lambda reach: reach.forward(target, port, _CONNECT_WITHIN), port == secured


async def _ssh(call: Call) -> dict[str, Any]:
    """{uuid, port?, idle?} → {id, host, port, address}: the guest's SSH server.

    RefusedError: it is off, or its address is not known; UnreachableError: nothing answers there.
    """
    target = int(call.args.get("port") or _SSH_PORT)

    def look(domain: libvirt.virDomain) -> tuple[str, bool, list[str]]:
        active = bool(domain.isActive())
        return name_of(domain), active, addresses(domain) if active else []

    name, active, found = await on_domain(call, look)
    if not active:
        raise RefusedError(f"{name} is off", cure="start it")
    if not found:
        raise RefusedError(
            f"no address of {name} is known: no DHCP lease of its host, no guest agent, nothing in ARP",
            cure="`vm console` needs no address",
        )
    address = await _first_that_answers(call, found, target)
    number, port = _forwards.open(
        lambda: call.reach.forward(address, target, _CONNECT_WITHIN), float(call.args.get("idle") or _IDLE)
    )
    return {"id": number, "host": LOOPBACK, "port": port, "address": address}


async def _first_that_answers(call: Call, found: list[str], port: int) -> str:
    """Tried before a client is started that could only say that it was hung up on."""
    failed: UnreachableError | None = None
    for address in found[:4]:
        try:
            stream = await asyncio.to_thread(call.reach.forward, address, port, call.deadline / 2)
        except UnreachableError as error:
            failed = failed or error
        else:
            await asyncio.to_thread(stream.close)
            return address
    assert failed is not None  # noqa: S101 - there was an address to try
    raise failed


async def _close(call: Call) -> dict[str, Any]:
    """{id} → {}: no such forward is as good."""
    _forwards.close(str(call.args["id"]))
    return {}


async def _why(call: Call) -> dict[str, Any]:
    """{id} → {error}: why the newest connection through a forward failed; empty: it did not."""
    return {"error": _forwards.last_error(str(call.args["id"]))}


ACTS: Mapping[str, Operation] = {
    "display.open": _display,
    "ssh.open": _ssh,
    "forward.close": _close,
    "forward.why": _why,
}
