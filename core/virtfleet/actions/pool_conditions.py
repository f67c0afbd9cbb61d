"""What must still hold of pools when a plan about them is carried out: pure, over a snapshot."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping

from virtfleet.actions import pool_users
from virtfleet.model import FleetSnapshot, HostView, Pool, PoolState
from virtfleet.model.plan import Condition

Check = Callable[[Condition, FleetSnapshot], str]


def is_active(pool: Pool) -> bool:
    return pool.state is not PoolState.INACTIVE


def there(host: HostView, pool: Pool) -> Condition:
    return Condition(
        kind="pool-is", host=host.name, uuid=pool.uuid, name=pool.name, text=f"{pool.name} is on {host.name}"
    )


def in_state(host: HostView, pool: Pool) -> Condition:
    active = is_active(pool)
    return Condition(
        kind="pool-state",
        host=host.name,
        uuid=pool.uuid,
        name=pool.name,
        value=active,
        text=f"{pool.name} on {host.name} is {'active' if active else 'inactive'}",
    )


def name_free(host: HostView, name: str) -> Condition:
    return Condition(
        kind="pool-name-free", host=host.name, name=name, text=f"no pool on {host.name} is called {name}"
    )


def target_free(host: HostView, target: str) -> Condition:
    return Condition(
        kind="pool-target-free", host=host.name, value=target, text=f"no pool on {host.name} is at {target}"
    )


def unused(host: HostView, pool: Pool, scope: str) -> Condition:
    """`scope`: everywhere; here (VMs of this host); running (VMs of this host that are on)."""
    whose = {"everywhere": "nobody on any host", "here": f"nobody on {host.name}"}
    return Condition(
        kind="pool-unused",
        host=host.name,
        uuid=pool.uuid,
        name=pool.name,
        value=scope,
        text=f"{whose.get(scope, f'no VM that runs on {host.name}')} uses what is in {pool.name}",
    )


def holds(host: HostView, pool: Pool, names: list[str]) -> Condition:
    return Condition(
        kind="pool-holds",
        host=host.name,
        uuid=pool.uuid,
        name=pool.name,
        value=names,
        text=f"{pool.name} has no other volumes than {', '.join(names[:5]) or 'none'}",
    )


def in_the_way(host: HostView, target: str) -> Pool | None:
    """The pool that is at this folder already."""
    wanted = posixpath.normpath(target)
    for pool in host.pools:
        if pool.target and posixpath.normpath(pool.target) == wanted:
            return pool
    return None


def users(host: HostView, pool: Pool, scope: str, snapshot: FleetSnapshot) -> list[str]:
    """Who keeps it from being taken away, within the scope."""
    return [
        use.text
        for use in pool_users.uses(host, pool, snapshot)
        if scope == "everywhere"
        or (scope == "here" and use.host == host.name)
        or (scope == "running" and use.host == host.name and use.active)
    ]


# ---------------------------------------------------------------- checked again


def _pool(condition: Condition, snapshot: FleetSnapshot) -> tuple[HostView, Pool] | None:
    host = snapshot.hosts.get(condition.host)
    found = [pool for pool in host.pools if pool.uuid == condition.uuid] if host is not None else []
    return (host, found[0]) if host is not None and found else None


def _is(condition: Condition, snapshot: FleetSnapshot) -> str:
    found = _pool(condition, snapshot)
    return "" if found else f"pool {condition.name} is no longer on {condition.host}"


def _state(condition: Condition, snapshot: FleetSnapshot) -> str:
    found = _pool(condition, snapshot)
    if found is None or is_active(found[1]) == condition.value:
        return ""  # that it is gone, another condition tells
    return f"pool {condition.name} on {condition.host} is {found[1].state.value} now"


def _name_free(condition: Condition, snapshot: FleetSnapshot) -> str:
    host = snapshot.hosts.get(condition.host)
    if host is None:
        return f"{condition.host} is no longer in the fleet"
    taken = any(pool.name == condition.name for pool in host.pools)
    return f"a pool called {condition.name} is on {condition.host} now" if taken else ""


def _target_free(condition: Condition, snapshot: FleetSnapshot) -> str:
    host = snapshot.hosts.get(condition.host)
    other = in_the_way(host, str(condition.value)) if host is not None else None
    return f"pool {other.name} on {condition.host} is at {condition.value} now" if other else ""


def _unused(condition: Condition, snapshot: FleetSnapshot) -> str:
    found = _pool(condition, snapshot)
    if found is None:
        return ""
    who = users(*found, str(condition.value), snapshot)
    return f"{who[0]} uses what is in {condition.name} now" if who else ""


def _holds(condition: Condition, snapshot: FleetSnapshot) -> str:
    found = _pool(condition, snapshot)
    if found is None:
        return ""
    have = {volume.name for volume in pool_users.volumes_of(*found)}
    new = sorted(have - set(condition.value))
    return f"volume {new[0]} is in {condition.name} now" if new else ""


CHECKS: Mapping[str, Check] = {
    "pool-is": _is,
    "pool-state": _state,
    "pool-name-free": _name_free,
    "pool-target-free": _target_free,
    "pool-unused": _unused,
    "pool-holds": _holds,
}
