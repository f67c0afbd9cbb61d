"""`plan FILE` and `apply FILE`: a batch of actions, or the VMs that shall be."""

from __future__ import annotations

import click

from virtfleet.headless.options import ACTING, Command, check_used, shared_options

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, readable=True)


@click.command("plan", cls=Command)
@click.argument("file", metavar="FILE", type=_FILE)
@click.option(
    "--prune", is_flag=True, help="Also what would be deleted: VMs of the file's `prune` it does not name."
)
@shared_options("no_header")
@click.pass_context
def plan(ctx: click.Context, file: str, prune: bool) -> int:
    """Show what `apply FILE` would do: + created, ~ changed, − deleted. Changes nothing. FILE - is stdin."""
    options = check_used(ctx)
    from virtfleet.headless import batches

    return batches.plan(file, options, prune=prune)


@click.command("apply", cls=Command)
@click.argument("file", metavar="FILE", type=_FILE)
@click.option("--prune", is_flag=True, help="Delete the VMs of the file's `prune` that it does not name.")
@shared_options(*ACTING, "columns")
@click.pass_context
def apply(ctx: click.Context, file: str, prune: bool) -> int:
    """Do the actions of a file, or make its VMs so. What is so already is left alone.

    In parallel where nothing forbids. Exit code: 0 all done, 3 some, 1 none, 4 refused.
    """
    options = check_used(ctx)
    from virtfleet.headless import batches

    return batches.apply(file, options, prune=prune)
