"""Where a new VM goes: what it asks of a host, the host that was chosen for it, and why that one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from virtfleet.actions.maker import Sizes
from virtfleet.actions.room import EMPTY_DISK, OVERLAY_ROOM, SEED_ROOM
from virtfleet.actions.world import World
from virtfleet.config.extra_specs import ExtraSpecError, Specs, parse
from virtfleet.decide.ask import Ask
from virtfleet.decide.explain import Explanation, explain
from virtfleet.decide.filters import FILTERS
from virtfleet.decide.ledger import Promise
from virtfleet.decide.place import place, place_many, survivors
from virtfleet.decide.question import Question
from virtfleet.errors import NoValidHostError, RefusedError
from virtfleet.images.facts import ImageFacts
from virtfleet.model import HostView, Vm
from virtfleet.model.action import CloneVm, CreateVm
from virtfleet.model.plan import Plan, Reason
from virtfleet.query.display import format_value
from virtfleet.query.field import Unit

_SHOWN = 6
_MAKERS = ("vm.create", "vm.clone")


class Placed(NamedTuple):
    host: str
    reasons: list[Reason]


def ask_of(action: CreateVm, world: World, sizes: Sizes) -> Ask:
    """What the VM needs. RefusedError: its flavor can't be had with these sizes."""
    given = world.given
    image, iso = (world.images.get(each) if each else None for each in (action.image, action.iso))
    there = [each.host for each in (image, iso) if each is not None and each.host]
    named = action.host or world.place_on
    hosts = [named] if named else there
    networks = given.networks if given is not None else action.networks
    brought = [each for each in (image, iso) if each is not None and each.sha256]
    return Ask(
        name=action.name,
        vcpus=sizes.vcpus,
        memory=sizes.memory,
        disk=_grows_to(image, iso, sizes),
        room=_room(action, image, iso),
        images=tuple((each.volume_name, each.size) for each in brought),
        pool=action.pool,
        kind="container" if action.root or (given is not None and given.container) else "machine",
        arch=image.arch if image is not None else "",
        firmware=action.firmware,
        zone=action.zone,
        hosts=tuple(dict.fromkeys(hosts)),
        avoid=world.avoid,
        project=action.project,
        group=action.group,
        networks=networks,
        specs=specs_of(action.flavor, world, sizes, f"create {action.name}"),
        stale_ok=world.stale_ok,
    )


def specs_of(flavor: str, world: World, sizes: Sizes, what: str) -> Specs:
    """The extra specs of a flavor for a VM of these sizes. RefusedError: they don't go together."""
    known = world.settings.flavors.get(flavor)
    if known is None or not known.extra_specs:
        return Specs()
    try:
        return parse(known.extra_specs, sizes.vcpus, sizes.memory)
    except ExtraSpecError as error:
        raise RefusedError(f"{what}: flavor {flavor}: {error}") from None


def ask_for(host: HostView, vm: Vm, world: World) -> Ask:
    """What a VM that is there needs, where it is and elsewhere; its disks are not looked at."""
    info = vm.info
    sizes = Sizes(info.vcpus_max, info.memory_max, None, info.flavor)
    try:
        specs = specs_of(info.flavor, world, sizes, vm.name)
    except RefusedError:  # it was resized by hand since
        specs = Specs()
    return Ask(
        name=vm.name,
        vcpus=info.vcpus_max,
        memory=info.memory_max,
        kind="container" if info.os_type == "exe" else "machine",
        arch=info.arch,
        project=info.project,
        group=info.group,
        networks=tuple(dict.fromkeys(nic.source for nic in info.nics if nic.type == "network")),
        specs=specs,
        moving=vm.uuid,
        stale_ok=world.stale_ok,
    )


def explained(ask: Ask, world: World) -> Explanation:
    """Each host's case."""
    ledger = world.followed()
    with ledger.beside(promises(world)):
        return explain(ledger, ask, world.monotonic)


def _grows_to(image: ImageFacts | None, iso: ImageFacts | None, sizes: Sizes) -> int:
    if image is not None:
        return max(image.virtual_size, sizes.disk or 0)
    return sizes.disk or EMPTY_DISK if iso is not None else 0


def _room(action: CreateVm, image: ImageFacts | None, iso: ImageFacts | None) -> int:
    """Bytes at once, but for images that may be there already."""
    if image is None and iso is None:
        return 0
    room = OVERLAY_ROOM + (SEED_ROOM if action.seed is not None else 0)
    if image is not None and action.copy:
        room += image.size
    return room + sum(each.size for each in (image, iso) if each is not None and each.url)


# ---- choosing


def choose(action: CreateVm, world: World, sizes: Sizes) -> Placed:
    """The host for one VM, with the reasons. NoValidHostError."""
    ledger = world.followed()
    with ledger.beside(promises(world)):
        q = Question(ledger, ask_of(action, world, sizes), world.monotonic)
        try:
            chosen = place(ledger, q.ask, world.monotonic, world.dice)
        except NoValidHostError as error:
            raise _of(action, error) from None
        row = ledger.rows[chosen.host]
        free = ledger.memory[row] - ledger.memory_used[row]
        fit = f"best of {chosen.fit} that fit" if chosen.fit > 1 else "the only one that fits"
        if world.place_on:
            fit = "chosen together with the others"
        left = format_value(max(0.0, float(free)), Unit.BYTES)
        reasons = [] if action.host else [Reason(text=f"{chosen.host}: {fit}, {left} of memory not promised")]
        if not action.host and not world.place_on:
            reasons += _why_not(q)
    return Placed(chosen.host, reasons)


def choose_many(
    actions: Sequence[CreateVm], world: World, sizes: Sequence[Sizes], *, partial: bool
) -> list[str | None]:
    """Hosts for VMs that are wanted together; None, with `partial`: no place. NoValidHostError."""
    ledger = world.followed()
    asks = [ask_of(action, world, each) for action, each in zip(actions, sizes, strict=True)]
    wanted = [
        Promise(
            host="",
            uuid=f"wanted {number}",
            name=ask.name,
            vcpus=ask.vcpus,
            memory=ask.memory,
            disk=ask.disk,
            room=ask.room,
            group=ask.group,
        )
        for number, ask in enumerate(asks)
    ]
    with ledger.beside(promises(world)):
        found = place_many(ledger, asks, wanted, world.monotonic, partial=partial, rng=world.dice)
    return [each.host if each is not None else None for each in found]


def _of(action: CreateVm, error: NoValidHostError) -> NoValidHostError:
    return NoValidHostError(f"create {action.name}: {error.message}", error.refused, error.cure)


def _why_not(q: Question) -> list[Reason]:
    """Of the hosts that were refused: a few with why, of many how many each rule refused."""
    out = np.flatnonzero(~survivors(q))
    if not len(out):
        return []
    masks = [(each, mask) for each in FILTERS if (mask := each.mask(q)) is not None]
    firsts = {int(row): next(each for each, mask in masks if not mask[row]) for row in out}
    if len(out) <= _SHOWN:
        said = [f"{q.ledger.names[row]}: {which.why(q, row)}" for row, which in firsts.items()]
        return [Reason(text=f"not {'; '.join(said)}")]
    counts: dict[str, int] = {}
    for which in firsts.values():
        counts[which.name] = counts.get(which.name, 0) + 1
    said = [f"{name} {count}" for name, count in counts.items()]
    return [Reason(text=f"not {len(out)} others: {', '.join(said)}")]


# ---- what no host shows yet


def promises(world: World) -> list[Promise]:
    """Of the plans made beside this one, and of jobs that are running."""
    return [each for plan in (*world.beside, *world.running) for each in promised_by(plan)]


def promised_by(plan: Plan) -> Iterable[Promise]:
    """What a plan will take of its host, or of the host that a VM is moved to."""
    if plan.verb == "vm.migrate":
        yield from _moved_by(plan)
        return
    if plan.verb not in _MAKERS:
        return
    pool = next((each for each in plan.conditions if each.kind == "pool-active"), None)
    group = plan.action.group if isinstance(plan.action, CreateVm) else ""
    assert isinstance(plan.action, CreateVm | CloneVm)  # noqa: S101 - it is of these verbs
    for claim in plan.claims:
        yield Promise(
            host=plan.host,
            uuid=claim.uuid,
            name=claim.name,
            vcpus=claim.use.vcpus,
            memory=claim.use.memory,
            disk=claim.use.capacity,
            room=int(pool.value or 0) if pool is not None else 0,
            pool=pool.name if pool is not None else "",
            group=group,
        )


def _moved_by(plan: Plan) -> Iterable[Promise]:
    """A move is known by the step that keeps the room."""
    for step in plan.steps:
        if step.op == "vm.room":
            pool = next((each for each in plan.conditions if each.kind == "pool-active"), None)
            room = int(pool.value or 0) if pool is not None else 0
            yield Promise(
                host=step.host,
                uuid=plan.uuid,
                name=plan.name,
                vcpus=step.args["vcpus"],
                memory=step.args["memory"],
                disk=room,
                room=room,
                pool=pool.name if pool is not None else "",
                group=step.args["group"],
            )
