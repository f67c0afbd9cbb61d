"""A secret as the fleet file names it: where it is, never what it is.

`env:NAME`, `file:PATH` or `prompt`. The value is read at the moment of use
and kept nowhere here, so that no settings, log or repr can leak it.
"""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from pathlib import Path

from virtfleet.errors import ConfigError

FORMS = "env:NAME, file:PATH (mode 0600) or prompt"


class SecretKind(StrEnum):
    ENV = "env"
    FILE = "file"
    PROMPT = "prompt"


class Secret:
    """Where a secret comes from. Two secrets are equal when they come from the same place."""

    __slots__ = ("_reference", "kind")

    def __init__(self, kind: SecretKind, reference: str = "") -> None:
        self.kind = kind
        self._reference = reference

    @classmethod
    def parse(cls, text: str, base: Path) -> Secret:
        """The secret that `text` names; a relative file belongs to the folder `base`.

        ValueError: it is none of the accepted forms (the text itself, perhaps
        a password, is not repeated), or its file is missing or can be read by others.
        """
        scheme, colon, rest = text.partition(":")
        if text == "prompt":
            return cls(SecretKind.PROMPT)
        if colon and rest and scheme == "env":
            return cls(SecretKind.ENV, rest)
        if colon and rest and scheme == "file":
            path = base / Path(rest).expanduser()
            os.close(open_private(path))
            return cls(SecretKind.FILE, str(path))
        raise ValueError(f"a secret in plain text is not accepted here (not shown); write {FORMS}")

    def read(self) -> str | None:
        """The value now, without its final line break; None: a person must be asked.

        ConfigError: the variable is not set, or the file is missing or not private.
        """
        if self.kind is SecretKind.PROMPT:
            return None
        if self.kind is SecretKind.ENV:
            value = os.environ.get(self._reference)
            if value is None:
                raise ConfigError(f"the environment variable {self._reference} is not set")
            return value
        try:
            with os.fdopen(open_private(Path(self._reference)), encoding="utf-8") as file:
                return file.read().rstrip("\r\n")
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.kind, self._reference) == (other.kind, other._reference)

    def __hash__(self) -> int:
        return hash((self.kind, self._reference))

    def __repr__(self) -> str:
        return f"Secret({self.kind})"


def open_private(path: Path) -> int:
    """A descriptor to read `path`, checked on the open file: a regular file of ours (or root's) that
    nobody else can read. ValueError says what is wrong and what to do."""
    try:
        # A FIFO must not make us wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"the file {path} can't be read: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if status.st_uid not in (os.geteuid(), 0):
            raise ValueError(f"the secret file {path} belongs to another user (uid {status.st_uid})")
        if mode & 0o077:
            raise ValueError(
                f"the secret file {path} can be read by others (mode {mode:04o}); chmod 600 {path}"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd
