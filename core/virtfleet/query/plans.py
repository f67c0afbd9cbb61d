"""A plan in words and as plain data: the one form that table, JSON and dialog have in common. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from virtfleet.model.plan import Effect, Plan
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

_ARROW = "→"
_SIGNS = {"vm.create": "+", "vm.clone": "+", "vm.delete": "−", "pool.create": "+", "pool.delete": "−"}
_UNITS = {"bytes": Unit.BYTES, "vcpus": Unit.COUNT, "count": Unit.COUNT, "percent": Unit.PERCENT}


_FRAME = frozenset({"vm.claim", "vm.release", "vm.remember"})
"""Steps that stand around every change and tell nobody anything."""


class Line(NamedTuple):
    """One line of a plan. `kind`: step, reason, warning or effect."""

    kind: str
    mark: str
    text: str


def sign(plan: Plan) -> str:
    """What it does to the number of objects: + − ~, or = when there is nothing to do."""
    if not plan.steps:
        return "="
    return _SIGNS.get(plan.verb, "~")


def effect_text(effect: Effect) -> str:
    """`memory promised on hv1: 4.0 GiB → 5.0 GiB of 16.0 GiB`."""
    before, after = _figure(effect.before, effect.unit), _figure(effect.after, effect.unit)
    if effect.before is None:
        change = after
    elif effect.after is None:
        change = f"{before} {_ARROW} nothing"
    else:
        change = before if before == after else f"{before} {_ARROW} {after}"
    limit = f" of {_figure(effect.limit, effect.unit)}" if effect.limit is not None else ""
    return f"{effect.what}: {change}{limit}"


def _figure(value: Any, unit: str) -> str:
    if value is None:
        return "—"
    if unit in _UNITS and isinstance(value, int | float) and not isinstance(value, bool):
        return format_value(value, _UNITS[unit])
    return str(value)


def lines(plan: Plan) -> list[Line]:
    """What will be done, why, what to mind, and what it changes."""
    found = [
        Line("step", str(number), f"{step.title}{_size(step.bytes)}")
        for number, step in enumerate((step for step in plan.steps if step.op not in _FRAME), 1)
    ]
    found += [Line("warning", "!", reason.text) for reason in plan.reasons if reason.warning]
    found += [Line("reason", "·", reason.text) for reason in plan.reasons if not reason.warning]
    found += [Line("effect", _ARROW, effect_text(effect)) for effect in plan.effects]
    return found


def _size(count: int) -> str:
    return f" ({format_value(count, Unit.BYTES)})" if count else ""


def item(plan: Plan) -> dict[str, Any]:
    """Public: the JSON of a plan. What the steps are made of stays private."""
    return {
        "title": plan.title,
        "verb": plan.verb,
        "change": sign(plan),
        "kind": plan.kind,
        "host": plan.host,
        "name": plan.name,
        "uuid": plan.uuid,
        "danger": plan.danger.value,
        "steps": [{"host": step.host, "title": step.title, "bytes": step.bytes} for step in plan.steps],
        "effects": [msgspec.to_builtins(effect) for effect in plan.effects],
        "reasons": [reason.text for reason in plan.reasons if not reason.warning],
        "warnings": [reason.text for reason in plan.reasons if reason.warning],
    }
