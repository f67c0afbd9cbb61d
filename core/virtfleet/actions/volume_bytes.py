"""Plans of uploading files into pools and of downloading volumes."""

from __future__ import annotations

import os
import re

from virtfleet.actions.common import answers, name_problem, pool_has_room, refuse, volume_is_free
from virtfleet.actions.volume_choice import (
    FILES,
    choose_pool,
    claimed,
    find_volume,
    identity,
    room_effects,
    shown,
)
from virtfleet.actions.volumes import written_by
from virtfleet.actions.world import World
from virtfleet.model.action_volumes import DownloadVolume, UploadVolume
from virtfleet.model.plan import Condition, Effect, Plan, Reason, Step, Undo

_CHECKSUM = re.compile(r"(sha256:)?[0-9a-f]{64}", re.ASCII | re.IGNORECASE)
_PROGRESS = 60.0
"""Seconds without progress."""


def plan(action: UploadVolume | DownloadVolume, world: World) -> Plan:
    return _upload(action, world) if isinstance(action, UploadVolume) else _download(action, world)


def _upload(action: UploadVolume, world: World) -> Plan:
    what = f"upload {os.path.basename(action.file.path)}"
    facts = world.upload
    assert facts is not None  # noqa: S101 - it was looked at before (prepare.py)
    problems = [problem] if (problem := name_problem(action.name)) else []
    if action.format and action.format != facts.format:
        problems.append(f"it was called {action.format}, and its content says {facts.format}")
    if action.checksum and not _CHECKSUM.fullmatch(action.checksum):
        problems.append(f"{action.checksum!a} is no checksum: sha256: and 64 hexadecimal digits")
    refuse(problems, what)
    chosen = choose_pool(
        world,
        what,
        facts.virtual_size,
        host=action.host,
        pool=action.pool,
        type="",
        project=action.project,
    )
    if chosen.pool.type not in FILES:
        refuse(
            [f"pool {chosen.pool.name} is of type {chosen.pool.type}: uploads go to pools of files"],
            what,
        )
    host, pool = chosen.host, chosen.pool
    claims = claimed(chosen, action.name, facts.virtual_size, action.project, world, what)
    where = {"pool": pool.name, "name": action.name, "size": facts.size, "file": action.file.path}
    step = Step(
        id="upload",
        op="volume.upload",
        host=host.name,
        title=f"upload {shown(facts.size)} of {facts.format} to {action.name} in pool {pool.name}",
        args={
            **where,
            "sha256": (action.checksum or action.file.sha256).lower().removeprefix("sha256:"),
        },
        timeout=_PROGRESS,
        bytes=facts.size,
        pool=pool.name,
        undo=Undo(op="volume.forget", args=where, title=f"delete volume {action.name} in pool {pool.name}"),
    )
    return Plan(
        action=action,
        title=f"{what} to {pool.name}/{action.name} on {host.name}",
        verb="volume.upload",
        kind="volume",
        host=host.name,
        uuid=claims[0].uuid,
        name=action.name,
        steps=(step,),
        conditions=(
            answers(host),
            volume_is_free(host, pool.name, action.name, what),
            pool_has_room(host, pool.name, 0),
        ),
        effects=room_effects(chosen, facts.virtual_size, world),
        reasons=(Reason(text=f"its content says {facts.format}, {shown(facts.virtual_size)} for a guest"),),
        claims=claims,
        made=world.now,
    )


def _download(action: DownloadVolume, world: World) -> Plan:
    host, volume = find_volume(world, action.volume)
    what = f"download {volume.pool}/{volume.name}"
    problems = written_by(volume, host, world, "would be copied while it changes")
    if not os.path.isabs(action.path):
        problems.append(f"{action.path!a} is no whole path")
    if volume.backing:
        problems.append(f"it stands on {volume.backing}, and is nothing without it")
    refuse(problems, what, "`volume clone` makes it whole" if volume.backing else "")
    size = volume.physical or volume.capacity or 0
    args = {"pool": volume.pool, "name": volume.name, "file": action.path, "size": size}
    inode = {"$from": "download", "key": "inode"}
    steps = (
        Step(
            id="download",
            op="volume.download",
            host=host.name,
            title=f"download {volume.name}",
            args=args,
            timeout=_PROGRESS,
            bytes=size,
            pool=volume.pool,
            undo=Undo(op="volume.unpublish", args={"file": action.path}, title="take the half file away"),
        ),
        Step(
            id="publish",
            op="volume.publish",
            host=host.name,
            title=f"call it {action.path}",
            args={"file": action.path, "inode": inode},
            undo=Undo(
                op="volume.unpublish",
                args={"file": action.path, "inode": inode},
                title=f"take {action.path} away",
            ),
        ),
    )
    return Plan(
        action=action,
        title=f"{what} of {host.name} to {action.path}",
        verb="volume.download",
        kind="volume",
        host=host.name,
        uuid=identity(host, volume),
        name=volume.name,
        steps=steps,
        conditions=(
            answers(host),
            Condition(
                kind="volume-written-by",
                host=host.name,
                name=volume.name,
                value={"path": volume.path},
                text=f"no VM that runs writes to {volume.name}",
            ),
        ),
        effects=(Effect(what=action.path, unit="bytes", before=None, after=size),),
        made=world.now,
    )
