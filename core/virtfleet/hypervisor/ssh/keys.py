"""The user's own keys: in ssh-agent and in files.

A file's public half is read without its passphrase, so that the server can be
asked whether the key is of use before a person is.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import socket
import stat
import struct
from typing import Any, cast

import paramiko
from paramiko.agent import AgentSSH

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
        kind = self._class()
        try:
            with open(self.path, encoding="utf-8", errors="replace") as stream:
                key = kind.from_private_key(stream, password=passphrase)
        except Exception as error:  # paramiko lets through whatever its parsers raise, AssertionError too
            if self.encrypted:
                raise WrongPassphraseError from None
            raise UnusableKeyError(f"not a usable private key ({type(error).__name__})") from None
        certificate = f"{self.path}-cert.pub"
        if os.path.exists(certificate):
            with contextlib.suppress(Exception):  # a bad certificate leaves the plain key
                key.load_certificate(certificate)
        return key

    def _inspect(self) -> None:
        text = self._text
        if "-----BEGIN OPENSSH PRIVATE KEY-----" in text:
            self._inspect_openssh(text)
        elif "-----BEGIN RSA PRIVATE KEY-----" in text or "-----BEGIN EC PRIVATE KEY-----" in text:
            self.encrypted = "Proc-Type: 4,ENCRYPTED" in text
            with contextlib.suppress(OSError), open(f"{self.path}.pub", encoding="ascii") as stream:
                self.public = _public_line(stream.read(_MAX_FILE))
        elif (public := _public_line(text)) is not None:
            self.public, self.secret = public, False
        else:
            raise UnusableKeyError("not a private key in OpenSSH's, RSA's or EC's own format")

    def _inspect_openssh(self, text: str) -> None:
        body = "".join(line for line in text.splitlines() if "-----" not in line)
        try:
            data = base64.b64decode(body)
            if not data.startswith(_MAGIC):
                raise ValueError
            cipher, rest = _string(data[len(_MAGIC) :])
            _, rest = _string(rest)  # key derivation
            _, rest = _string(rest)  # and its options
            self.public, _ = _string(rest[4:])
        except (binascii.Error, ValueError, struct.error):
            raise UnusableKeyError("the file is damaged") from None
        self.encrypted = cipher != b"none"

    def _class(self) -> type[paramiko.PKey]:
        name = key_type(self.public) if self.public is not None else ""
        if name == "ssh-rsa" or "BEGIN RSA" in self._text:
            return paramiko.RSAKey
        if name.startswith("ecdsa-") or "BEGIN EC " in self._text:
            return paramiko.ECDSAKey
        if name == "ssh-ed25519":
            return paramiko.Ed25519Key
        known = ", ".join(ALGORITHMS)
        raise UnusableKeyError(f"keys of type {name} work through ssh-agent only (in files: {known})")


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
