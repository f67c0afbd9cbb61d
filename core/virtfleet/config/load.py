"""The fleet file, or a folder of such files, into `FleetSettings`; or a fleet of one host from a URI."""

from __future__ import annotations

import os
import re
import socket
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from virtfleet.config import uri as uris
from virtfleet.config.extra_specs import ExtraSpecError
from virtfleet.config.extra_specs import parse as parse_specs
from virtfleet.config.folders import config_dir
from virtfleet.config.settings import (
    Flavor,
    FleetSettings,
    GroupSettings,
    HostDefaults,
    HostSettings,
    Image,
    JobLimits,
    PciAlias,
    Project,
    Scheduler,
    Store,
    UiSettings,
    VolumeType,
    Zone,
    with_names,
)
from virtfleet.config.shape import shape, unknown_key, wrong
from virtfleet.config.yamltree import Node, parse, shown
from virtfleet.errors import ConfigError

MAX_BYTES = 10 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")
_NAME_WORDS = "letters, digits, dot, dash and underscore, at most 63, the first no dot or dash"
_MAPS: dict[str, type] = {
    "hosts": HostSettings,
    "flavors": Flavor,
    "images": Image,
    "volume_types": VolumeType,
    "projects": Project,
    "groups": GroupSettings,
    "zones": Zone,
    "pci_aliases": PciAlias,
}
_STRUCTS: dict[str, type] = {
    "ui": UiSettings,
    "store": Store,
    "limits": JobLimits,
    "scheduler": Scheduler,
}
_OF_ZONE = ("allocation_ratio", "reserved")
_SINGLE = ("name", *_STRUCTS)
_KEYS = ("defaults", *_SINGLE, *_MAPS)


def find(explicit: str | None = None) -> Path | None:
    """The fleet file to use: `explicit` (--fleet), else $VIRTFLEET_FLEET, else the user's own if it exists.

    None: there is none. What is named explicitly is not checked for existence here: `load` says it better.
    """
    named = explicit or os.environ.get("VIRTFLEET_FLEET")
    if named:
        return Path(named).expanduser()
    own = config_dir() / "fleet.yaml"
    return own if own.exists() else None


def from_uri(uri: str) -> FleetSettings:
    """A fleet of the one host behind `uri` (--connect). ConfigError: it is not a libvirt URI."""
    try:
        parts = uris.check(uri)
    except ValueError as error:
        raise ConfigError(f"{shown(uris.shown(uri))}: {error}", where="--connect") from None
    driver = parts.scheme.partition("+")[0]
    name = parts.hostname or ("test" if driver == "test" else socket.gethostname())
    name = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".-")[:63] or driver
    return FleetSettings(name=name, hosts=with_names({name: HostSettings(uri=uri)}))


def load(path: Path | str) -> FleetSettings:
    """Read the fleet file or folder. ConfigError: the first mistake, with file and line."""
    path = Path(path)
    if path.is_dir():
        try:
            files = sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml"))
        except OSError as error:
            raise ConfigError(f"the folder can't be read: {error.strerror}", where=str(path)) from None
        if not files:
            raise ConfigError("no *.yaml or *.yml in this folder", where=str(path))
    else:
        files = [path]
    parts = [part for part in map(_read, files) if part is not None]
    if not parts:
        raise ConfigError(
            "there is nothing in it; a fleet file starts like this: hosts: {hv1: {uri: qemu+ssh://hv1/system}}",
            where=str(path),
        )
    if not any("hosts" in part.keys for part in parts):
        raise ConfigError(
            'the key "hosts" is missing; write hosts: {} for a fleet without hosts', where=str(path)
        )
    return _assemble(path, parts)


@dataclass(frozen=True, slots=True)
class _Part:
    """One file: its sections, and the defaults of its hosts."""

    file: Path
    keys: dict[str, Node]
    defaults: Node | None = None

    @property
    def base(self) -> Path:
        return self.file.absolute().parent


def _text(path: Path) -> str:
    """The file's text. A FIFO or a device is refused: it would make us wait, or never end."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError("not a regular file", where=str(path))
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the fleet file can't be read: {error.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"larger than {MAX_BYTES // 1024 // 1024} MiB; a folder of files may hold more", where=str(path)
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", where=f"{path}:{line}") from None


def _read(path: Path) -> _Part | None:
    root = parse(_text(path), str(path))
    if root is None:
        return None
    if not isinstance(root.value, dict):
        raise ConfigError(
            f"found {root.found}; accepted: a mapping with the keys {', '.join(sorted(_KEYS))}",
            where=root.where,
        )
    for key, node in root.value.items():
        if key not in _KEYS:
            raise unknown_key(node, key, "", _KEYS)
        if key in _MAPS and not isinstance(node.value, dict | None):
            raise wrong(node, key, "a mapping from names to their settings")
    keys = dict(root.value)
    defaults = keys.pop("defaults", None)
    part = _Part(path, keys, defaults if defaults is not None and defaults.value is not None else None)
    if part.defaults is not None:
        shape(part.defaults, HostDefaults, "defaults", part.base, partial=True)
    return part


def _inherit(parts: list[_Part]) -> None:
    """Gives each host what the `defaults` of its file and then its zone say and it does not."""
    zones: dict[str, Node] = {}
    for part in parts:
        section = part.keys.get("zones")
        for name, zone in (
            section.value.items() if section is not None and isinstance(section.value, dict) else ()
        ):
            if isinstance(zone.value, dict):
                given = {key: node for key, node in zone.value.items() if key in _OF_ZONE}
                zones[name] = replace(zone, value=given)
    for part in parts:
        hosts = part.keys.get("hosts")
        if hosts is None or not isinstance(hosts.value, dict):
            continue
        merged = {}
        for name, host in hosts.value.items():
            merged[name] = whole = _merged(part.defaults, host) if part.defaults is not None else host
            place = whole.value.get("zone") if isinstance(whole.value, dict) else None
            if place is not None and isinstance(place.value, str) and place.value in zones:
                zone = zones[place.value]
                under = _merged(part.defaults, zone) if part.defaults is not None else zone
                merged[name] = _merged(under, host)
        part.keys["hosts"] = replace(hosts, value=merged)


def _merged(under: Node, over: Node) -> Node:
    """`over` where it says something, `under` elsewhere; mappings are merged key by key."""
    if over.value is None and isinstance(under.value, dict):
        return replace(under, line=over.line)
    if not isinstance(under.value, dict) or not isinstance(over.value, dict):
        return over
    value = dict(under.value)
    for key, node in over.value.items():
        value[key] = _merged(value[key], node) if key in value else node
    return replace(over, value=value)


def _assemble(path: Path, parts: list[_Part]) -> FleetSettings:
    _inherit(parts)
    plain: dict[str, Any] = {"path": str(path), "name": path.stem}
    for key in _SINGLE:
        given = [part for part in parts if key in part.keys]
        if len(given) > 1:
            first, second = (part.keys[key] for part in given[:2])
            raise ConfigError(f'"{key}" is given in two files; first at {first.where}', where=second.where)
        for part in given:
            node = part.keys[key]
            if key in _STRUCTS:
                plain[key] = shape(node, _STRUCTS[key], key, part.base)
            elif isinstance(node.value, str) and node.value.isprintable():
                plain[key] = node.value
            else:
                raise wrong(node, key, "text")
    for key, kind in _MAPS.items():
        plain[key] = _section(key, kind, parts)
    for name, host in plain["hosts"].items():
        host["name"] = name
    _check_specs(parts, plain["flavors"], plain["pci_aliases"])
    return msgspec.convert(plain, FleetSettings)


def _section(key: str, kind: type, parts: list[_Part]) -> dict[str, Any]:
    """The entries of section `key` from all files; a name may be given once."""
    found: dict[str, Any] = {}
    places: dict[str, Node] = {}
    for part in parts:
        section = part.keys.get(key)
        if section is None or not isinstance(section.value, dict):
            continue
        for name, node in section.value.items():
            here = f"{key}.{name}"
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{key}: found the name {shown(name)}; accepted: {_NAME_WORDS}", where=node.where
                )
            if name in places:
                raise ConfigError(f"{here} is given twice; first at {places[name].where}", where=node.where)
            places[name] = node
            found[name] = shape(node, kind, here, part.base)
            if kind is HostSettings:
                _check_uri(node, here, found[name]["uri"])
    return found


def _check_specs(parts: list[_Part], flavors: dict[str, Any], aliases: dict[str, Any]) -> None:
    """The extra specs of every flavor; they may name devices that stand in another file."""
    for part in parts:
        section = part.keys.get("flavors")
        for name, node in section.value.items() if section and isinstance(section.value, dict) else ():
            given = node.value.get("extra_specs") if isinstance(node.value, dict) else None
            if given is None or not isinstance(given.value, dict):
                continue
            flavor = flavors[name]
            try:
                specs = parse_specs(flavor["extra_specs"], flavor["vcpus"], flavor["memory"])
                for request in specs.pci:
                    if request.alias not in aliases:
                        known = ", ".join(sorted(aliases)) or "none"
                        raise ExtraSpecError(
                            "pci_passthrough:alias",
                            f"{shown(request.alias)} is not in pci_aliases (there: {known})",
                        )
            except ExtraSpecError as error:
                where = given.value.get(error.key, given).where
                # The key is the file's own text; a message must fit on a line.
                key = error.key if error.key.isprintable() and len(error.key) <= 80 else shown(error.key)
                raise ConfigError(f"flavors.{name}.extra_specs.{key}: {error.problem}", where=where) from None


def _check_uri(host: Node, path: str, uri: str) -> None:
    try:
        uris.check(uri)
    except ValueError as error:
        assert isinstance(host.value, dict)  # noqa: S101 - `shape` has seen that it is
        place = host.value["uri"]
        raise ConfigError(f"{path}.uri: found {shown(uris.shown(uri))}: {error}", where=place.where) from None
