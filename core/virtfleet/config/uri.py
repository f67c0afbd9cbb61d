"""libvirt connection URIs: what is well formed, before any process tries to connect."""

from __future__ import annotations

import difflib
import re
from urllib.parse import SplitResult, urlsplit

DRIVERS = ("qemu", "lxc", "xen", "ch", "bhyve", "vz", "openvz", "vbox", "esx", "vpx", "gsx", "hyperv",
           "vmwareplayer", "vmwarews", "vmwarefusion", "test")  # fmt: skip
TRANSPORTS = ("ssh", "libssh", "libssh2", "tls", "tcp", "unix", "ext")
_NETWORKED = ("ssh", "libssh", "libssh2", "tls", "tcp")
_ALWAYS_REMOTE = ("esx", "vpx", "gsx", "hyperv")
_PASSWORD = re.compile(r"(//[^/:@]*):.*@")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def check(uri: str) -> SplitResult:
    """The parts of `uri`. ValueError says what is wrong with it and what is accepted."""
    if not uri or not uri.isprintable() or " " in uri:
        raise ValueError("a URI has no spaces or control characters, and is not empty")
    scheme, found, _ = uri.partition(":")
    if not found or not _SCHEME.fullmatch(scheme):
        raise ValueError("no scheme; accepted: a URI like qemu+ssh://HOST/system")
    driver, plus, transport = scheme.lower().partition("+")
    if driver not in DRIVERS:
        raise ValueError(
            f'unknown scheme "{driver}"{_meant(driver, DRIVERS)} (accepted: {", ".join(DRIVERS)})'
        )
    if plus and transport not in TRANSPORTS:
        hint = _meant(transport, TRANSPORTS)
        raise ValueError(f'unknown transport "{transport}"{hint} (accepted: {", ".join(TRANSPORTS)})')
    if not uri[len(scheme) + 1 :].startswith("/"):
        raise ValueError(f"nothing usable after the scheme; accepted: a URI like {scheme}://HOST/system")
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a valid URI: {error}") from None
    if parts.password is not None:
        raise ValueError("a password in the URI would be shown on screen; leave it out, it is asked for")
    if not host and (transport in _NETWORKED or driver in _ALWAYS_REMOTE):
        raise ValueError(f"no host; accepted: a URI like {scheme}://HOST{parts.path or '/'}")
    return parts


def shown(uri: str) -> str:
    """`uri` for a message: without a password that somebody wrote into it."""
    return _PASSWORD.sub(r"\1:…@", uri)


def _meant(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, 1, 0.6)
    return f'; did you mean "{close[0]}"?' if close else ""
