"""A question that only a person can answer, on its way from a worker to whichever face is there."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class PromptKind(StrEnum):
    HOST_KEY = "host-key"
    """Unknown host key: the answer is "yes" (remember it) or nothing."""
    PASSPHRASE = "passphrase"  # noqa: S105 - a kind, not a secret
    PASSWORD = "password"  # noqa: S105
    INTERACTIVE = "interactive"
    """One question of SSH's keyboard-interactive, or of libvirt's auth callback."""


class Prompt(msgspec.Struct, frozen=True, gc=False):
    id: int
    host: str
    """Name of the host in the fleet file."""
    kind: PromptKind
    text: str
    """The question, cleaned; it names user and address."""
    secret: bool = True
    """Whether the answer must not be shown while it is typed."""
    identity: str = ""
    """What the answer belongs to (a key file, `user@address`, a host key's fingerprint): one answer serves
    every host and respawn that asks with the same identity. Empty: never remembered."""
    retry: bool = False
    """The remembered answer was tried and was wrong: ask again."""
