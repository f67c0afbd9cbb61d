"""`host disable|enable`: what operators say of hosts, for all to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtfleet.headless.options import ACTING, Command, Group, check_used, shared_options

if TYPE_CHECKING:
    from virtfleet.model.action import Action

F = TypeVar("F", bound=Callable[..., Any])


def register(host: Group) -> None:
    """Adds the verbs to `host`."""
    for function in (_disable, _enable):
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
