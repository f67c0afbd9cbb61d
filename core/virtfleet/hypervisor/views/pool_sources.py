"""Sources of storage pools as libvirt finds them, and what a pool's XML says of its login."""

from __future__ import annotations

import msgspec

from virtfleet.hypervisor.views import pool as pool_view
from virtfleet.hypervisor.views.reading import attribute, child, children, content
from virtfleet.hypervisor.views.safexml import parse

_MOST = 1000


class FoundSource(msgspec.Struct, frozen=True):
    hosts: tuple[str, ...] = ()
    path: str = ""
    name: str = ""
    devices: tuple[str, ...] = ()
    format: str = ""
    identity: str = ""
    """As a pool's; empty: its source does not tell hosts apart."""


def sources(kind: str, xml: str) -> list[FoundSource]:
    """Those of a <sources>. ValueError: it is none."""
    root = parse(xml)
    if root.tag != "sources":
        raise ValueError("libvirt's answer is no list of sources")
    found = []
    for source in list(children(root, "source"))[:_MOST]:
        hosts = []
        for host in children(source, "host"):
            name, port = attribute(host, "name"), attribute(host, "port")
            hosts.append(f"{name}:{port}" if port else name)
        found.append(
            FoundSource(
                hosts=tuple(hosts),
                path=attribute(child(source, "dir"), "path"),
                name=content(child(source, "name")),
                devices=tuple(attribute(each, "path") for each in children(source, "device")),
                format=attribute(child(source, "format"), "type"),
                identity=pool_view.identity_of_source(kind, source) or "",
            )
        )
    return found


def secret_of(xml: str) -> tuple[str, str]:
    """UUID of the secret that a pool logs in with, or how it is called else; empty both: it needs none."""
    secret = child(parse(xml), "source", "auth", "secret")
    return attribute(secret, "uuid"), attribute(secret, "usage")
