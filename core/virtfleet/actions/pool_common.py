"""What the planning of pool verbs shares: which pools are meant, and having the others that see them look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from virtfleet.actions import pool_conditions, pool_users
from virtfleet.actions.common import answers, check_host, refuse
from virtfleet.actions.world import World
from virtfleet.errors import NotFoundError
from virtfleet.hypervisor.builders.pool_types import BACKENDS, Backend
from virtfleet.model import FleetSnapshot, HostView, Pool
from virtfleet.model.action_storage import PoolAction, PoolRef
from virtfleet.model.plan import Condition, Danger, Effect, Plan, Reason, Step


class Member(NamedTuple):
    """A pool of one host."""

    host: HostView
    pool: Pool

    @property
    def label(self) -> str:
        return f"{self.pool.name}@{self.host.name}"

    @property
    def backend(self) -> Backend:
        """A type that we do not know can be started, stopped, refreshed and forgotten."""
        return BACKENDS.get(self.pool.type) or Backend(self.pool.type, "something else", erases="")


def find(world: World, refs: Sequence[PoolRef]) -> list[Member]:
    """The pools that are meant, on hosts that answer. NotFoundError, RefusedError."""
    found = []
    for ref in refs:
        host = check_host(world, ref.host)
        if host.freshness.pools is None:
            refuse([f"the pools of {host.name} are not known yet"], f"pool {ref.label}", "wait a little")
        pool = next(
            (each for each in host.pools if (each.uuid == ref.uuid if ref.uuid else each.name == ref.name)),
            None,
        )
        if pool is None:
            raise NotFoundError(f"there is no pool {ref.name or ref.uuid} on {host.name}")
        found.append(Member(host, pool))
    return list(dict.fromkeys(found))


def storages(members: Iterable[Member]) -> list[list[Member]]:
    """The members of each storage, in the order given."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(member.pool.identity or f"{member.host.name}/{member.pool.uuid}", []).append(member)
    return list(found.values())


def names(members: Sequence[Member]) -> str:
    """For titles: data on hv1, hv2; or data@hv1, other@hv2."""
    called = list(dict.fromkeys(member.pool.name for member in members))
    if len(called) == 1:
        return f"{called[0]} on {', '.join(member.host.name for member in members)}"
    return ", ".join(member.label for member in members)


def args_of(member: Member) -> dict[str, str]:
    return {"uuid": member.pool.uuid, "name": member.pool.name}


def step(member: Member, what: str, op: str, title: str, timeout: float = 30.0) -> Step:
    """One that acts on a pool; `what` and host make its id."""
    return Step(
        id=f"{what}@{member.host.name}/{member.pool.name}",
        op=op,
        host=member.host.name,
        title=f"{title} on {member.host.name}",
        args=args_of(member),
        timeout=timeout,
    )


def peers(members: Sequence[Member], snapshot: FleetSnapshot) -> list[Member]:
    """The other active pools of the same storage, on hosts that answer."""
    own = {(member.host.name, member.pool.uuid) for member in members}
    found = [
        Member(host, pool)
        for member in members
        for host, pool in pool_users.seers(member.host, member.pool, snapshot)
        if (host.name, pool.uuid) not in own and host.state.answers and pool_conditions.is_active(pool)
    ]
    return list({(each.host.name, each.pool.uuid): each for each in found}.values())


def tell_peers(members: Sequence[Member], snapshot: FleetSnapshot) -> tuple[Step, ...]:
    """Has libvirt look anew wherever else the storage is seen. What fails there is told and no more."""
    others = peers(members, snapshot)
    if not others:
        return ()
    return (
        Step(
            id="peers",
            op="pool.peers",
            host="",
            title=f"refresh it on {', '.join(each.host.name for each in others)}",
            args={"pools": [[each.host.name, each.pool.uuid] for each in others]},
        ),
    )


def planned(
    action: PoolAction,
    world: World,
    members: Sequence[Member],
    title: str,
    steps: Iterable[Step],
    *,
    danger: Danger = Danger.NONE,
    conditions: Iterable[Condition] = (),
    effects: Iterable[Effect] = (),
    reasons: Iterable[Reason] = (),
) -> Plan:
    """A plan about pools that are there."""
    first = members[0]
    return Plan(
        action=action,
        title=title,
        verb=str(type(action).__struct_config__.tag),
        kind="pool",
        host=first.host.name,
        uuid=first.pool.uuid,
        name=first.pool.name,
        steps=tuple(steps),
        conditions=(
            *(answers(host) for host in dict.fromkeys(member.host for member in members)),
            *(pool_conditions.there(*member) for member in members),
            *conditions,
        ),
        effects=tuple(effects),
        reasons=tuple(reasons),
        danger=danger,
        made=world.now,
    )


def using(who: Sequence[str], what: str) -> str:
    """a, b use what is in x."""
    return f"{some(who)} {'uses' if len(who) == 1 else 'use'} what is in {what}"


def some(texts: Sequence[str], most: int = 5) -> str:
    """a, b, c and 7 more."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
