"""Whose key is this? known_hosts, read strictly.

paramiko's own reader forgets which line an entry came from, and takes a
revoked key or a certificate authority for an ordinary host key. This one
keeps to OpenSSH's rules: several files, hashed names, patterns, [host]:port,
@revoked, @cert-authority. Where a certificate proves nothing, the plain key is
checked like any other.

A changed key is refused and never asked about. So is a server that has lost
the key types it is known by: who sits in the middle would offer another type
to turn the alarm into a mere question.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import fnmatch
import hashlib
import hmac
import os
import stat
import time
from collections.abc import Iterable
from enum import Enum

import msgspec

from virtfleet.errors import AccessError
from virtfleet.hypervisor.ssh import certificates
from virtfleet.hypervisor.ssh.asking import Asker
from virtfleet.hypervisor.ssh.target import SshTarget
from virtfleet.model.prompt import PromptKind

ALGORITHMS: dict[str, tuple[str, ...]] = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
"""Key types that can be negotiated, best first, and the signature algorithms of each."""

_MAX_FILE = 16 << 20


class Entry(msgspec.Struct, frozen=True):
    """One line of a known_hosts file."""

    file: str
    line: int
    marker: str
    """"", @revoked or @cert-authority."""
    names: tuple[str, ...]
    key_type: str
    key: bytes

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


class Trust(Enum):
    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


class Verdict(msgspec.Struct, frozen=True):
    trust: Trust
    entry: Entry | None = None
    """The line that decided."""


def fingerprint(key: bytes) -> str:
    """SHA256:..., as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def key_type(key: bytes) -> str:
    """The type that a public key in wire format bears."""
    length = int.from_bytes(key[:4], "big")
    return key[4 : 4 + length].decode("ascii", "replace")


def parse(file: str, text: str) -> list[Entry]:
    """Entries of a known_hosts file; lines that can't be read are passed over, as OpenSSH does."""
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) < 3:
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        if key_type(key) == fields[1]:
            entries.append(Entry(file, number, marker, tuple(fields[0].split(",")), fields[1], key))
    return entries


def read(files: Iterable[str]) -> list[Entry]:
    """Entries of all `files` that can be read, in order."""
    entries: list[Entry] = []
    for file in files:
        with contextlib.suppress(OSError), open(file, encoding="utf-8", errors="replace") as stream:
            entries += parse(file, stream.read(_MAX_FILE))
    return entries


def name_of(target: SshTarget) -> str:
    """The name under which a target's key is kept: host, [host]:port or its alias."""
    if target.alias:
        return target.alias.lower()
    host = target.host.lower()
    return host if target.port == 22 else f"[{host}]:{target.port}"


def matches(entry: Entry, name: str) -> bool:
    """Whether the entry's names (hashed, patterns, negated ones) cover `name`."""
    found = False
    for pattern in entry.names:
        if pattern.startswith("|1|"):
            found = found or _hashed_is(pattern, name)
            continue
        negated = pattern.startswith("!")
        # Brackets are part of [host]:port here, not a set of characters.
        escaped = pattern.lstrip("!").lower().replace("[", "[[]")
        if fnmatch.fnmatchcase(name, escaped):
            if negated:
                return False
            found = True
    return found


def judge(entries: Iterable[Entry], target: SshTarget, key: bytes) -> Verdict:
    """What the entries say of `key` offered by `target`. Pure."""
    name = name_of(target)
    bare = target.host.lower()
    same_host = [entry for entry in entries if matches(entry, name)]
    for entry in same_host:
        if entry.marker == "@revoked" and entry.key == key:
            return Verdict(Trust.REVOKED, entry)
    plain = [entry for entry in same_host if not entry.marker]
    for entry in plain:
        if entry.key == key:
            return Verdict(Trust.KNOWN, entry)
    if not target.alias and name != bare:
        # An entry without the port vouches for the same key, but its other keys accuse nobody.
        for entry in entries:
            if entry.key == key and not entry.marker and matches(entry, bare):
                return Verdict(Trust.KNOWN, entry)
    accusing = [entry for entry in plain if entry.key_type == key_type(key)]
    accusing += [entry for entry in plain if entry.key_type in ALGORITHMS]
    return Verdict(Trust.CHANGED, accusing[0]) if accusing else Verdict(Trust.UNKNOWN)


def judge_certificate(
    entries: Iterable[Entry], target: SshTarget, key: bytes, blob: bytes, now: float
) -> tuple[Verdict, str]:
    """What the authorities among the entries say of a certificate for `key`, and why not, if it is of no use.

    `now` is Unix time. UNKNOWN: none of them signed it, or it does not fit; the plain key may still do. Pure.
    """
    entries = list(entries)
    try:
        certificate = certificates.parse(blob)
    except ValueError as error:
        return Verdict(Trust.UNKNOWN), str(error)
    if certificate.key != key:
        return Verdict(Trust.UNKNOWN), "it is for another key"
    names = _names(target)
    of_host = [entry for entry in entries if any(matches(entry, name) for name in names)]
    for entry in of_host:
        if entry.marker == "@revoked" and entry.key in (key, certificate.authority):
            return Verdict(Trust.REVOKED, entry), ""
    for entry in of_host:
        if entry.marker == "@cert-authority" and entry.key == certificate.authority:
            why = certificates.problem(certificate, (target.alias or target.host).lower(), now)
            return (Verdict(Trust.UNKNOWN, entry), why) if why else (Verdict(Trust.KNOWN, entry), "")
    return Verdict(Trust.UNKNOWN), "its authority is not one of known_hosts"


def preferred_algorithms(entries: Iterable[Entry], target: SshTarget) -> tuple[str, ...]:
    """Host key algorithms to offer: certificates where an authority is known, then those of known keys.

    So a known host proves a known key.
    """
    entries = list(entries)
    names = _names(target)
    known = {e.key_type for e in entries if not e.marker and any(matches(e, name) for name in names)}
    types = sorted(ALGORITHMS, key=lambda each: each not in known)
    plain = tuple(algorithm for each in types for algorithm in ALGORITHMS[each])
    if not _has_authority(entries, target):
        return plain
    return (*(algorithm + certificates.SUFFIX for algorithm in plain), *plain)


def _has_authority(entries: Iterable[Entry], target: SshTarget) -> bool:
    names = _names(target)
    return any(e.marker == "@cert-authority" and any(matches(e, name) for name in names) for e in entries)


def _names(target: SshTarget) -> set[str]:
    """Names under which entries speak of it; one without the port speaks of all ports."""
    return {name_of(target)} | (set() if target.alias else {target.host.lower()})


def check(target: SshTarget, key: bytes, ask: Asker, certificate: bytes | None = None) -> None:
    """Returns when `key` is the target's; asks about an unknown one and remembers it.

    `certificate`: what the host showed with its key. Raises AccessError: changed, revoked, declined, or
    unknown where nobody may be asked.
    """
    entries = read((*target.known_hosts, *target.global_known_hosts))
    verdict, doubt = Verdict(Trust.UNKNOWN), ""
    if certificate is not None:
        verdict, doubt = judge_certificate(entries, target, key, certificate, time.time())
    if verdict.trust is Trust.UNKNOWN:
        verdict = judge(entries, target, key)
    offered = f"{key_type(key)} {fingerprint(key)}"
    if verdict.trust is Trust.KNOWN:
        return
    where = verdict.entry.where if verdict.entry is not None else ""
    if verdict.trust is Trust.REVOKED:
        raise AccessError(
            f"HOST KEY REVOKED: {target.label} offers {offered}, revoked by {where}",
            cure="somebody may be impersonating this host; give it a new key before you connect",
        )
    if verdict.trust is Trust.CHANGED and verdict.entry is not None:
        known = f"{verdict.entry.key_type} {fingerprint(verdict.entry.key)}"
        raise AccessError(
            f"HOST KEY CHANGED: {target.label} offers {offered}, but {where} knows it by {known}",
            cure="somebody may be listening in. If the host was reinstalled, compare the new fingerprint on "
            f"its own console, then remove the old key: ssh-keygen -R '{name_of(target)}' "
            f"-f '{verdict.entry.file}'",
        )
    hint = f" It came with a certificate, but {doubt}." if doubt else ""
    if certificate is None and _has_authority(entries, target):
        hint = " It came without a certificate, though known_hosts names an authority for it."
    _ask(target, key, offered, ask, hint)


def remember(target: SshTarget, key: bytes) -> str:
    """Append the key to the first known_hosts file, unless it stands there by now; the file's path.

    A folder is made 0700, a file 0600; names are hashed where the file's others
    are. Nothing is written to what is no ordinary file: "" then. Raises OSError.
    """
    if not target.known_hosts:
        return ""
    file = target.known_hosts[0]
    os.makedirs(os.path.dirname(file) or ".", mode=0o700, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return ""
        fcntl.flock(stream, fcntl.LOCK_EX)  # freed when the file is closed
        content = stream.read(_MAX_FILE)
        entries = parse(file, content.decode("utf-8", "replace"))
        if judge(entries, target, key).trust is Trust.KNOWN:
            return file
        name = name_of(target)
        if target.hash_known_hosts or (entries and entries[-1].names[0].startswith("|1|")):
            name = hashed(name)
        start = "" if not content or content.endswith(b"\n") else "\n"
        stream.write(f"{start}{name} {key_type(key)} {base64.b64encode(key).decode()}\n".encode())
    return file


def hashed(name: str, salt: bytes | None = None) -> str:
    """`name` as OpenSSH's HashKnownHosts writes it."""
    salt = os.urandom(20) if salt is None else salt
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _hashed_is(pattern: str, name: str) -> bool:
    try:
        _, _, salt, _ = pattern.split("|")
        return hmac.compare_digest(hashed(name, base64.b64decode(salt)), pattern)
    except (ValueError, TypeError):
        return False


def _ask(target: SshTarget, key: bytes, offered: str, ask: Asker, hint: str) -> None:
    label = target.label
    if not target.ask_unknown:
        raise AccessError(
            f"the host key of {label} is not known: {offered}",
            cure="ssh_config says StrictHostKeyChecking yes: add the key to known_hosts yourself",
        )
    file = target.known_hosts[0] if target.known_hosts else "(no known_hosts file)"
    answer = ask(
        PromptKind.HOST_KEY,
        f"The host key of {label} is not known: {offered}.{hint} Once trusted it is noted in {file}.",
        secret=False,
        identity=fingerprint(key),
    )
    if answer is None or answer.strip().lower() != "yes":
        raise AccessError(
            f"the host key of {label} is not known and was not accepted: {offered}",
            cure="compare the fingerprint on the host's own console, then connect again and accept it",
        )
    with contextlib.suppress(OSError):  # a read-only home: it is asked again next time
        remember(target, key)
