"""What storage a host could make pools of: libvirt's findStoragePoolSources, and a SAN asked by ourselves.

For iscsi-direct libvirt is not asked: its daemon (9.0) ends with a memory
error, and every guest's management with it. SendTargets (RFC 7143) is two
messages there and back, over a stream that the host forwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, Any, Protocol

import libvirt
import msgspec
from lxml import etree

from virtfleet.errors import AccessError, HostError, RefusedError, UnreachableError
from virtfleet.hypervisor.builders.pool import source_xml
from virtfleet.hypervisor.builders.pool_types import split_host, why_not
from virtfleet.hypervisor.views.pool_sources import FoundSource, sources
from virtfleet.model.action_storage import PoolSource
from virtfleet.model.text import clean

if TYPE_CHECKING:
    from virtfleet.hypervisor.call import Call

_PORT = 3260
_INITIATOR = "iqn.2016-04.com.open-iscsi:virtfleet"
_LOGIN, _TEXT = 0x43, 0x04
_LOGIN_ANSWER, _TEXT_ANSWER = 0x23, 0x24
_MOST_BYTES = 1 << 20
_MOST_ROUNDS = 64
_MOST_TARGETS = 1000


class Stream(Protocol):
    def settimeout(self, timeout: float | None, /) -> None: ...
    def sendall(self, data: bytes, /) -> object: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


async def discover(call: Call) -> list[dict[str, Any]]:
    """Sources for pools of type `type`; `source` (a PoolSource) says whom to ask."""
    kind = str(call.args["type"])
    source = msgspec.convert(call.args.get("source", {}), PoolSource)
    if problem := why_not(kind, "discover"):
        raise RefusedError(problem)
    if kind == "iscsi-direct":
        found = await asyncio.to_thread(_ask_san, call, source)
    else:
        xml = etree.tostring(source_xml(kind, source), encoding="unicode")

        def ask(conn: libvirt.virConnect) -> str:
            return conn.findStoragePoolSources(kind, xml, 0)

        async with call.lanes.extra() as lane:
            found = sources(kind, await lane.call(ask, call.deadline))
    return [msgspec.to_builtins(each) for each in found]


def _ask_san(call: Call, source: PoolSource) -> list[FoundSource]:
    if len(source.hosts) != 1:
        raise RefusedError("one SAN is asked at a time: give one source host")
    name, port = split_host(source.hosts[0])
    stream = call.reach.forward(name, port or _PORT, call.deadline)
    try:
        stream.settimeout(call.deadline)
        targets = send_targets(stream, source.initiator or _INITIATOR)
    except (OSError, EOFError) as error:
        raise UnreachableError(
            f"the SAN {source.hosts[0]} did not answer: {clean(str(error), 200)}"
        ) from None
    finally:
        with contextlib.suppress(OSError, EOFError):
            stream.close()
    return [
        FoundSource(hosts=source.hosts, devices=(target,), identity=_identity(source.hosts[0], target))
        for target in targets
    ]


def _identity(host: str, target: str) -> str:
    from virtfleet.hypervisor.views.pool import identity_of_source

    made = source_xml("iscsi-direct", PoolSource(hosts=(host,), devices=(target,)))
    return identity_of_source("iscsi-direct", made) or ""


# ---------------------------------------------------------------- iSCSI


def send_targets(stream: Stream, initiator: str) -> list[str]:
    """The names of a SAN's targets. AccessError: it wants a password for that; HostError: it speaks oddly."""
    # From operational negotiation to the full feature phase at once, in a session of our own making.
    head = struct.pack(">BBBB", _LOGIN, 0x87, 0, 0)
    rest = b"\x80\x00\x76\x66\x00\x00" + struct.pack(">HIHHII", 0, 1, 0, 0, 1, 0)
    _send(stream, head, rest, _words({"InitiatorName": initiator, "SessionType": "Discovery"}))
    opcode, header, _ = _receive(stream)
    if opcode != _LOGIN_ANSWER:
        raise HostError(f"the SAN answered a login with a message of kind {opcode:#x}")
    if header[36] == 2 and header[37] in (1, 2):
        raise AccessError("the SAN wants a password before it names its targets")
    if header[36] != 0 or not header[1] & 0x80:
        raise HostError(f"the SAN refused the login: status {header[36]:02x}{header[37]:02x}")
    found: list[str] = []
    text, transfer = _words({"SendTargets": "All"}), 0xFFFFFFFF
    for number in range(_MOST_ROUNDS):
        (seen,) = struct.unpack(">I", header[24:28])
        rest = bytes(8) + struct.pack(">IIII", 2 + number, transfer, 1 + number, (seen + 1) & 0xFFFFFFFF)
        _send(stream, struct.pack(">BBBB", _TEXT, 0x80, 0, 0), rest, text)
        opcode, header, data = _receive(stream)
        if opcode != _TEXT_ANSWER:
            raise HostError(f"the SAN answered with a message of kind {opcode:#x}")
        for word in data.split(b"\0"):
            key, _, value = word.decode("utf-8", "replace").partition("=")
            if key == "TargetName" and value and len(found) < _MOST_TARGETS:
                found.append(clean(value, 255))
        if header[1] & 0x80:
            return list(dict.fromkeys(found))
        text, (transfer,) = b"", struct.unpack(">I", header[20:24])
    raise HostError("the SAN's answer has no end")


def _words(words: dict[str, str]) -> bytes:
    return b"".join(f"{key}={value}\0".encode() for key, value in words.items())


def _send(stream: Stream, head: bytes, rest: bytes, data: bytes) -> None:
    """A message: head, length of data, and the header's rest, filled up to 48 bytes."""
    header = head + len(data).to_bytes(4, "big") + rest
    stream.sendall(header.ljust(48, b"\0") + data + bytes(-len(data) % 4))


def _receive(stream: Stream) -> tuple[int, bytes, bytes]:
    header = _exactly(stream, 48)
    length = int.from_bytes(header[5:8], "big")
    if length > _MOST_BYTES:
        raise HostError("the SAN's answer is too long")
    extra = header[4] * 4
    body = _exactly(stream, extra + length + (-length % 4))
    return header[0] & 0x3F, header, body[extra : extra + length]


def _exactly(stream: Stream, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = stream.recv(size - len(found))
        if not part:
            raise EOFError("it hung up")
        found += part
    return found
