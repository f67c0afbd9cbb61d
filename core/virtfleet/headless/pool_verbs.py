"""`pool create|start|stop|...`: what an operator does to storage pools."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtfleet.headless.options import ACTING, Command, Group, check_used, shared_options

if TYPE_CHECKING:
    from virtfleet.model.action_storage import PoolAction, PoolRef

F = TypeVar("F", bound=Callable[..., Any])

_TYPES = "dir, fs, netfs, logical, disk, iscsi, iscsi-direct, scsi, mpath, gluster, rbd, zfs"


def _hosts(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """`--host a,b --host c` as a, b, c."""
    found = [host for each in given for host in each.split(",")]
    if "" in found:
        raise click.BadParameter("a host's name is empty; accepted: --host A,B,C", ctx, param)
    return tuple(dict.fromkeys(found))


def on_pools(function: F) -> F:
    """The arguments and shared options of a verb on pools."""
    decorated = shared_options(*ACTING)(function)
    decorated = click.option(
        "--host",
        "hosts",
        metavar="H[,H]",
        multiple=True,
        callback=_hosts,
        help="On these hosts alone; else on all that have it.",
    )(decorated)
    return click.argument("names", metavar="POOL...", nargs=-1, required=True)(decorated)


def act(
    ctx: click.Context,
    names: tuple[str, ...],
    hosts: tuple[str, ...],
    make: Callable[[tuple[PoolRef, ...]], PoolAction],
) -> int:
    """Do what `make` says to each pool that is meant, on the hosts that are meant."""
    options = check_used(ctx)
    from virtfleet.headless import pool_acting

    return pool_acting.on_pools(names, hosts, options, make)


def register(pool: Group) -> None:
    """Adds the verbs to `pool`."""
    for function in (
        _create, _start, _stop, _refresh, _autostart, _build, _resize, _delete, _discover,
    ):  # fmt: skip
        pool.add_command(function)


@click.command("create", cls=Command, short_help="Make a pool, on one host or several.")
@click.argument("name")
@click.option(
    "--host", "hosts", metavar="H[,H]", multiple=True, required=True, callback=_hosts, help="Where."
)
@click.option("--type", "kind", metavar="T", required=True, help=f"One of {_TYPES}.")
@click.option("--target", metavar="DIR", default="", help="Folder on the hosts.")
@click.option("--source-host", "servers", metavar="S", multiple=True, help="Server: NAME or NAME:PORT.")
@click.option("--source-path", "path", metavar="PATH", default="", help="Exported folder.")
@click.option("--source-name", "source", metavar="NAME", default="", help="Volume group, Ceph pool ...")
@click.option("--source-device", "devices", metavar="DEV", multiple=True, help="Device, or an iSCSI target.")
@click.option("--source-format", "form", metavar="F", default="", help="nfs, glusterfs, ext4, gpt ...")
@click.option("--initiator", metavar="IQN", default="", help="Of iSCSI: the host's own name.")
@click.option("--adapter", metavar="NAME", default="", help="Of scsi: host5.")
@click.option("--auth-user", "user", metavar="USER", default="", help="CHAP's user, or Ceph's.")
@click.option("--secret", metavar="WHERE", default="", help="env:NAME, file:PATH (mode 0600) or prompt.")
@click.option(
    "--build", is_flag=True, help="Make its filesystem, volume group or label, where there is no data."
)
@click.option("--overwrite", is_flag=True, help="The same over whatever is there.")
@click.option("--no-start", is_flag=True, help="Define it only.")
@click.option("--no-autostart", is_flag=True, help="Do not start it with its host.")
@shared_options(*ACTING)
@click.pass_context
def _create(ctx: click.Context, /, **given: Any) -> int:
    """Make a pool, on one host or, with `--host A,B,C`, the same on several.

    \b
    pool create ssd --host hv1 --type dir --target /srv/ssd
    pool create vol --host hv1,hv2 --type gluster --source-host fs1 --source-name vol
    pool create san --host hv1,hv2 --type iscsi-direct --source-host san1
         --source-device iqn.2026-01.example:store --initiator iqn.2026-01.example:hv1
         --auth-user hv --secret env:CHAP
    """
    options = check_used(ctx)
    if bool(given["user"]) != bool(given["secret"]):
        raise click.UsageError("--auth-user and --secret go together", ctx)
    if given["build"] and given["overwrite"]:
        raise click.UsageError("--build and --overwrite exclude each other", ctx)
    from virtfleet.headless import pool_acting
    from virtfleet.model.action_storage import CreatePool, PoolAuth, PoolSource

    auth = PoolAuth(user=given["user"], secret=_secret(given["secret"], ctx)) if given["user"] else None
    action = CreatePool(
        name=given["name"],
        hosts=given["hosts"],
        type=given["kind"],
        target=given["target"],
        source=PoolSource(
            hosts=given["servers"],
            path=given["path"],
            name=given["source"],
            devices=given["devices"],
            format=given["form"],
            initiator=given["initiator"],
            adapter=given["adapter"],
        ),
        auth=auth,
        build="overwrite" if given["overwrite"] else "new" if given["build"] else "folder",
        start=not given["no_start"],
        autostart=not given["no_autostart"],
    )
    return pool_acting.create(action, options)


def _secret(text: str, ctx: click.Context) -> str:
    """Where the secret is, with a whole path; UsageError: it is not to be found there. The text, perhaps a
    password, is not repeated."""
    from pathlib import Path

    from virtfleet.config.secret import Secret

    try:
        Secret.parse(text, Path.cwd())
    except ValueError as error:
        raise click.UsageError(f"--secret: {error}", ctx) from None
    if text.startswith("file:"):
        return "file:" + os.path.abspath(os.path.expanduser(text.removeprefix("file:")))
    return text


@click.command("start", cls=Command)
@on_pools
@click.pass_context
def _start(ctx: click.Context, names: tuple[str, ...], hosts: tuple[str, ...]) -> int:
    """Start pools, on every host that has them or on those of --host."""
    from virtfleet.model.action_storage import StartPool

    return act(ctx, names, hosts, lambda pools: StartPool(pools=pools))


@click.command("stop", cls=Command)
@on_pools
@click.pass_context
def _stop(ctx: click.Context, names: tuple[str, ...], hosts: tuple[str, ...]) -> int:
    """Stop pools; what is in them stays. Refused while VMs run that would lose disks."""
    from virtfleet.model.action_storage import StopPool

    return act(ctx, names, hosts, lambda pools: StopPool(pools=pools))


@click.command("refresh", cls=Command)
@on_pools
@click.pass_context
def _refresh(ctx: click.Context, names: tuple[str, ...], hosts: tuple[str, ...]) -> int:
    """Have libvirt look what is in pools, on every host that sees them."""
    from virtfleet.model.action_storage import RefreshPool

    return act(ctx, names, hosts, lambda pools: RefreshPool(pools=pools))


@click.command("autostart", cls=Command)
@click.option("--on/--off", "on", default=True, help="Default: on.")
@on_pools
@click.pass_context
def _autostart(ctx: click.Context, names: tuple[str, ...], hosts: tuple[str, ...], on: bool) -> int:
    """Start pools with their hosts, or with --off no more."""
    from virtfleet.model.action_storage import AutostartPool

    return act(ctx, names, hosts, lambda pools: AutostartPool(pools=pools, on=on))


@click.command("build", cls=Command)
@click.option("--overwrite", is_flag=True, help="Also over data that is there; it is lost.")
@on_pools
@click.pass_context
def _build(ctx: click.Context, names: tuple[str, ...], hosts: tuple[str, ...], overwrite: bool) -> int:
    """Make what inactive pools are to stand on: folder, filesystem, volume group, partition table."""
    from virtfleet.model.action_storage import BuildPool

    return act(ctx, names, hosts, lambda pools: BuildPool(pools=pools, overwrite=overwrite))


@click.command("resize", cls=Command)
@click.option("--device", metavar="DEV", default="", help="Of a volume group: one more device.")
@on_pools
@click.pass_context
def _resize(ctx: click.Context, names: tuple[str, ...], hosts: tuple[str, ...], device: str) -> int:
    """Let pools use all that their devices have: the filesystem under a folder, or a volume group."""
    from virtfleet.model.action_storage import ResizePool

    return act(ctx, names, hosts, lambda pools: ResizePool(pools=pools, device=device))


@click.command("delete", cls=Command)
@click.option("--with-volumes", is_flag=True, help="With all that is in them, for good.")
@click.option("--keep-volumes", is_flag=True, help="The pool alone; what is in it stays where it is.")
@on_pools
@click.pass_context
def _delete(
    ctx: click.Context,
    names: tuple[str, ...],
    hosts: tuple[str, ...],
    with_volumes: bool,
    keep_volumes: bool,
) -> int:
    """Remove pools. One with volumes is refused unless it is said what becomes of them."""
    if with_volumes and keep_volumes:
        raise click.UsageError("--with-volumes and --keep-volumes exclude each other", ctx)
    from virtfleet.model.action_storage import DeletePool

    what: Any = "delete" if with_volumes else "keep" if keep_volumes else "refuse"
    return act(ctx, names, hosts, lambda pools: DeletePool(pools=pools, volumes=what))


@click.command("discover", cls=Command)
@click.option("--host", metavar="H", required=True, help="Who looks.")
@click.option(
    "--type", "kind", metavar="T", required=True, help="netfs, logical, iscsi, iscsi-direct, gluster."
)
@click.option(
    "--source-host", "servers", metavar="S", multiple=True, help="Server to ask: NAME or NAME:PORT."
)
@click.option("--initiator", metavar="IQN", default="", help="Of iSCSI: under which name.")
@shared_options("no_header")
@click.pass_context
def _discover(ctx: click.Context, host: str, kind: str, servers: tuple[str, ...], initiator: str) -> int:
    """What storage a host could make pools of, and which pool has it already."""
    options = check_used(ctx)
    from virtfleet.headless import pool_acting
    from virtfleet.model.action_storage import PoolSource

    return pool_acting.discover(host, kind, PoolSource(hosts=servers, initiator=initiator), options)
