"""The plan of making a pool, on one host or the same on several."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import msgspec

from virtfleet.actions import pool_conditions
from virtfleet.actions.common import answers, check_host, name_problem, refuse, warning
from virtfleet.actions.pools import START
from virtfleet.actions.world import World
from virtfleet.errors import RefusedError
from virtfleet.hypervisor.builders.pool_types import Backend, backend, split_host, usual_target, why_not
from virtfleet.model import HostView
from virtfleet.model.action_storage import CreatePool
from virtfleet.model.plan import Danger, Effect, Plan, Reason, Step, Undo

_BUILD = 1800.0
_SECRET = re.compile(r"prompt|env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")
_ASK = "prompt"
_IQN = re.compile(r"(iqn\.\d{4}-\d{2}\.|eui\.|naa\.)\S+")
_CALLED = {
    "target": "a target folder",
    "host": "a source host",
    "path": "a source path",
    "name": "a source name",
    "device": "a source device",
    "adapter": "an adapter",
    "initiator": "an initiator (the IQN of the host)",
    "format": "a source format",
    "auth": "a user and a secret",
}


def plan(action: CreatePool, world: World) -> Plan:
    its, problems = _checked(action)
    title = f"create pool {action.name} on {', '.join(action.hosts)}"
    refuse(problems, title)
    hosts = [check_host(world, name) for name in dict.fromkeys(action.hosts)]
    target = posixpath.normpath(action.target) if action.target else ""
    identity = _identity(action, its)
    for host in hosts:
        problems += _in_the_way(host, action, target, identity)
    refuse(problems, title)
    reasons = list(_reasons(action, its, hosts, identity, world))
    steps = [step for host in hosts for step in _steps(action, its, host.name, target, world)]
    owner = next(step for step in steps if step.id.startswith("define@"))
    after = "running" if action.start else "inactive"
    destroys = its.makes and action.build != "folder"
    return Plan(
        action=action,
        title=f"{title}: {its.what}",
        verb="pool.create",
        kind="pool",
        host=hosts[0].name,
        uuid=str(owner.args["spec"]["uuid"]),
        name=action.name,
        steps=tuple(steps),
        conditions=(
            *(answers(host) for host in hosts),
            *(pool_conditions.name_free(host, action.name) for host in hosts),
            *(pool_conditions.target_free(host, target) for host in hosts if target and its.folder),
        ),
        effects=tuple(Effect(what=f"pool {action.name}@{host.name} state", after=after) for host in hosts),
        reasons=tuple(reasons),
        danger=Danger.NONE
        if not destroys
        else Danger.IRREVERSIBLE
        if action.build == "overwrite"
        else Danger.CONFIRM,
        made=world.now,
    )


# ---------------------------------------------------------------- is it right?


def _checked(action: CreatePool) -> tuple[Backend, list[str]]:
    """The type, and what is wrong with the action itself. RefusedError: the type is none."""
    try:
        its = backend(action.type)
    except ValueError as error:
        raise RefusedError(f"create pool {action.name}: {error}") from None
    source = action.source
    given = {
        "target": action.target,
        "host": source.hosts,
        "path": source.path,
        "name": source.name,
        "device": source.devices,
        "adapter": source.adapter,
        "initiator": source.initiator,
        "format": source.format,
        "auth": action.auth,
    }
    problems = [name_problem(action.name, "pool's name")]
    for word, what in _CALLED.items():
        if word in its.needs and not given[word]:
            problems.append(f"a pool of type {its.type} needs {what}")
        elif given[word] and word not in (*its.needs, *its.takes):
            problems.append(
                f"a pool of type {its.type} takes no {what.removeprefix('a ').removeprefix('an ')}"
            )
    if action.build != "folder" and not its.makes:
        problems.append(f"a pool of type {its.type} has nothing to be built but its folder")
    if action.build != "folder" and len(set(action.hosts)) > 1:
        problems.append("the second host would build over what the first has built: build on one")
    if action.build != "folder" and its.type in ("logical", "zfs") and not source.devices:
        problems.append(f"to make {its.makes}, a source device is needed")
    problems += _words(action, its)
    return its, [each for each in problems if each]


def _words(action: CreatePool, its: Backend) -> Iterator[str]:
    source = action.source
    if action.target:
        yield _path_problem("target", action.target)
    if source.path and not (its.type == "netfs" and source.format in ("glusterfs", "cifs")):
        yield _path_problem("source path", source.path, root=True)
    for device in source.devices:
        if its.auth == "chap":
            if not _IQN.fullmatch(device):
                yield f"{device!a} is no name of a target like iqn.2026-01.example:store"
        else:
            yield _path_problem("source device", device)
    if source.initiator and not _IQN.fullmatch(source.initiator):
        yield f"{source.initiator!a} is no name of an initiator like iqn.2026-01.example:host"
    if its.auth == "chap" and len(source.devices) > 1:
        yield "an iSCSI pool has one target"
    if len(source.hosts) > 1 and its.type != "rbd":
        yield f"a pool of type {its.type} has one source host"
    for host in source.hosts:
        try:
            split_host(host)
        except ValueError as error:
            yield str(error)
    if its.formats and source.format and source.format not in its.formats:
        yield f"{source.format!a} is no format of {its.type}; accepted: {', '.join(its.formats)}"
    for what, text in (("source name", source.name), ("adapter", source.adapter)):
        if text and (not text.isprintable() or text.startswith("-")):
            yield f"the {what} {text!a} can't be"
    if action.auth is not None:
        if not action.auth.user or not action.auth.user.isprintable():
            yield "the user to log in with is missing"
        if not _SECRET.fullmatch(action.auth.secret):
            yield "a secret in plain text is not accepted (not shown): env:NAME, file:/PATH or prompt"


def _path_problem(what: str, path: str, *, root: bool = False) -> str:
    if not path.startswith("/") or not path.isprintable() or ".." in path.split("/"):
        return f"the {what} {path!a} is no absolute path without .. in it"
    return "" if root or path.strip("/") else f"the {what} can't be the root folder"


def _in_the_way(host: HostView, action: CreatePool, target: str, identity: str) -> list[str]:
    facts = host.facts
    problems = []
    if why := why_not(action.type, "create", facts.pool_types if facts is not None else ()):
        problems.append(f"{host.name}: {why}")
    if host.freshness.pools is None:
        problems.append(f"the pools of {host.name} are not known yet")
    if any(pool.name == action.name for pool in host.pools):
        problems.append(f"a pool called {action.name} is on {host.name} already")
        return problems
    if target and backend(action.type).folder and (other := pool_conditions.in_the_way(host, target)):
        problems.append(f"pool {other.name} on {host.name} is at {target} already")
    if identity and (same := [pool.name for pool in host.pools if pool.identity == identity]):
        problems.append(f"pool {same[0]} on {host.name} is that storage already")
    return problems


def _identity(action: CreatePool, its: Backend) -> str:
    """By which the storage is known on every host; empty: it is each host's own."""
    if not its.network:
        return ""
    from virtfleet.hypervisor.builders.pool import pool_xml
    from virtfleet.hypervisor.views.pool import pool_parts

    xml = pool_xml(name="x", uuid="x", type=action.type, target=action.target, source=action.source)
    return pool_parts(xml).identity or ""


def _reasons(
    action: CreatePool, its: Backend, hosts: list[HostView], identity: str, world: World
) -> Iterator[Reason]:
    mine = {host.name for host in hosts}
    for other in world.snapshot.hosts.values():
        for pool in other.pools if identity and other.name not in mine else ():
            if pool.identity == identity:
                yield Reason(text=f"{other.name} has this storage already, as pool {pool.name}")
    if its.makes and action.build == "overwrite":
        yield warning(f"all that is on {', '.join(action.source.devices) or action.source.name} is lost")
    if len(hosts) > 1 and not its.network:
        yield Reason(text="they count as one storage only if the hosts share the folder: a file in it tells")
    if action.auth is not None and action.auth.secret == _ASK:
        yield Reason(text=f"the secret of {action.auth.user} will be asked for")


# ---------------------------------------------------------------- steps


def _steps(action: CreatePool, its: Backend, host: str, target: str, world: World) -> Iterator[Step]:
    uuid, secret = world.new_uuid(), world.new_uuid() if action.auth is not None else ""
    target = target or usual_target(action.type, action.source.name)
    its_args = {"uuid": uuid, "name": action.name}
    pool = f"pool {action.name}"
    if action.auth is not None:
        yield Step(
            id=f"secret@{host}",
            op="pool.secret",
            host=host,
            title=f"give {host} the secret of {action.auth.user}",
            args={
                "uuid": secret,
                "kind": its.auth,
                "from": action.auth.secret,
                "for": f"{action.auth.user} at {', '.join(action.source.hosts)}",
            },
            undo=Undo(op="pool.forget-secret", args={"uuid": secret}, title=f"take the secret from {host}"),
        )
    spec = {
        "name": action.name,
        "uuid": uuid,
        "type": action.type,
        "target": target,
        "source": msgspec.to_builtins(action.source),
        "user": action.auth.user if action.auth is not None else "",
        "secret": secret,
    }
    yield Step(
        id=f"define@{host}",
        op="pool.define",
        host=host,
        title=f"define {pool} on {host}",
        args={"spec": spec},
        undo=Undo(op="pool.undefine", args={**its_args, "stop": True}, title=f"remove {pool} from {host}"),
    )
    if its.folder or action.build != "folder":
        yield from _building(action, its, host, target, its_args)
    if action.start:
        yield Step(
            id=f"start@{host}",
            op="pool.start",
            host=host,
            title=f"start {pool} on {host}",
            args=its_args,
            timeout=START,
            undo=Undo(op="pool.stop", args={**its_args, "gone": True}, title=f"stop {pool} on {host}"),
        )
    if action.autostart:
        yield Step(
            id=f"autostart@{host}",
            op="pool.autostart",
            host=host,
            title=f"start {pool} with {host}",
            args={**its_args, "on": True},
        )


def _building(
    action: CreatePool, its: Backend, host: str, target: str, its_args: dict[str, str]
) -> Iterator[Step]:
    undo = None
    if its.folder:
        yield Step(
            id=f"look@{host}",
            op="pool.look",
            host=host,
            title=f"look whether {target} is there on {host}",
            args={"target": target},
        )
        there = {"$from": f"look@{host}", "key": "there"}
        undo = Undo(op="pool.unbuild", args={"target": target, "there": there})
    what = its.makes if action.build != "folder" else f"the folder {target}"
    yield Step(
        id=f"build@{host}",
        op="pool.build",
        host=host,
        title=f"make {what} on {host}",
        args={**its_args, "how": action.build},
        timeout=_BUILD if its.makes and action.build != "folder" else START,
        undo=undo,
        final=action.build == "overwrite",
    )
