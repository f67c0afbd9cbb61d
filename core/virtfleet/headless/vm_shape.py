"""`vm resize|edit|delete|clone|snapshot|media|nic`: what changes the make of a VM."""

from __future__ import annotations

from typing import Any

import click

from virtfleet.headless.options import ACTING, Command, Group, check_used, shared_options
from virtfleet.headless.vm_verbs import Size, act, on_vms


def register(vm: Group) -> None:
    """Adds the verbs to `vm`."""
    for function in (_resize, _edit, _delete, _clone, _snapshot, _media, _nic):
        vm.add_command(function)


@click.command("resize", cls=Command)
@click.option("--flavor", "-F", default="", help="A flavor of the fleet file.")
@click.option("--vcpus", type=click.IntRange(1, 4096), metavar="N", help="Virtual CPUs.")
@click.option("--memory", type=Size(), metavar="SIZE", help="Like 4GiB.")
@on_vms
@click.pass_context
def _resize(
    ctx: click.Context, names: tuple[str, ...], flavor: str, vcpus: int | None, memory: int | None
) -> int:
    """Give VMs more or less, live where the hypervisor can, else at the next boot: the plan says which."""
    from virtfleet.model.action import ResizeVm

    if not flavor and vcpus is None and memory is None:
        raise click.UsageError("give --flavor, --vcpus or --memory", ctx)
    return act(ctx, names, lambda vm: ResizeVm(vm=vm, flavor=flavor, vcpus=vcpus, memory=memory))


@click.command("edit", cls=Command)
@click.argument("name", metavar="VM")
@click.option(
    "--file", "path", type=click.Path(exists=True, dir_okay=False), help="Take this XML: no editor."
)
@shared_options(*ACTING)
@click.pass_context
def _edit(ctx: click.Context, name: str, path: str | None) -> int:
    """Edit the XML of a VM in $VISUAL or $EDITOR; it is checked, and shown as a diff before it counts."""
    from virtfleet.headless import editing

    return editing.run(name, path, check_used(ctx))


@click.command("delete", cls=Command)
@click.option(
    "--volumes",
    default="none",
    metavar="none|own|LIST",
    help="Its disks too: own (those nobody else stands on), or targets like vda,vdb (default: none).",
)
@click.option("--force", is_flag=True, help="Power it off first if it runs.")
@on_vms
@click.pass_context
def _delete(ctx: click.Context, names: tuple[str, ...], volumes: str, force: bool) -> int:
    """Delete VMs: definition, snapshots, NVRAM, saved state; and, if asked, their volumes."""
    from virtfleet.model.action import DeleteVm

    wanted: Any = volumes
    if volumes not in ("none", "own"):
        wanted = tuple(part.strip() for part in volumes.split(",") if part.strip())
    # Volumes may be used from other hosts.
    return act(
        ctx,
        names,
        lambda vm: DeleteVm(vm=vm, volumes=wanted, force=force),
        everywhere=wanted != "none",
    )


@click.command("clone", cls=Command)
@click.argument("name", metavar="VM")
@click.argument("new_name", metavar="NEW-NAME")
@click.option("--linked", is_flag=True, help="Overlays on its disks instead of copies.")
@click.option("--pool", default="", help="For the copies; default: where the original's are.")
@click.option("--start", is_flag=True, help="Start it.")
@shared_options(*ACTING)
@click.pass_context
def _clone(ctx: click.Context, name: str, new_name: str, linked: bool, pool: str, start: bool) -> int:
    """Copy a VM on its host, with a new UUID, new MACs and a new seed."""
    from virtfleet.model.action import CloneVm

    return act(ctx, (name,), lambda vm: CloneVm(vm=vm, name=new_name, linked=linked, pool=pool, start=start))


# ---------------------------------------------------------------- snapshots


@click.group("snapshot", cls=Group)
def _snapshot() -> None:
    """Snapshots of a VM."""


@_snapshot.command("list", cls=Command)
@click.argument("name", metavar="VM")
@shared_options("no_header")
@click.pass_context
def _snapshot_list(ctx: click.Context, name: str) -> int:
    """The tree of its snapshots."""
    from virtfleet.headless import snapshots

    return snapshots.run(name, check_used(ctx))


@_snapshot.command("create", cls=Command)
@click.argument("name", metavar="VM")
@click.argument("snapshot", metavar="SNAPSHOT")
@click.option("--description", default="")
@click.option("--disk-only", is_flag=True, help="Without memory, into overlay files.")
@click.option("--quiesce", is_flag=True, help="Have the guest agent freeze its filesystems meanwhile.")
@shared_options(*ACTING)
@click.pass_context
def _snapshot_create(
    ctx: click.Context, name: str, snapshot: str, description: str, disk_only: bool, quiesce: bool
) -> int:
    """Keep the present state of a VM."""
    from virtfleet.model.action import CreateSnapshot

    return act(
        ctx,
        (name,),
        lambda vm: CreateSnapshot(
            vm=vm, name=snapshot, description=description, disk_only=disk_only, quiesce=quiesce
        ),
    )


@_snapshot.command("revert", cls=Command)
@click.argument("name", metavar="VM")
@click.argument("snapshot", metavar="SNAPSHOT")
@shared_options(*ACTING)
@click.pass_context
def _snapshot_revert(ctx: click.Context, name: str, snapshot: str) -> int:
    """Back to a snapshot; what was since then is lost."""
    from virtfleet.model.action import RevertSnapshot

    return act(ctx, (name,), lambda vm: RevertSnapshot(vm=vm, snapshot=snapshot))


@_snapshot.command("delete", cls=Command)
@click.argument("name", metavar="VM")
@click.argument("snapshot", metavar="SNAPSHOT")
@click.option("--children", is_flag=True, help="And all that were made after it.")
@shared_options(*ACTING)
@click.pass_context
def _snapshot_delete(ctx: click.Context, name: str, snapshot: str, children: bool) -> int:
    """Forget a snapshot; the VM stays as it is."""
    from virtfleet.model.action import DeleteSnapshot

    return act(ctx, (name,), lambda vm: DeleteSnapshot(vm=vm, snapshot=snapshot, children=children))


# ---------------------------------------------------------------- devices


@click.group("media", cls=Group)
def _media() -> None:
    """Media in the CD-ROM drives of a VM."""


@_media.command("insert", cls=Command)
@click.argument("name", metavar="VM")
@click.argument("volume", metavar="POOL/VOLUME")
@click.option("--target", default="", metavar="DRIVE", help="sda; default: the first CD-ROM drive.")
@shared_options(*ACTING)
@click.pass_context
def _media_insert(ctx: click.Context, name: str, volume: str, target: str) -> int:
    """Insert a volume."""
    from virtfleet.model.action import InsertMedia

    pool, slash, file = volume.partition("/")
    if not slash or not pool or not file:
        raise click.UsageError("name the medium as POOL/VOLUME", ctx)
    return act(ctx, (name,), lambda vm: InsertMedia(vm=vm, pool=pool, volume=file, target=target))


@_media.command("eject", cls=Command)
@click.option("--target", default="", metavar="DRIVE", help="sda; default: the first CD-ROM drive.")
@on_vms
@click.pass_context
def _media_eject(ctx: click.Context, names: tuple[str, ...], target: str) -> int:
    """Take the medium out."""
    from virtfleet.model.action import EjectMedia

    return act(ctx, names, lambda vm: EjectMedia(vm=vm, target=target))


@click.group("nic", cls=Group)
def _nic() -> None:
    """Network interfaces of a VM."""


@_nic.command("attach", cls=Command)
@click.argument("name", metavar="VM")
@click.option("--network", default="", metavar="NAME", help="A virtual network of its host.")
@click.option("--bridge", default="", metavar="NAME", help="A bridge of its host.")
@click.option("--model", default="", help="Default: virtio where there is virtio.")
@click.option("--mac", default="", help="Default: a new one.")
@shared_options(*ACTING)
@click.pass_context
def _nic_attach(ctx: click.Context, name: str, network: str, bridge: str, model: str, mac: str) -> int:
    """Attach an interface, also while it runs."""
    from virtfleet.model.action import AttachNic

    if bool(network) == bool(bridge):
        raise click.UsageError("give --network or --bridge: one of the two", ctx)
    return act(
        ctx, (name,), lambda vm: AttachNic(vm=vm, network=network, bridge=bridge, model=model, mac=mac)
    )


@_nic.command("detach", cls=Command)
@click.argument("name", metavar="VM")
@click.argument("mac", metavar="MAC")
@shared_options(*ACTING)
@click.pass_context
def _nic_detach(ctx: click.Context, name: str, mac: str) -> int:
    """Detach the interface with this MAC."""
    from virtfleet.model.action import DetachNic

    return act(ctx, (name,), lambda vm: DetachNic(vm=vm, mac=mac))
