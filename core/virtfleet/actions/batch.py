"""A YAML file of actions, or of VMs that shall be there, read into values; every mistake names its line.

    actions:                            # or just the list
      - action: vm.create               # any action of model/action.py, with its fields
        name: web-%02d
        count: 3                        # a loop: web-01 web-02 web-03
        flavor: small
        image: debian12
        id: web                         # a name for `needs`
      - action: vm.tag
        vm: web-*                       # NAME, NAME@HOST, UUID or a pattern: all that match
        add: [prod]
        needs: web

    vms:                                # what shall be: created, changed, and deleted with --prune
      db-%02d: {count: 2, flavor: big, image: debian12, host: hv1, tags: [db], state: running}
    prune: tag:db                       # which VMs this file may delete when they are not in it

Pure but for the text it is given; files that an action names are hashed later.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from virtfleet.config.shape import shape, unknown_key, wrong
from virtfleet.config.yamltree import Node, parse, shown
from virtfleet.errors import ConfigError
from virtfleet.model import action as actions
from virtfleet.model.action import Action, CreateVm, verb_of

_NOT_HERE = frozenset({"host.drain", "host.undrain"})
"""They are more than one job: `host drain` carries them out."""
KINDS: dict[str, type[Any]] = {
    tag: kind for kind in get_args(Action) if (tag := str(kind.__struct_config__.tag)) not in _NOT_HERE
}
"""Action types by their tag, those that a file may have."""

_OWN = frozenset({"action", "id", "needs", "vm", "count", "first"})
_LARGEST_LOOP = 1000
_NUMBER = re.compile(r"%0?[0-9]?d")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, loops not yet unrolled: `fields` are the action's but for `vm`."""

    id: str
    action: str
    fields: dict[str, Any]
    where: str
    """FILE:LINE."""
    vm: str = ""
    """How its VM is named; empty for vm.create."""
    needs: tuple[str, ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A VM that shall be there. `create` is what makes it; `given` the keys that the file sets."""

    create: CreateVm
    state: Literal["", "running", "shutoff"]
    given: frozenset[str]
    where: str


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[Item, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    prune: str = ""
    """A filter over VMs; empty: nothing is ever deleted."""


def read(text: str, file: str, base: Path) -> Batch:
    """The batch in `text`. ConfigError: FILE:LINE, what was found, what is accepted.

    `base`: the folder that relative paths in it start from.
    """
    node = parse(text, file)
    if node is None:
        raise ConfigError("there is nothing in it", where=file)
    if isinstance(node.value, list):
        return Batch(items=_items(node, base))
    if not isinstance(node.value, dict):
        raise ConfigError(
            f"found {node.found}; accepted: a list of actions, or the keys actions, vms, prune",
            where=node.where,
        )
    for name, child in node.value.items():
        if name not in ("actions", "vms", "prune"):
            raise unknown_key(child, name, "", ("actions", "vms", "prune"))
    found = node.value
    prune = found["prune"].value if "prune" in found else ""
    if not isinstance(prune, str):
        raise wrong(found["prune"], "prune", "a filter, as text")
    items = _items(found["actions"], base) if "actions" in found else ()
    wanted = _wanted(found["vms"], base) if "vms" in found else ()
    return Batch(items=items, wanted=wanted, prune=prune)


# ---------------------------------------------------------------- actions


def _items(node: Node, base: Path) -> tuple[Item, ...]:
    if not isinstance(node.value, list):
        raise wrong(node, "actions", "a list")
    items: list[Item] = []
    for index, child in enumerate(node.value):
        items += _item(child, f"actions[{index}]", str(index + 1), base)
    ids = {item.id for item in items}
    seen: set[str] = set()
    for item in items:
        for need in item.needs:
            if need not in ids:
                raise ConfigError(f"needs {shown(need)}, which is no id in this file", where=item.where)
            if need not in seen:
                raise ConfigError(
                    f"needs {shown(need)}, which comes later: order is of reading", where=item.where
                )
        seen.add(item.id)
    return tuple(items)


def _item(node: Node, path: str, default: str, base: Path) -> list[Item]:
    if not isinstance(node.value, dict):
        raise wrong(node, path, "a mapping with the key action")
    given = node.value
    if "action" not in given:
        raise ConfigError(f'{path}: the key "action" is missing', where=node.where)
    tag = given["action"].value
    if tag not in KINDS:
        raise wrong(given["action"], f"{path}.action", ", ".join(sorted(KINDS)))
    kind = KINDS[str(tag)]
    names = {field.name for field in msgspec.structs.fields(kind)}
    for name, child in given.items():
        if name not in names | _OWN:
            raise unknown_key(child, name, path, names | _OWN)
    needs_vm = "vm" in names
    vm = _text(given["vm"], f"{path}.vm") if "vm" in given else ""
    if needs_vm and not vm:
        raise ConfigError(
            f'{path}: the key "vm" is missing: NAME, NAME@HOST, UUID or a pattern', where=node.where
        )
    if vm and not needs_vm:
        raise ConfigError(f"{path}: {tag} makes a VM, it takes none", where=given["vm"].where)
    own = {name: child for name, child in given.items() if name in names and name != "vm"}
    rest = Node(own, node.file, node.line)
    fields = shape(rest, kind, path, base, partial=True)
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in fields and field.name != "vm":
            raise ConfigError(f'{path}: the key "{field.name}" is missing', where=node.where)
    label = _text(given["id"], f"{path}.id") if "id" in given else default
    needs = _needs(given["needs"], f"{path}.needs") if "needs" in given else ()
    return [
        Item(id=label, action=str(tag), fields=each, where=node.where, vm=_numbered(vm, number), needs=needs)
        for number, each in _unrolled(given, fields, vm, path)
    ]


def _unrolled(
    given: dict[str, Node], fields: dict[str, Any], vm: str, path: str
) -> list[tuple[int | None, dict[str, Any]]]:
    """The fields once for each number of the loop; once without a number where there is none."""
    if "count" not in given:
        if "first" in given:
            raise wrong(given["first"], f"{path}.first", "only beside count")
        return [(None, fields)]
    count = _number(given["count"], f"{path}.count", 1)
    first = _number(given["first"], f"{path}.first", 0) if "first" in given else 1
    patterned = vm or str(fields.get("name", ""))
    if count > 1 and not _NUMBER.search(patterned):
        raise ConfigError(
            f"{path}: count is {count}, but {shown(patterned)} has no place for a number, like web-%02d",
            where=given["count"].where,
        )
    return [
        (number, {name: _numbered(value, number) for name, value in fields.items()})
        for number in range(first, first + count)
    ]


def _numbered(value: Any, number: int | None) -> Any:
    """`value` with %d and %02d replaced by the number, in texts and lists of texts."""
    if number is None:
        return value
    if isinstance(value, str):
        return _NUMBER.sub(lambda match: match[0] % number, value)
    if isinstance(value, list):
        return [_numbered(each, number) for each in value]
    return value


def _needs(node: Node, path: str) -> tuple[str, ...]:
    nodes = node.value if isinstance(node.value, list) else [node]
    return tuple(_text(each, path) for each in nodes)


def _text(node: Node, path: str) -> str:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).isprintable():
        raise wrong(node, path, "text")
    return str(value)


def _number(node: Node, path: str, least: int) -> int:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST_LOOP:
        raise wrong(node, path, f"a whole number from {least} to {_LARGEST_LOOP}")
    return value


def action_of(item: Item, vm: actions.VmRef | None) -> Action:
    """The action of an item, on this VM. ConfigError: its values don't fit together."""
    plain: dict[str, Any] = dict(item.fields)
    if vm is not None:
        plain["vm"] = msgspec.to_builtins(vm)
    try:
        made: Action = msgspec.convert(plain | {"action": item.action}, KINDS[item.action])
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where=item.where) from None
    assert verb_of(made) == item.action  # noqa: S101 - its own tag
    return made


# ---------------------------------------------------------------- VMs that shall be


def _wanted(node: Node, base: Path) -> tuple[Wanted, ...]:
    if not isinstance(node.value, dict):
        raise wrong(node, "vms", "a mapping of names to what each shall be")
    found: list[Wanted] = []
    names: dict[tuple[str, str], str] = {}
    for name, child in node.value.items():
        for each in _each_wanted(name, child, base):
            place = (each.create.name, each.create.host)
            if place in names or (each.create.name, "") in names:
                raise ConfigError(f"vms: {each.create.name} is wanted twice", where=each.where)
            names[place] = each.where
            found.append(each)
    return tuple(found)


def _state(node: Node, path: str) -> Literal["running", "shutoff"]:
    match node.value:
        case "running":
            return "running"
        case "shutoff":
            return "shutoff"
    raise wrong(node, path, "running, shutoff")


def _each_wanted(name: str, node: Node, base: Path) -> list[Wanted]:
    path = f"vms.{name}"
    if not isinstance(node.value, dict):
        raise wrong(node, path, "a mapping")
    allowed = {field.name for field in msgspec.structs.fields(CreateVm)} - {"name", "start"}
    for key, child in node.value.items():
        if key not in allowed | {"count", "first", "state"}:
            raise unknown_key(child, key, path, allowed | {"count", "first", "state"})
    state: Literal["", "running", "shutoff"] = ""
    if "state" in node.value:
        state = _state(node.value["state"], f"{path}.state")
    own = {key: child for key, child in node.value.items() if key in allowed}
    fields = shape(Node(own, node.file, node.line), CreateVm, path, base, partial=True) | {"name": name}
    made: list[Wanted] = []
    for _, each in _unrolled(node.value, fields, "", path):
        try:
            create = msgspec.convert(each | {"action": "vm.create", "start": state != "shutoff"}, CreateVm)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{path}: {error}", where=node.where) from None
        made.append(Wanted(create=create, state=state, given=frozenset(own), where=node.where))
    return made
