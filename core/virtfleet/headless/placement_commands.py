"""`placement explain`, `capacity`, `group` and `project`: what the scheduler sees; nothing is changed."""

from __future__ import annotations

import click

from virtfleet.headless.options import Command, Group, check_used, shared_options
from virtfleet.headless.vm_verbs import Size

_ROWS = ("filter", "columns", "sort", "no_header")


@click.group("placement", cls=Group, help="Which host a VM would go to, and why.")
@shared_options(everything=True)
def placement() -> None:
    pass


@placement.command("explain", cls=Command, short_help="Each host: whether it fits, why not, its weights.")
@click.option("-F", "--flavor", default="", help="A flavor of the fleet file.")
@click.option("--vcpus", type=click.IntRange(1, 4096), metavar="N", help="Instead of the flavor's.")
@click.option("--memory", type=Size(), metavar="SIZE", help="Instead of the flavor's.")
@click.option("--disk", type=Size(), metavar="SIZE", help="Of its first disk.")
@click.option("-i", "--image", default="", help="Image of the fleet file, file, URL, or POOL/VOLUME.")
@click.option("--zone", default="", help="Only hosts of this zone.")
@click.option("--group", default="")
@click.option("--project", default="")
@click.option("--network", multiple=True, metavar="NAME")
@click.option("--pool", default="")
@click.option("--for", "vm", default="", metavar="VM", help="For a VM that is there: where else it could be.")
@shared_options(*_ROWS)
@click.pass_context
def _explain(ctx: click.Context, /, **given: object) -> int:
    """Each host with every filter that refuses it, the numbers and what would help; or with its weights.

    Exit code: 0 a host was found, 4 none fits.
    """
    if given["vm"] and any(given[name] for name in ("flavor", "vcpus", "memory", "disk", "image")):
        raise click.UsageError("--for takes all from the VM: give it alone", ctx)
    if not any(given[name] for name in ("vm", "flavor", "vcpus", "memory")):
        raise click.UsageError("give --flavor, --vcpus and --memory, or --for VM", ctx)
    options = check_used(ctx)
    from virtfleet.headless import placing

    return placing.explain(options, placing.Wanted(**given))  # type: ignore[arg-type]


@click.command("capacity", cls=Command)
@click.option("--hosts", "by_host", is_flag=True, help="Also of each host.")
@shared_options(*_ROWS)
@click.pass_context
def capacity(ctx: click.Context, by_host: bool) -> int:
    """How many more VMs of each flavor fit, now and if any one host died.

    Exit code: 0 every VM would find a place if its host died, 4 some would not: they are named.
    """
    options = check_used(ctx)
    from virtfleet.headless import placing

    return placing.capacity(options, by_host=by_host)


@click.group("group", cls=Group, help="Groups of VMs that belong together, or apart.")
@shared_options(everything=True)
def group() -> None:
    pass


@group.command("list", cls=Command)
@shared_options(*_ROWS)
@click.pass_context
def _groups(ctx: click.Context) -> int:
    """Groups with their rules and members."""
    options = check_used(ctx)
    from virtfleet.headless import placing

    return placing.groups(options, check=False)


@group.command("check", cls=Command)
@shared_options(*_ROWS)
@click.pass_context
def _check(ctx: click.Context) -> int:
    """Groups whose rule is broken. Exit code: 0 none is, 1 some are."""
    options = check_used(ctx)
    from virtfleet.headless import placing

    return placing.groups(options, check=True)


@click.group("project", cls=Group, help="Projects, what they use and what they may.")
@shared_options(everything=True)
def project() -> None:
    pass


@project.command("list", cls=Command)
@shared_options(*_ROWS)
@click.pass_context
def _projects(ctx: click.Context) -> int:
    """Projects with use and limits."""
    options = check_used(ctx)
    from virtfleet.headless import placing

    return placing.projects(options)
