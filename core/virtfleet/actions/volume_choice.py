"""Where a new volume goes: the pool that was named if it can take it, else the best of its type."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from virtfleet.actions.common import check_host
from virtfleet.actions.placing import promised_by
from virtfleet.actions.quotas import within_quota
from virtfleet.actions.storage import identity_of, volume_named
from virtfleet.actions.world import World
from virtfleet.config.settings import VolumeType
from virtfleet.decide.pool_table import PoolTable
from virtfleet.decide.quotas import type_of
from virtfleet.decide.volumes import PoolCase, VolumeAsk, choose, explain
from virtfleet.errors import NotFoundError, RefusedError
from virtfleet.model import HostView, Pool, Volume
from virtfleet.model.action_volumes import VolumeRef
from virtfleet.model.plan import Effect, Reason
from virtfleet.model.project import DEFAULT, Claim, Use, VolumeUse, volume_id
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

FILES = ("dir", "fs", "netfs")
"""Pools whose volumes are files, and so may be of other formats than raw."""
_VERBS = ("volume.create", "volume.clone", "volume.upload", "volume.extend")
_SHOWN = 6
_LONGEST = 6


class Chosen(NamedTuple):
    host: HostView
    pool: Pool
    type: str
    """The volume type that it counts for; empty: none."""
    kind: VolumeType
    thick: bool
    reasons: tuple[Reason, ...]


def choose_pool(
    world: World, what: str, size: int, *, host: str, pool: str, type: str, project: str
) -> Chosen:
    """RefusedError: no pool can take it, and why each can't. `size` in bytes."""
    types = world.settings.volume_types
    if type and type not in types:
        raise RefusedError(f"{what}: no volume type {type} (there: {', '.join(types) or 'none'})")
    if host:
        check_host(world, host)
    table = world.followed_pools()
    kind = types[type] if type else _kind_of(world, host, pool)
    ask = VolumeAsk(
        size=size,
        kind=kind,
        type=type,
        hosts=(host,) if host else (),
        pools=(pool,) if pool else (),
        avoid=world.avoid,
        project=project or DEFAULT,
        promised=promised(world),
    )
    weights = world.settings.scheduler.volume_weights
    found = choose(table, ask, weights)
    if not found:
        raise _no_pool(world, what, ask, explain(table, ask, weights))
    best = found[0]
    view = check_host(world, best.host)
    chosen = next(each for each in view.pools if each.name == best.pool)
    counts = type or type_of(view, chosen.name, world.settings)
    thick = kind.provisioning == "thick"
    reasons: list[Reason] = []
    if not pool:
        others = f", then {', '.join(f'{each.host}/{each.pool}' for each in found[1:3])}" if found[1:] else ""
        fit = f"best of {len(found)} that fit{others}" if found[1:] else "the only one that fits"
        reasons.append(Reason(text=f"{best.host}/{best.pool}: {fit}"))
        reasons += _why_not(explain(table, ask, weights))
    return Chosen(view, chosen, counts, kind, thick, tuple(reasons))


def _kind_of(world: World, host: str, pool: str) -> VolumeType:
    """The rules for a pool that was named: those of the type that it belongs to."""
    for view in world.snapshot.hosts.values():
        if pool and host in ("", view.name) and any(each.name == pool for each in view.pools):
            return world.settings.volume_types.get(type_of(view, pool, world.settings), VolumeType())
    return VolumeType()


def _no_pool(world: World, what: str, ask: VolumeAsk, cases: list[PoolCase]) -> RefusedError:
    near = [case for case in cases if all(each.filter != "named" for each in case.refusals)]
    if ask.pools and not near:
        where = f"{ask.hosts[0]} has" if ask.hosts else "no host has a"
        known = sorted({case.pool for case in cases if not ask.hosts or case.host in ask.hosts})
        no = "no pool" if ask.hosts else "pool"
        return RefusedError(f"{what}: {where} {no} {ask.pools[0]} (there: {', '.join(known) or 'none'})")
    said = [f"{case.host}/{case.pool}: {case.refusals[0].why}" for case in (near or cases)[:_LONGEST]]
    more = f"; and {len(near or cases) - _LONGEST} more" if len(near or cases) > _LONGEST else ""
    return RefusedError(
        f"{what}: no pool can take it: {'; '.join(said) or 'no pool is known'}{more}",
        cure="make room, or choose another pool or type",
    )


def _why_not(cases: list[PoolCase]) -> list[Reason]:
    """Of the pools that were refused: a few with why, of many how many each rule refused."""
    out = [case for case in cases if case.refusals]
    if not out:
        return []
    if len(out) <= _SHOWN:
        said = "; ".join(f"{case.host}/{case.pool}: {case.refusals[0].why}" for case in out)
        return [Reason(text=f"not {said}")]
    counts = Counter(case.refusals[0].filter for case in out)
    return [Reason(text=f"not {len(out)} others: {', '.join(f'{each} {n}' for each, n in counts.items())}")]


def grows(
    world: World, what: str, view: HostView, volume: Volume, more: int
) -> tuple[PoolTable, VolumeAsk, VolumeType]:
    """RefusedError: its pool has no room for `more` bytes of it."""
    kind = world.settings.volume_types.get(type_of(view, volume.pool, world.settings), VolumeType())
    table = world.followed_pools()
    ask = VolumeAsk(
        size=more,
        kind=kind,
        hosts=(view.name,),
        pools=(volume.pool,),
        exists=True,
        promised=promised(world),
        project=next(iter(world.settings.hosts[view.name].projects), DEFAULT)
        if view.name in world.settings.hosts
        else DEFAULT,
    )
    if not choose(table, ask):
        raise _no_pool(world, what, ask, explain(table, ask))
    return table, ask, kind


def promised(world: World) -> dict[str, int]:
    """What plans beside this one and jobs that run will take of each storage, as far as no host shows it."""
    found: dict[str, int] = {}
    for plan in (*world.beside, *world.running):
        view = world.snapshot.hosts.get(plan.host)
        if view is None:
            continue
        if plan.verb in _VERBS and plan.steps:
            pool, name = str(plan.steps[0].args.get("pool", "")), plan.name
            there = volume_named(view, pool, name)
            size = sum(claim.use.capacity for claim in plan.claims)
            taken = [(pool, size - (there.capacity or 0 if there is not None else 0))]
        else:
            taken = [(each.pool, each.disk) for each in promised_by(plan) if each.pool]
        for pool, size in taken:
            identity = next((each.identity for each in view.pools if each.name == pool), "")
            if identity and size > 0:
                found[identity] = found.get(identity, 0) + size
    return found


# ---- what the plans of volumes share


def find_volume(world: World, ref: VolumeRef) -> tuple[HostView, Volume]:
    """The volume that is meant, on a host that answers. NotFoundError, RefusedError."""
    host = check_host(world, ref.host)
    volume = volume_named(host, ref.pool, ref.name)
    if volume is None:
        raise NotFoundError(f"there is no volume {ref.pool}/{ref.name} on {ref.host}")
    return host, volume


def identity(host: HostView, volume: Volume) -> str:
    """By which the volume is known in plans and in the books of quotas, from whichever host it is seen."""
    return volume_id(identity_of(volume, host) or f"local:{host.name}:{volume.pool}", volume.name)


def claim_of(chosen: Chosen, name: str, size: int, project: str) -> Claim:
    """What a volume takes of its project's quota."""
    return Claim(
        project=project or DEFAULT,
        uuid=volume_id(chosen.pool.identity, name),
        name=name,
        use=Use(volumes=1, capacity=size, types={chosen.type: VolumeUse(1, size)} if chosen.type else {}),
    )


def claimed(chosen: Chosen, name: str, size: int, project: str, world: World, what: str) -> tuple[Claim, ...]:
    """RefusedError: the quota has no room for it."""
    claims = (claim_of(chosen, name, size, project),)
    within_quota(claims, world, what)
    return claims


def room_effects(chosen: Chosen, size: int, world: World) -> tuple[Effect, ...]:
    """What becomes of its pool."""
    pool = chosen.pool
    table = world.followed_pools()
    row = next(at for at, each in enumerate(table.rows) if (each.host, each.pool) == (chosen.host.name, pool))
    before = int(table.provisioned[row])
    limit = None
    if pool.capacity:
        left = pool.capacity - int(pool.capacity * chosen.kind.reserved_percentage / 100)
        limit = int(left * (1 if chosen.thick or not table.thin[row] else chosen.kind.max_over_subscription))
    where = f"pool {pool.name} on {chosen.host.name}"
    found = [
        Effect(what=f"promised in {where}", unit="bytes", before=before, after=before + size, limit=limit)
    ]
    if chosen.thick and pool.available is not None:
        after = max(0, pool.available - size)
        found.append(Effect(what=f"free in {where}, about", unit="bytes", before=pool.available, after=after))
    return tuple(found)


def shown(size: int) -> str:
    return format_value(size, Unit.BYTES)
