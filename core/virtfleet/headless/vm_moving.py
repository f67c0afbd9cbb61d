"""`vm migrate`: VMs to other hosts, and where each could go."""

from __future__ import annotations

from typing import Any

import click

from virtfleet.headless.options import ACTING, Command, Duration, Group, check_used, shared_options
from virtfleet.headless.vm_verbs import Size, act

_DOC = """Move VMs to another host.

One that runs moves live; one that is off by its definition. Without --to its host is chosen. Disks that the
other host is not shown to see are copied only with --copy, and then deleted here.

With --explain nothing is moved: each other host is told, whether it fits, and why not. Exit code: 0 there is
a host for each, 4 there is none for some.
"""


def register(vm: Group) -> None:
    vm.add_command(_migrate)
    vm.add_command(_settle)


@click.command("migrate", cls=Command, help=_DOC, short_help="Move VMs to another host, live.")
@click.argument("names", metavar="[VM...]", nargs=-1)
@click.option("--to", default="", metavar="HOST", help="Where to (default: chosen, with the reason).")
@click.option("--explain", is_flag=True, help="Tell of each host whether it fits, and why not; move nothing.")
@click.option("--copy", is_flag=True, help="Copy the disks that the other host does not see.")
@click.option("--keep", is_flag=True, help="With --copy: leave the old volumes here.")
@click.option("--paused", is_flag=True, help="Stop its CPUs meanwhile: shorter in all, longer for its users.")
@click.option("--bandwidth", type=Size(), metavar="SIZE", help="Bytes per second at most.")
@click.option("--auto-converge", is_flag=True, help="Slow its CPUs when it writes faster than can be sent.")
@click.option("--post-copy", is_flag=True, help="When it does not converge, run it there and fetch the rest.")
@click.option("--compressed", is_flag=True, help="Compress its memory on the way.")
@click.option("--parallel", type=click.IntRange(1, 255), metavar="N", help="So many connections.")
@click.option("--max-downtime", type=Duration(), metavar="S", help="Seconds it may stand still at the end.")
@click.option("--within", type=Duration(), metavar="S", help="Give up after so long without converging.")
@shared_options("filter", *ACTING, "columns", "sort", "no_header")
@click.pass_context
def _migrate(ctx: click.Context, /, names: tuple[str, ...], to: str, explain: bool, **given: Any) -> int:
    options = check_used(ctx)
    if explain:
        if bool(names) == bool(options.filter):
            raise click.UsageError("name the VMs, or choose them with --filter EXPR: one of the two", ctx)
        from virtfleet.headless import moving

        return moving.explain(names, options, to)
    if given["keep"] and not given["copy"]:
        raise click.UsageError("--keep says what becomes of disks that are copied: give --copy too", ctx)
    from virtfleet.model.action import MigrateVm

    more = {
        name: value for name, value in given.items() if name not in ("copy", "paused") and value is not None
    }
    copy, live = "all" if given["copy"] else "none", not given["paused"]
    return act(
        ctx,
        names,
        lambda vm: MigrateVm(vm=vm, to=to, copy=copy, live=live, **more),  # type: ignore[arg-type] # one of the two
        options=options,
        everywhere=True,
    )


@click.command("settle", cls=Command, short_help="End a migration that somebody left half done.")
@click.argument("name", metavar="VM")
@click.option("--other", default="", metavar="HOST", help="Where it was to go, if no other host shows it.")
@shared_options(*ACTING)
@click.pass_context
def _settle(ctx: click.Context, name: str, other: str) -> int:
    """End a migration that nobody carries on: the VM stands paused on one host, and may run on another.

    Both are asked. If it is there, what stands here is taken away; if it is nowhere else, it runs on here.
    VM is where it stands: NAME@HOST.
    """
    from virtfleet.model.action import SettleVm

    return act(ctx, (name,), lambda vm: SettleVm(vm=vm, other=other), everywhere=True)
