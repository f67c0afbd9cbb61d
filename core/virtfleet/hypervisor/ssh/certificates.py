"""OpenSSH certificates: keys that an authority vouches for, of hosts and of users.

The format is that of OpenSSH's PROTOCOL.certkeys. paramiko carries them but
never looks inside; whether a host's is to be believed is decided here.
"""

from __future__ import annotations

import fnmatch
import struct
from typing import Any

import msgspec
import paramiko

from virtfleet.model.text import clean

SUFFIX = "-cert-v01@openssh.com"
_HOST = 2
_FIELDS = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
}
"""How many fields make the public key of a type."""
_CLASSES: dict[str, Any] = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ssh-rsa": paramiko.RSAKey,
    **{name: paramiko.ECDSAKey for name in _FIELDS if name.startswith("ecdsa-")},
}
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-256", "rsa-sha2-512")}
"""What an authority may sign with, where it is not the name of its key's type: no SHA-1."""
_MOST_NAMES = 1000


class Certificate(msgspec.Struct, frozen=True):
    """What a certificate says, not yet believed."""

    key: bytes
    """The key it is for, plain, in wire format."""
    is_host: bool
    key_id: str
    principals: tuple[str, ...]
    """Names it is for; none: any."""
    valid_after: int
    valid_before: int
    """Unix times; from the first until before the second."""
    critical: tuple[str, ...]
    """Names of the conditions that must be understood to accept it."""
    authority: bytes
    """The public key of whoever signed it, in wire format."""
    signed: bytes
    signature: bytes


def parse(blob: bytes) -> Certificate:
    """Raises ValueError: not a certificate of a known type."""
    reader = _Reader(blob)
    name = reader.string().decode("ascii", "replace")
    plain = name.removesuffix(SUFFIX)
    if plain == name or plain not in _FIELDS:
        raise ValueError(f"not a certificate of a known type: {clean(name, 60)}")
    reader.string()  # a nonce
    fields = [plain.encode(), *(reader.string() for _ in range(_FIELDS[plain]))]
    reader.number(">Q")  # a serial number
    kind = reader.number(">I")
    key_id = clean(reader.string().decode("utf-8", "replace"), 200)
    principals = _strings(reader.string())
    after, before = reader.number(">Q"), reader.number(">Q")
    critical = _strings(reader.string())[::2]
    reader.string()  # extensions, of users only
    reader.string()  # reserved
    authority = reader.string()
    signed = blob[: reader.at]
    signature = reader.string()
    if reader.at != len(blob):
        raise ValueError("a certificate with something behind it")
    return Certificate(
        key=b"".join(struct.pack(">I", len(field)) + field for field in fields),
        is_host=kind == _HOST,
        key_id=key_id,
        principals=principals,
        valid_after=after,
        valid_before=before,
        critical=critical,
        authority=authority,
        signed=signed,
        signature=signature,
    )


def problem(certificate: Certificate, host: str, now: float) -> str:
    """Why it does not prove that its key is that of `host`, if its authority is trusted; empty: it does."""
    if not certificate.is_host:
        return "it is a user's"
    if not certificate.valid_after <= now < certificate.valid_before:
        return "it is not valid now"
    if certificate.critical:
        return "it has conditions that are not known here"
    names = certificate.principals
    if names and not any(fnmatch.fnmatchcase(host, name.lower().replace("[", "[[]")) for name in names):
        return f"it is for {clean(', '.join(names), 100)}"
    return "" if _is_signed(certificate) else "its signature is wrong"


def of_key(blob: bytes, key: bytes) -> bool:
    """Whether `blob` is a certificate for this plain public key."""
    try:
        return parse(blob).key == key
    except ValueError:
        return False


def _is_signed(certificate: Certificate) -> bool:
    try:
        name = _Reader(certificate.authority).string().decode("ascii", "replace")
        algorithm = _Reader(certificate.signature).string().decode("ascii", "replace")
        kind = _CLASSES[name]  # an authority's key is never a certificate itself
        if algorithm not in _SIGNATURES.get(name, (name,)):
            return False
        key = kind(data=certificate.authority)
        return bool(key.verify_ssh_sig(certificate.signed, paramiko.Message(certificate.signature)))
    except Exception:  # a stranger's key: whatever paramiko and its libraries make of it
        return False


def _strings(data: bytes) -> tuple[str, ...]:
    reader = _Reader(data)
    found: list[str] = []
    while reader.at < len(data):
        if len(found) >= _MOST_NAMES:
            raise ValueError("too many names in a certificate")
        found.append(reader.string().decode("utf-8", "replace"))
    return tuple(found)


class _Reader:
    """Strict, as paramiko's is not, which makes up what is missing. Raises ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def number(self, form: str) -> int:
        try:
            (value,) = struct.unpack_from(form, self._data, self.at)
        except struct.error:
            raise ValueError("a certificate that ends too soon") from None
        self.at += struct.calcsize(form)
        return int(value)

    def string(self) -> bytes:
        length = self.number(">I")
        if self.at + length > len(self._data):
            raise ValueError("a certificate that ends too soon")
        self.at += length
        return self._data[self.at - length : self.at]
