"""The user's own keys: in ssh-agent and in files.

A file's public half is read without its passphrase, so that the server can be
asked whether the key is of use before a person is. Files are in OpenSSH's own
format, the old ones of RSA and EC, or PKCS#8.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import os
import socket
import stat
import struct
from collections.abc import Iterable
from typing import Any, cast

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from paramiko.agent import AgentSSH
from paramiko.pkey import PublicBlob

from virtfleet.hypervisor.ssh import certificates
from virtfleet.hypervisor.ssh.hostkeys import ALGORITHMS, fingerprint, key_type

_MAGIC = b"openssh-key-v1\0"
_MAX_FILE = 1 << 18
LIST_TIMEOUT = 5.0
SIGN_TIMEOUT = 60.0
"""An agent may ask its own user to confirm."""


class UnusableKeyError(Exception):
    """The file can't be used, and why; its text is for a person."""


class WrongPassphraseError(Exception):
    pass


class PublicKey(paramiko.PKey):
    """A public key of any type, good for asking whether a server would take it."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    def get_name(self) -> str:
        return key_type(self._blob)

    def asbytes(self) -> bytes:
        return self._blob

    @property
    def _fields(self) -> tuple[str, bytes]:
        return self.get_name(), self._blob


class KeyFile:
    """An identity file. Raises UnusableKeyError (FileNotFoundError if there is none)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.encrypted = False
        self._pkcs8 = False
        """Whether it is an encrypted file of that format, which paramiko does not read."""
        self.public: bytes | None = None
        """In wire format; None: only the passphrase can tell."""
        self.secret = True
        """False: the file holds the public half only; an agent must have the other."""
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                self._text = stream.read(_MAX_FILE)
                mode = os.fstat(stream.fileno()).st_mode
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnusableKeyError(f"can't be read: {(error.strerror or str(error)).lower()}") from error
        self._inspect()
        if self.secret and stat.S_IMODE(mode) & 0o077:
            raise UnusableKeyError("its permissions let others read it (chmod 600)")

    def __repr__(self) -> str:
        return f"KeyFile({self.path!r})"

    def load(self, passphrase: str | None = None) -> paramiko.PKey:
        """The private key. Raises WrongPassphraseError, UnusableKeyError."""
        text, public = self._text, self.public
        if self._pkcs8:
            text, passphrase = _unlocked(text, passphrase or ""), None
            public, _ = _inside(text)
        kind = _class(text, public)
        try:
            return kind.from_private_key(io.StringIO(text), password=passphrase)
        except Exception as error:  # paramiko lets through whatever its parsers raise, AssertionError too
            if self.encrypted:
                raise WrongPassphraseError from None
            raise UnusableKeyError(f"not a usable private key ({type(error).__name__})") from None

    def _inspect(self) -> None:
        text = self._text
        if "-----BEGIN OPENSSH PRIVATE KEY-----" in text:
            self.public, cipher = _inside(text)
            self.encrypted = cipher != b"none"
        elif "-----BEGIN RSA PRIVATE KEY-----" in text or "-----BEGIN EC PRIVATE KEY-----" in text:
            self.encrypted = "Proc-Type: 4,ENCRYPTED" in text
            self.public = self._public_beside()
        elif "-----BEGIN PRIVATE KEY-----" in text:
            self._text = _unlocked(text, None)
            self.public, _ = _inside(self._text)
        elif "-----BEGIN ENCRYPTED PRIVATE KEY-----" in text:
            self.encrypted = self._pkcs8 = True
            self.public = self._public_beside()
        elif (public := _public_line(text)) is not None:
            self.public, self.secret = public, False
        else:
            raise UnusableKeyError(
                "not a private key in OpenSSH's or PKCS#8 format, or the old one of RSA or EC"
            )

    def _public_beside(self) -> bytes | None:
        with (
            contextlib.suppress(OSError),
            open(f"{self.path}.pub", encoding="ascii", errors="replace") as stream,
        ):
            return _public_line(stream.read(_MAX_FILE))
        return None


def _inside(text: str) -> tuple[bytes, bytes]:
    """Public key and cipher of a file in OpenSSH's format."""
    body = "".join(line for line in text.splitlines() if "-----" not in line)
    try:
        data = base64.b64decode(body)
        if not data.startswith(_MAGIC):
            raise ValueError
        cipher, rest = _string(data[len(_MAGIC) :])
        _, rest = _string(rest)  # key derivation
        _, rest = _string(rest)  # and its options
        public, _ = _string(rest[4:])
    except (binascii.Error, ValueError, struct.error):
        raise UnusableKeyError("the file is damaged") from None
    return public, cipher


def _unlocked(text: str, passphrase: str | None) -> str:
    """A PKCS#8 key in OpenSSH's format, which paramiko reads; without a passphrase, but in memory alone."""
    try:
        key: Any = serialization.load_pem_private_key(
            text.encode(), None if passphrase is None else passphrase.encode()
        )
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
        return str(key.private_bytes(encoding, form, serialization.NoEncryption()), "ascii")
    except Exception as error:  # as many kinds as there are things that can be wrong with it
        if passphrase is not None and not isinstance(error, UnsupportedAlgorithm):
            raise WrongPassphraseError from None
        raise UnusableKeyError(f"not a usable private key ({type(error).__name__})") from None


def _class(text: str, public: bytes | None) -> type[paramiko.PKey]:
    name = key_type(public) if public is not None else ""
    if name == "ssh-rsa" or "BEGIN RSA" in text:
        return paramiko.RSAKey
    if name.startswith("ecdsa-") or "BEGIN EC " in text:
        return paramiko.ECDSAKey
    if name == "ssh-ed25519":
        return paramiko.Ed25519Key
    if name.startswith("sk-"):
        raise UnusableKeyError("a key on a security device (FIDO) works through ssh-agent only: ssh-add it")
    known = ", ".join(ALGORITHMS)
    raise UnusableKeyError(f"keys of type {name} work through ssh-agent only (in files: {known})")


def certificates_of(key: bytes, paths: Iterable[str]) -> list[PublicBlob]:
    """The certificates for this public key among the files; those that can't be read are passed over."""
    found: list[PublicBlob] = []
    for path in paths:
        with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as stream:
            blob = _public_line(stream.read(_MAX_FILE))
            if blob is not None and certificates.of_key(blob, key):
                found.append(PublicBlob(key_type(blob), blob))
    return found


class Agent(AgentSSH):
    """ssh-agent at `path`. No agent there, or a mute one: no keys."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.problem = ""
        """Why there are no keys, if an agent should be there."""
        self._link = socket.socket(socket.AF_UNIX)
        if not path:
            return
        try:
            self._link.settimeout(LIST_TIMEOUT)
            self._link.connect(path)
            cast(Any, self)._connect(self._link)
            self._link.settimeout(SIGN_TIMEOUT)
        except (OSError, paramiko.SSHException, struct.error) as error:
            self.problem = f"ssh-agent at {path} does not answer ({type(error).__name__})"

    def close(self) -> None:
        self._link.close()


def describe(blob: bytes) -> str:
    return f"{key_type(blob)} {fingerprint(blob)}"


def _string(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from(">I", data)
    if len(data) < 4 + length:
        raise ValueError
    return data[4 : 4 + length], data[4 + length :]


def _public_line(text: str) -> bytes | None:
    fields = text.split(None, 2)
    if len(fields) < 2:
        return None
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    return blob if key_type(blob) == fields[0] else None
