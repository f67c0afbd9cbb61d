"""`host disable|enable|drain|undrain`: what operators say of hosts, for all to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from virtfleet.headless.options import ACTING, Command, Group, check_used, shared_options

if TYPE_CHECKING:
    from virtfleet.model.action import Action

F = TypeVar("F", bound=Callable[..., Any])


def register(host: Group) -> None:
    """Adds the verbs to `host`."""
    for function in (_disable, _enable, _drain, _undrain):
        host.add_command(function)


def on_hosts(function: F) -> F:
    """The arguments and shared options of a verb on hosts."""
    decorated = shared_options(*ACTING, "columns")(function)
    return click.argument("names", metavar="HOST...", nargs=-1, required=True)(decorated)


def act(ctx: click.Context, names: tuple[str, ...], make: Callable[[str], Action]) -> int:
    """Do what `make` says of each host; only these are asked."""
    options = check_used(ctx)
    from virtfleet.headless import hosts

    return hosts.act(names, options, make)


@click.command("disable", cls=Command, short_help="No new VMs go there.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the other operators.")
@on_hosts
@click.pass_context
def _disable(ctx: click.Context, names: tuple[str, ...], reason: str) -> int:
    """Disable hosts for new VMs. Those that are there run on.

    It is written on the host itself, so that all operators see it, and who said so and why.
    """
    from virtfleet.model.action import DisableHost

    return act(ctx, names, lambda host: DisableHost(host=host, reason=reason))


@click.command("enable", cls=Command, short_help="New VMs may go there again.")
@on_hosts
@click.pass_context
def _enable(ctx: click.Context, names: tuple[str, ...]) -> int:
    """Let new VMs go to hosts again that were disabled or drained.

    Also where the host's own file can't be understood: it is put aside, and a new one begun.
    """
    from virtfleet.model.action import EnableHost

    return act(ctx, names, lambda host: EnableHost(host=host))


def _moving(function: F) -> F:
    """What draining and coming home have in common."""
    for option in (
        click.option(
            "--parallel",
            type=click.IntRange(1, 64),
            metavar="N",
            help="So many moves at once at each host (default: one fewer than limits.per_host).",
        ),
        click.option("--copy", is_flag=True, help="Copy disks that the other host does not see."),
    ):
        function = option(function)
    decorated = shared_options("dry_run", "yes", "columns")(function)
    return click.argument("names", metavar="HOST...", nargs=-1, required=True)(decorated)


@click.command("drain", cls=Command, short_help="Disable them, and move their VMs elsewhere.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the other operators.")
@click.option(
    "--off",
    type=click.Choice(["leave", "move"]),
    default="leave",
    help="What becomes of VMs that are off (default: leave).",
)
@_moving
@click.pass_context
def _drain(
    ctx: click.Context,
    names: tuple[str, ...],
    reason: str,
    off: Literal["leave", "move"],
    parallel: int | None,
    copy: bool,
) -> int:
    """Disable hosts for new VMs and move theirs to others, all placed together, the largest first.

    Each VM is a job of its own. What can't be moved stays, and why is said; the exit code is then 3.
    Begun again it goes on with what is still there. `host undrain --return` brings home those that left.
    """
    options = check_used(ctx)
    from virtfleet.headless import draining
    from virtfleet.model.action import DrainHosts

    hosts = tuple(dict.fromkeys(names))
    action = DrainHosts(hosts=hosts, reason=reason, off=off, copy=copy)
    return draining.run(action, options, parallel)


@click.command("undrain", cls=Command, short_help="New VMs may go there again; bring those home that left.")
@click.option("--return", "bring", is_flag=True, help="Bring home the VMs that left when it was drained.")
@_moving
@click.pass_context
def _undrain(
    ctx: click.Context, names: tuple[str, ...], bring: bool, parallel: int | None, copy: bool
) -> int:
    """Let new VMs go to hosts again that were drained; with --return bring home exactly those that left."""
    options = check_used(ctx)
    from virtfleet.headless import draining
    from virtfleet.model.action import UndrainHosts

    hosts = tuple(dict.fromkeys(names))
    return draining.run(UndrainHosts(hosts=hosts, bring=bring, copy=copy), options, parallel)
