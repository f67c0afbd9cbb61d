"""`volume create|delete|clone|extend|upload|download|attach|detach`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtfleet.headless.options import ACTING, Command, Group, Options, check_used, shared_options
from virtfleet.headless.vm_verbs import Size

if TYPE_CHECKING:
    from virtfleet.engine import Engine
    from virtfleet.headless.finding import Wanted
    from virtfleet.model.action import Action, VmRef
    from virtfleet.model.action_volumes import VolumeRef

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, readable=True)
_FORMAT = click.Choice(["qcow2", "raw"])


def register(volume: Group) -> None:
    """Adds the verbs to `volume`."""
    for command in (_create, _delete, _clone, _extend, _upload, _download, _attach, _detach):
        volume.add_command(command)


def _on_volumes(
    names: Sequence[str],
    options: Options,
    make: Callable[[VolumeRef], Action],
    *,
    pool: str = "",
    host: str = "",
    history: bool = False,
) -> int:
    """Do what `make` says to each volume that is named. All hosts are asked: others may use them.

    `history`: what jobs tell is needed, too.
    """
    from virtfleet.headless import acting, diagnostics, finding, session
    from virtfleet.model.action_volumes import VolumeRef
    from virtfleet.query.nouns import NOUNS

    settings = options.settings()
    wants = [_wanted(name, pool, host, settings.hosts) for name in names]

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        if history:
            await engine.jobs.open()
        diagnostics.unreachable(session.missing(engine.snapshot, ("stats",), options.timeout))
        noun = NOUNS["volume"]
        rows, errors = finding.find_all(noun, list(noun.rows(engine.snapshot)), wants)
        refs = [VolumeRef(row.host.name, row.volume.pool, row.volume.name) for row in rows]
        return await acting.carry_out(engine, [make(ref) for ref in refs], options, errors)

    return session.run(options, settings, work)


def _run(options: Options, make: Callable[[], Action]) -> int:
    """Do what is about no volume that is there."""
    from virtfleet.headless import acting, diagnostics, session

    settings = options.settings()
    action = make()

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        diagnostics.unreachable(session.missing(engine.snapshot, ("stats",), options.timeout))
        return await acting.carry_out(engine, [action], options)

    return session.run(options, settings, work)


def _on_both(
    ctx: click.Context, vm: str, name: str, pool: str, make: Callable[[VolumeRef, VmRef], Action]
) -> int:
    """Do what `make` says to a volume and a VM; a volume of the VM's host is meant before others."""
    options = check_used(ctx)
    from virtfleet.errors import AmbiguousError
    from virtfleet.headless import acting, diagnostics, finding, session
    from virtfleet.model.action import VmRef
    from virtfleet.model.action_volumes import VolumeRef
    from virtfleet.query.nouns import NOUNS

    settings = options.settings()
    want_vm = finding.wanted(vm, settings.hosts)

    async def work(engine: Engine) -> int:
        await engine.settled(acting.GROUPS, timeout=options.timeout)
        await engine.jobs.open()
        diagnostics.unreachable(session.missing(engine.snapshot, ("stats",), options.timeout))
        vms, volumes = NOUNS["vm"], NOUNS["volume"]
        row = finding.find(vms, list(vms.rows(engine.snapshot)), want_vm)
        rows = list(volumes.rows(engine.snapshot))
        try:
            found = finding.find(volumes, rows, _wanted(name, pool, "", settings.hosts))
        except AmbiguousError:
            found = finding.find(volumes, rows, _wanted(name, pool, row.host.name, settings.hosts))
        volume = VolumeRef(found.host.name, found.volume.pool, found.volume.name)
        action = make(volume, VmRef(row.host.name, row.vm.uuid, row.vm.name))
        return await acting.carry_out(engine, [action], options)

    return session.run(options, settings, work)


def _wanted(name: str, pool: str, host: str, hosts: Collection[str]) -> Wanted:
    from virtfleet.headless import finding

    text = f"{pool}/{name}" if pool else name
    return finding.wanted(f"{text}@{host}" if host else text, hosts)


def _where(function: F) -> F:
    """Options that say which volume of a name is meant."""
    function = click.option("--host", default="", help="The host that it is seen from.")(function)
    return click.option("--pool", default="", help="Its pool, if NAME does not say it.")(function)


@click.command("create", cls=Command)
@click.argument("name", metavar="NAME")
@click.option("--size", type=Size(), required=True, metavar="SIZE", help="That a VM sees: 20GiB.")
@click.option("--pool", default="", help="Default: the best that fits; the next if that fails.")
@click.option("--host", default="", help="Default: any.")
@click.option("--type", "kind", default="", help="A volume type of the fleet file.")
@click.option("--format", "form", type=_FORMAT, default=None, help="Default: qcow2 in files, else raw.")
@click.option("--project", default="", help="Whose quota it counts for.")
@shared_options(*ACTING)
@click.pass_context
def _create(
    ctx: click.Context,
    name: str,
    size: int,
    pool: str,
    host: str,
    kind: str,
    form: Any,
    project: str,
) -> int:
    """Create an empty volume, in a pool that is named or in the best one of its type."""
    from virtfleet.model.action_volumes import CreateVolume

    return _run(
        check_used(ctx),
        lambda: CreateVolume(
            name=name, size=size, pool=pool, host=host, type=kind, format=form or "", project=project
        ),
    )


@click.command("delete", cls=Command)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_where
@shared_options(*ACTING)
@click.pass_context
def _delete(ctx: click.Context, names: tuple[str, ...], pool: str, host: str) -> int:
    """Delete volumes for good. Refused while a VM has one, or another volume stands on it.

    NAME, POOL/NAME or NAME@HOST.
    """
    from virtfleet.model.action_volumes import DeleteVolume

    return _on_volumes(names, check_used(ctx), lambda ref: DeleteVolume(volume=ref), pool=pool, host=host)


@click.command("clone", cls=Command)
@click.argument("name", metavar="NAME")
@click.argument("new_name", metavar="NEW-NAME")
@_where
@click.option("--to-pool", default="", help="For the copy; default: where the original is.")
@click.option("--type", "kind", default="", help="Choose the pool for the copy among those of a volume type.")
@click.option("--format", "form", type=_FORMAT, default=None, help="Default: as the original.")
@click.option("--project", default="", help="Whose quota it counts for.")
@shared_options(*ACTING)
@click.pass_context
def _clone(
    ctx: click.Context,
    name: str,
    new_name: str,
    pool: str,
    host: str,
    to_pool: str,
    kind: str,
    form: Any,
    project: str,
) -> int:
    """Copy a volume on its host; the copy stands on nothing."""
    from virtfleet.model.action_volumes import CloneVolume

    return _on_volumes(
        (name,),
        check_used(ctx),
        lambda ref: CloneVolume(
            volume=ref, name=new_name, pool=to_pool, type=kind, format=form or "", project=project
        ),
        pool=pool,
        host=host,
    )


@click.command("extend", cls=Command)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--size", type=Size(), required=True, metavar="SIZE", help="Its new size, in all: 40GiB.")
@_where
@shared_options(*ACTING)
@click.pass_context
def _extend(ctx: click.Context, names: tuple[str, ...], size: int, pool: str, host: str) -> int:
    """Make volumes larger; a VM that runs on one is told at once."""
    from virtfleet.model.action_volumes import ExtendVolume

    return _on_volumes(
        names,
        check_used(ctx),
        lambda ref: ExtendVolume(volume=ref, size=size),
        pool=pool,
        host=host,
        history=True,
    )


@click.command("upload", cls=Command)
@click.argument("file", metavar="FILE", type=_FILE)
@click.option("--name", required=True, help="Of the volume.")
@click.option("--pool", required=True, help="Where volumes are files.")
@click.option("--host", default="", help="Default: the one that has the pool.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["qcow2", "raw", "iso"]),
    default=None,
    help="What it must be; default: what its content says.",
)
@click.option("--checksum", default="", metavar="sha256:HEX", help="What the file must have.")
@click.option("--project", default="", help="Whose quota it counts for.")
@shared_options(*ACTING)
@click.pass_context
def _upload(
    ctx: click.Context,
    file: str,
    name: str,
    pool: str,
    host: str,
    form: Any,
    checksum: str,
    project: str,
) -> int:
    """Upload a file as a new volume: sparse, with its holes."""
    from virtfleet.model.action import FileRef
    from virtfleet.model.action_volumes import UploadVolume

    path = os.path.realpath(file)
    return _run(
        check_used(ctx),
        lambda: UploadVolume(
            file=FileRef(path, "", os.path.getsize(path)),
            name=name,
            pool=pool,
            host=host,
            format=form or "",
            checksum=checksum,
            project=project,
        ),
    )


@click.command("download", cls=Command)
@click.argument("name", metavar="NAME")
@click.argument("file", metavar="FILE", type=click.Path())
@_where
@shared_options(*ACTING)
@click.pass_context
def _download(ctx: click.Context, name: str, file: str, pool: str, host: str) -> int:
    """Download a volume into a new file: sparse, with its holes."""
    from virtfleet.model.action_volumes import DownloadVolume

    path = os.path.abspath(file)
    return _on_volumes(
        (name,), check_used(ctx), lambda ref: DownloadVolume(volume=ref, path=path), pool=pool, host=host
    )


@click.command("attach", cls=Command)
@click.argument("vm", metavar="VM")
@click.argument("name", metavar="NAME")
@click.option("--pool", default="", help="Its pool, if NAME does not say it.")
@click.option("--bus", type=click.Choice(["virtio", "scsi"]), default="virtio", help="Default: virtio.")
@click.option("--serial", default="", help="By which the guest finds it; default: made of its name.")
@click.option("--no-write", "readonly", is_flag=True, help="The VM can read it, and not write to it.")
@click.option("--shareable", is_flag=True, help="Other VMs may have it, too; their guests must know how.")
@shared_options(*ACTING)
@click.pass_context
def _attach(
    ctx: click.Context,
    vm: str,
    name: str,
    pool: str,
    bus: Any,
    serial: str,
    readonly: bool,
    shareable: bool,
) -> int:
    """Give a VM a volume as a disk, now if it runs and from its next boot on."""
    from virtfleet.model.action_volumes import AttachVolume

    return _on_both(
        ctx,
        vm,
        name,
        pool,
        lambda volume, ref: AttachVolume(
            volume=volume, vm=ref, bus=bus, serial=serial, readonly=readonly, shareable=shareable
        ),
    )


@click.command("detach", cls=Command)
@click.argument("vm", metavar="VM")
@click.argument("name", metavar="NAME")
@click.option("--pool", default="", help="Its pool, if NAME does not say it.")
@shared_options(*ACTING)
@click.pass_context
def _detach(ctx: click.Context, vm: str, name: str, pool: str) -> int:
    """Take a volume away from a VM, now and at its next boot. Its content stays."""
    from virtfleet.model.action_volumes import DetachVolume

    return _on_both(ctx, vm, name, pool, lambda volume, ref: DetachVolume(volume=volume, vm=ref))
