"""How one host of the fleet reaches another, for a move that the two make between themselves. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from virtfleet.config.settings import HostSettings

_SSH = ("ssh", "libssh", "libssh2")
_NETWORKED = (*_SSH, "tls", "tcp")
_KEPT = ("socket", "mode", "proxy", "netcat")
"""Parameters that speak of the far end; keys and known hosts are ours, not the other host's."""


class Peer(NamedTuple):
    control: str
    """libvirt's URI of the destination, as the source opens it."""
    data: str
    """Where the source's hypervisor sends memory."""


def peer(settings: HostSettings) -> Peer | None:
    """A destination as other hosts see it; None: nothing says under which address."""
    parts = urlsplit(settings.uri)
    driver, _, transport = parts.scheme.partition("+")
    transport = transport or ("tls" if parts.hostname else "")
    address = settings.migration_address or parts.hostname or ""
    if not address:
        return None
    shown = f"[{address}]" if ":" in address and not address.startswith("[") else address
    data = f"tcp://{shown}"
    if transport in ("tls", "tcp"):
        port = f":{parts.port}" if parts.port else ""
        return Peer(f"{driver}+{transport}://{shown}{port}{parts.path}", data)
    over_ssh = transport in _SSH
    user = (parts.username or settings.ssh.user) if over_ssh else settings.ssh.user
    number = (parts.port or settings.ssh.port) if over_ssh else settings.ssh.port
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key in _KEPT]
    # Nobody is there to be asked.
    query = urlencode([*kept, ("no_tty", "1")], quote_via=quote)
    who, port = f"{quote(user, safe='')}@" if user else "", f":{number}" if number else ""
    return Peer(f"{driver}+ssh://{who}{shown}{port}{parts.path or '/'}?{query}", data)
