"""A SAN asked for its targets, by a server that keeps to the protocol and by ones that do not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.errors import AccessError, HostError
from virtfleet.hypervisor.pool_discovery import send_targets


class Recorded:
    """A stream that says what it was given to say, and then hangs up."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.sent = b""

    def settimeout(self, timeout: float | None, /) -> None:
        pass

    def sendall(self, data: bytes, /) -> object:
        self.sent += data
        return None

    def recv(self, size: int, /) -> bytes:
        part, self._answer = self._answer[:size], self._answer[size:]
        return part

    def close(self) -> None:
        pass


def message(opcode: int, flags: int, data: bytes = b"", status: bytes = b"\0\0", transfer: int = 0) -> bytes:
    head = bytes([opcode, flags, 0, 0]) + len(data).to_bytes(4, "big")
    rest = bytes(12) + struct.pack(">II", transfer, 7) + bytes(8) + status
    return (head + rest).ljust(48, b"\0") + data + bytes(-len(data) % 4)


LOGIN = message(0x23, 0x87)


def test_targets_in_two_parts_and_a_portal_that_is_not_one() -> None:
    answer = (
        LOGIN
        + message(0x24, 0, b"TargetName=iqn.2026-01.a:x\0TargetAddress=10.0.0.1:3260,1\0", transfer=9)
        + message(0x24, 0x80, b"TargetName=iqn.2026-01.a:y\0TargetName=iqn.2026-01.a:x\0")
    )
    stream = Recorded(answer)
    assert send_targets(stream, "iqn.2026-01.me:hv") == ["iqn.2026-01.a:x", "iqn.2026-01.a:y"]
    assert b"InitiatorName=iqn.2026-01.me:hv\0SessionType=Discovery\0" in stream.sent
    assert stream.sent.count(b"SendTargets=All\0") == 1


def test_a_password_that_is_wanted_and_other_refusals() -> None:
    with pytest.raises(AccessError, match="wants a password"):
        send_targets(Recorded(message(0x23, 0, status=b"\x02\x01")), "iqn.2026-01.me:hv")
    with pytest.raises(HostError, match="status 0301"):
        send_targets(Recorded(message(0x23, 0x87, status=b"\x03\x01")), "iqn.2026-01.me:hv")
    with pytest.raises(HostError, match="kind 0x3f"):
        send_targets(Recorded(LOGIN + message(0x3F, 0x80)), "iqn.2026-01.me:hv")
    with pytest.raises(HostError, match="has no end"):
        send_targets(Recorded(LOGIN + message(0x24, 0) * 100), "iqn.2026-01.me:hv")
    with pytest.raises(HostError, match="too long"):
        send_targets(Recorded(b"\x23\x87\0\0\0\xff\xff\xff".ljust(48, b"\0")), "iqn.2026-01.me:hv")


@given(st.binary(max_size=300))
def test_nonsense_ends_in_an_error_of_ours(answer: bytes) -> None:
    for text in (answer, LOGIN + answer):
        try:
            found = send_targets(Recorded(text), "iqn.2026-01.me:hv")
        except (HostError, EOFError):
            continue
        assert all(isinstance(each, str) for each in found)
