"""`vm snapshot list`: the tree of a VM's snapshots."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virtfleet.headless import acting, output
from virtfleet.headless.listing import emit
from virtfleet.headless.options import Options
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.query.rows import VmRow

_KEYS = ("name", "parent", "created", "state", "current", "kind", "memory", "description")


def run(name: str, options: Options) -> int:
    """`vm snapshot list VM`."""

    async def show(row: VmRow, engine: Engine) -> None:
        found = await engine.request(row.host.name, "vm.snapshots", {"uuid": row.vm.uuid}, options.timeout)
        if options.output == "table":
            output.lines(tree(found) or [f"{row.vm.name} has no snapshots"])
        else:
            items = [{key: each.get(key) for key in _KEYS} for each in found]
            emit(options, "snapshot", items, (), time.monotonic(), _KEYS)

    return acting.on_one_vm(name, options, show)


def tree(snapshots: Sequence[Mapping[str, Any]]) -> list[str]:
    """Children under their parents, oldest first; whose parent is unknown stands at the root."""
    names = {each["name"] for each in snapshots}
    children: dict[str, list[Mapping[str, Any]]] = {}
    for each in sorted(snapshots, key=lambda one: (one["created"] or 0, one["name"])):
        parent = each["parent"] if each["parent"] in names and each["parent"] != each["name"] else ""
        children.setdefault(parent or "", []).append(each)
    lines: list[str] = []
    seen: set[str] = set()

    def walk(parent: str, lead: str) -> None:
        mine = [each for each in children.get(parent, []) if each["name"] not in seen]
        for index, each in enumerate(mine):
            seen.add(each["name"])
            last = index == len(mine) - 1
            branch = "" if not parent else ("└─ " if last else "├─ ")
            lines.append(f"{lead}{branch}{_line(each)}")
            walk(each["name"], lead + ("" if not parent else "   " if last else "│  "))

    walk("", "")
    return lines


def _line(each: Mapping[str, Any]) -> str:
    words = [each["name"], *(["← now"] if each["current"] else [])]
    created = format_value(each["created"], Unit.TIME) if each["created"] else ""
    kind = "with memory" if each["memory"] else "disks only" if each["kind"] == "external" else "disks"
    words += [part for part in (created, each["state"], kind, each["description"]) if part]
    return "  ".join(words)
