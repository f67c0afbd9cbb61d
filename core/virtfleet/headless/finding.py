"""From what a person calls an object (NAME, NAME@HOST, UUID, POOL/VOLUME) to its row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from virtfleet.errors import AmbiguousError, NotFoundError, VirtfleetError
from virtfleet.query.nouns import Noun
from virtfleet.query.rows import HostRow, NetworkRow, PoolRow, VmRow, VolumeRow


class Wanted(NamedTuple):
    text: str
    name: str
    host: str
    """Empty: any."""


def wanted(text: str, hosts: Collection[str]) -> Wanted:
    """`text` taken apart. Only a host of the fleet after the last @ is one: names may contain an @."""
    name, at, host = text.rpartition("@")
    return Wanted(text, name, host) if at and name and host in hosts else Wanted(text, text, "")


def hosts_to_ask(noun: Noun[Any], names: Iterable[Wanted], hosts: Collection[str]) -> Collection[str] | None:
    """The hosts that the objects can be on, so that no other is connected to; None: all."""
    asked = {each.name if noun.name == "host" else each.host for each in names}
    if "" in asked:
        return None
    return asked & set(hosts)


def hosts_of(row: Any) -> tuple[str, ...]:
    if isinstance(row, PoolRow):
        return tuple(host.name for host, _ in row.members)
    return (row.host.name,)


def _uuids(row: Any) -> tuple[str, ...]:
    match row:
        case VmRow(_, vm):
            return (vm.uuid,)
        case NetworkRow(_, network):
            return (network.uuid,)
        case PoolRow(_, members):
            return tuple(pool.uuid for _, pool in members)
    return ()


def _names(row: Any) -> tuple[str, ...]:
    match row:
        case PoolRow(_, members):
            return tuple({pool.name for _, pool in members})
        case VolumeRow(_, volume):
            return (volume.name, f"{volume.pool}/{volume.name}", volume.path)
        case HostRow(host):
            return (host.name,)
        case VmRow(_, vm):
            return (vm.name,)
    return (row.network.name,)


def label(row: Any) -> str:
    """How to name this one and no other."""
    where = hosts_of(row)[0]
    match row:
        case HostRow(host):
            return host.name
        case VolumeRow(_, volume):
            return f"{volume.pool}/{volume.name}@{where}"
    return f"{_names(row)[0]}@{where}"


def find(noun: Noun[Any], rows: Sequence[Any], want: Wanted) -> Any:
    """The one row that is meant. NotFoundError with what is near, AmbiguousError with the candidates."""
    uuid = want.name.lower()
    found = [
        row
        for row in rows
        if (want.name in _names(row) or uuid in _uuids(row)) and (not want.host or want.host in hosts_of(row))
    ]
    if not found:
        before, _, after = want.name.rpartition("@")
        name = want.name if want.host else before
        if elsewhere := [row for row in rows if name and name in _names(row)]:
            raise NotFoundError(
                f"no {noun.name} {want.text}" if want.host else f"no host {after} in this fleet",
                cure=f"there is {' and '.join(map(label, elsewhere[:3]))}",
            )
        near = get_close_matches(want.name, sorted({_names(row)[0] for row in rows}), 3, 0.6)
        cure = f"did you mean {' or '.join(near)}?" if near else ""
        raise NotFoundError(f"no {noun.name} {want.text}", cure=cure)
    if len(found) > 1:
        labels = ", ".join(sorted(label(row) for row in found))
        raise AmbiguousError(
            f"{len(found)} {noun.plural} are called {want.text}: {labels}", cure="name one of them"
        )
    return found[0]


def find_all(
    noun: Noun[Any], rows: Sequence[Any], names: Iterable[Wanted]
) -> tuple[list[Any], list[VirtfleetError]]:
    """What is found, and an error for each that is not."""
    found: list[Any] = []
    errors: list[VirtfleetError] = []
    for want in names:
        try:
            found.append(find(noun, rows, want))
        except (NotFoundError, AmbiguousError) as error:
            errors.append(error)
    return found, errors
